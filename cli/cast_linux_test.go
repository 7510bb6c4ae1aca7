package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"image/color"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/vt"

	"github.com/robustmq/rmq/testkit"
)

// A cast is what somebody types at a terminal and sees there: a header, and what the terminal was sent at
// which time, in the form of asciicast v2. The time is how long a reader wants, and not how long it took; what
// differs each time, as ports and ages do, is put the same, so that a cast can be compared.
type cast struct {
	w, h  int
	title string
	at    time.Duration
	shown []shown
}

type shown struct {
	at   time.Duration
	text string
}

// show adds what the terminal was sent, after a pause.
func (c *cast) show(pause time.Duration, text string) {
	c.at += pause
	c.shown = append(c.shown, shown{c.at, text})
}

// bytes is the file, which `asciinema play` plays.
func (c *cast) bytes(t *testing.T) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(map[string]any{"version": 2, "width": c.w, "height": c.h, "title": c.title}); err != nil {
		t.Fatal(err)
	}
	for _, s := range c.shown {
		if err := enc.Encode([]any{json.Number(fmt.Sprintf("%.3f", s.at.Seconds())), "o", s.text}); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// compare wants the cast, and the picture of it, to be what is kept under docs/casts. `make gen` writes
// them again.
func (c *cast) compare(t *testing.T, name string) {
	t.Helper()
	for file, got := range map[string][]byte{name + ".cast": c.bytes(t), name + ".svg": c.svg()} {
		path := filepath.Join("../docs/casts", file)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what is seen now: look at what differs, then run make gen\n%s", path, firstDifference(got, want))
		}
	}
}

func firstDifference(got, want []byte) string {
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d\ngot  %.400s\nwant %.400s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// TestCastMinute is the first minute with rmq, in a shell.
func TestCastMinute(t *testing.T) {
	home := t.TempDir()
	environ := []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + home, "XDG_STATE_HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home, "PS1=$ ", "RMQ_ANY_PORT=true"}
	x := startOnTerminal(t, 80, 24, environ, "sh")
	c := &cast{w: 80, h: 24, title: "A minute with rmq"}
	written := func(from int, done func(string) bool) string {
		x.until("the end of a line", func(string) bool { return done(x.wrote()[from:]) })
		return x.wrote()[from:]
	}
	c.show(0, written(0, func(s string) bool { return strings.HasSuffix(s, "$ ") }))
	for _, line := range []string{
		"rmq up --memory -d",
		`rmq produce mqtt:sensors/dev1/temp '{"celsius": 21.5}'`,
		"rmq consume kafka:sensors --from start -n 1",
		"rmq queue create jobs",
		"rmq produce kafka:jobs 'resize 42.png'",
		"rmq consume amqp:queue:jobs -n 1",
		"rmq explain mqtt:sensors/dev1/temp",
		"rmq grep 'json.celsius > 20' kafka:sensors",
		"rmq down",
	} {
		from := len(x.wrote())
		x.types(line)
		written(from, func(s string) bool { return s == line })
		for i, r := range line {
			pause := 40 * time.Millisecond
			if i == 0 {
				pause = 1500 * time.Millisecond
			}
			c.show(pause, string(r))
		}
		from = len(x.wrote())
		x.types("\r")
		c.show(400*time.Millisecond, steady(written(from, func(s string) bool { return strings.HasSuffix(s, "\n$ ") || s == "\r\n$ " })))
	}
	c.show(3*time.Second, "")
	x.types("exit\r")
	_ = x.ends() // the shell's own code
	c.compare(t, "minute")
}

// steadier puts the same what differs each time.
var steadier = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`(mqtt://127\.0\.0\.1):\d+`), "$1:1883"},
	{regexp.MustCompile(`(ws://127\.0\.0\.1):\d+`), "$1:8083"},
	{regexp.MustCompile(`(amqp://127\.0\.0\.1):\d+`), "$1:5672"},
	{regexp.MustCompile(`(http://127\.0\.0\.1):\d+`), "$1:15672"},
	{regexp.MustCompile(`(kafka(?:\x1b\[\d*m)* +127\.0\.0\.1):\d+`), "$1:9092"},
	{regexp.MustCompile(`rmq \S+ is up \([^)]*\)`), "rmq is up"},
	{regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`), "12:00:00.000"},
	{regexp.MustCompile(` in [\d.]+(µs|ms|s)\b`), ""},
	{regexp.MustCompile(`process \d+`), "process 4711"},
}

func steady(s string) string {
	for _, x := range steadier {
		s = x.re.ReplaceAllString(s, x.with)
	}
	return s
}

// TestCastScreens is a walk through the screens.
func TestCastScreens(t *testing.T) {
	b := testkit.Run(t)
	runAt(t, b, "", "topic", "create", "orders", "--partitions", "3")
	runAt(t, b, "", "queue", "create", "jobs")
	runAt(t, b, "", "binding", "create", "amq.topic", "jobs", "--key", "job.#")
	runAt(t, b, `{"order":1,"total":9.5}`+"\n"+`{"order":2,"total":12}`, "produce", "kafka:orders", "-k", "1")
	runAt(t, b, "", "produce", "mqtt:fleet/dev1/mode", "eco", "--retain")
	x := startOnTerminal(t, 80, 24, nil, "rmq", "tui", "--screen", "topics", "--url", b.HTTP())
	c := &cast{w: 80, h: 24, title: "rmq tui"}
	kept := frames(t, filepath.Join("../docs/casts", "screens.cast"))
	look := func(pause time.Duration, texts ...string) {
		t.Helper()
		x.sees(texts...)
		if *update {
			time.Sleep(2500 * time.Millisecond) // until rates are down again: the cast that is kept has the screen at rest
		} else if n := len(c.shown); n < len(kept) {
			is := "" // how far it is from what is kept, if it stays so
			defer func() {
				if t.Failed() {
					t.Log(firstDifference([]byte(is), []byte(kept[n])))
				}
			}()
			x.until("the screen that the cast shows", func(string) bool { is = x.frame(); return is == kept[n] })
		}
		c.show(pause, x.frame())
	}
	look(0, "[2 topic]", "›fleet", "orders")
	x.types("/ord\r")
	look(2*time.Second, "1 of 2 topics", "›orders")
	x.types("\x1b")
	x.sees("fleet", "orders")
	x.types(":exchange amq.topic\r")
	look(2*time.Second, " exchange amq.topic", "job.#", "jobs")
	x.types("9")
	look(2*time.Second, "waiting for messages")
	runAt(t, b, "", "produce", "mqtt:fleet/dev1/temp", `{"temp":21.5,"pos":{"lat":52.5}}`)
	look(2*time.Second, "1 message", "fleet/dev1/temp")
	x.types("\r")
	look(2*time.Second, `"temp": 21.5,`, `"lat": 52.5`)
	x.types("\x1b")
	x.sees("1 message")
	x.types("8")
	look(3*time.Second, "[8 ret]", "›fleet/dev1/mode", "eco")
	c.show(3*time.Second, "")
	x.types("q")
	if err := x.ends(); err != nil {
		t.Error(err)
	}
	c.compare(t, "screens")
}

// frames is what a cast that is kept shows, one after another; none when there is no cast.
func frames(t *testing.T, path string) (all []string) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if i == 0 {
			continue
		}
		var event [3]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err)
		}
		all = append(all, event[2].(string))
	}
	return all
}

// Of a screen these differ each time; what stands for one is as wide.
var restless = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`http://127\.0\.0\.1:\d+ +● up +\S+ +\d\d:\d\d:\d\d`), "http://127.0.0.1:15672                     ● up 3m20s  12:00:00"},
	{regexp.MustCompile(`\d\d:\d\d:\d\d(\.\d+)?`), "12:00:00.000000"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d`), "2026-01-31"},
	{regexp.MustCompile(` [1-9]\d*s\b`), " 9s"},
}

// frame is the whole screen, drawn anew, with what differs each time put the same.
func (x *terminal) frame() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var b strings.Builder
	b.WriteString("\x1b[H\x1b[2J")
	for y := range x.screen.Height() {
		if y > 0 {
			b.WriteString("\r\n")
		}
		cells := rowOf(x.screen, y)
		for _, r := range restless {
			text := ""
			for i := range cells {
				text += cells[i].Content
			}
			for _, at := range r.re.FindAllStringIndex(text, -1) {
				from, width := len([]rune(text[:at[0]])), len([]rune(text[at[0]:at[1]]))
				with := []rune(r.with)
				for len(with) < width {
					with = append([]rune{' '}, with...)
				}
				for i := range width {
					cells[from+i].Content = string(with[i])
					cells[from+i].Style = cells[from].Style
				}
			}
		}
		style := uv.Style{}
		for i := range cells {
			if !cells[i].Style.Equal(&style) {
				b.WriteString("\x1b[m" + cells[i].Style.String())
				style = cells[i].Style
			}
			b.WriteString(cells[i].Content)
		}
		b.WriteString("\x1b[m")
	}
	return b.String()
}

// rowOf is a row without the empty cells at its end.
func rowOf(screen *vt.Emulator, y int) []uv.Cell {
	var row []uv.Cell
	last := 0
	for i := range screen.Width() {
		cell := uv.Cell{Content: " ", Width: 1}
		if at := screen.CellAt(i, y); at != nil && at.Content != "" {
			cell = *at
		}
		row = append(row, cell)
		if cell.Content != " " || cell.Style.Bg != nil || cell.Style.Attrs&uv.AttrReverse != 0 {
			last = i + 1
		}
	}
	return row[:last]
}

// ---- pictures

const (
	cellWidth, cellHeight = 8.4, 18.0 // px
	margin                = 12.0
	rests                 = 300 * time.Millisecond // what stands for less is not drawn
)

// svg draws the cast as a picture that moves: a strip of frames, one beside another, of which one is
// seen at a time.
func (c *cast) svg() []byte {
	screen := vt.NewEmulator(c.w, c.h)
	defer screen.Close()
	go func() { // ends with the screen
		answers := make([]byte, 64)
		for _, err := screen.Read(answers); err == nil; _, err = screen.Read(answers) {
		}
	}()
	width, height := float64(c.w)*cellWidth+2*margin, float64(c.h)*cellHeight+2*margin
	var strip, moves, rows strings.Builder
	known := map[string]int{} // rows that are drawn already
	frame, total := 0, c.at.Seconds()
	for i, s := range c.shown {
		_, _ = screen.WriteString(s.text) // into memory
		if i+1 < len(c.shown) && c.shown[i+1].at-s.at < rests || i+1 == len(c.shown) {
			continue
		}
		fmt.Fprintf(&moves, "%.2f%%{transform:translateX(%.0fpx)}", s.at.Seconds()/total*100, -float64(frame)*width)
		for y := range c.h {
			row := drawn(rowOf(screen, y))
			if row == "" {
				continue
			}
			id, ok := known[row]
			if !ok {
				id = len(known)
				known[row] = id
				fmt.Fprintf(&rows, "<g id=\"r%d\">%s</g>\n", id, row)
			}
			fmt.Fprintf(&strip, "<use href=\"#r%d\" x=\"%.1f\" y=\"%.0f\"/>", id, float64(frame)*width+margin, margin+float64(y)*cellHeight)
		}
		strip.WriteString("\n")
		frame++
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\">\n<title>%s</title>\n", width, height, width, height, html.EscapeString(c.title))
	fmt.Fprintf(&b, "<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d0d0d0}"+
		"#s{animation:m %.1fs step-end infinite}@keyframes m{%s}</style>\n", total, moves.String())
	fmt.Fprintf(&b, "<defs>\n%s</defs>\n<rect width=\"100%%\" height=\"100%%\" rx=\"6\" fill=\"#16181d\"/>\n<g id=\"s\">\n%s</g>\n</svg>\n", rows.String(), strip.String())
	return b.Bytes()
}

// words are pieces of text between which there is more than a space: SVG has one for many.
var words = regexp.MustCompile(`\S+(?: \S+)*`)

// drawn is a row as text of SVG, in pieces that look the same.
func drawn(cells []uv.Cell) string {
	var b strings.Builder
	for i := 0; i < len(cells); {
		j, text, columns := i, "", 0
		for ; j < len(cells) && cells[j].Style.Equal(&cells[i].Style); j++ {
			text += cells[j].Content
			columns++
		}
		fg, bg := cells[i].Style.Fg, cells[i].Style.Bg
		if cells[i].Style.Attrs&uv.AttrReverse != 0 {
			if fg, bg = bg, fg; bg == nil {
				bg = color.Gray{0xd0}
			}
			if fg == nil {
				fg = color.RGBA{0x16, 0x18, 0x1d, 0xff}
			}
		}
		x := float64(i) * cellWidth
		if bg != nil {
			fmt.Fprintf(&b, "<rect x=\"%.1f\" width=\"%.1f\" height=\"%.0f\" fill=\"%s\"/>", x, float64(columns)*cellWidth, cellHeight, hex(bg))
		}
		for _, at := range words.FindAllStringIndex(text, -1) {
			word, look := text[at[0]:at[1]], ""
			x := x + float64(len([]rune(text[:at[0]])))*cellWidth
			if fg != nil {
				look += ";fill:" + hex(fg)
			}
			if cells[i].Style.Attrs&uv.AttrBold != 0 {
				look += ";font-weight:bold"
			}
			if cells[i].Style.Attrs&uv.AttrFaint != 0 {
				look += ";opacity:.6"
			}
			if look != "" {
				look = " style=\"" + look[1:] + "\""
			}
			fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"14\" textLength=\"%.1f\"%s>%s</text>", x, float64(len([]rune(word)))*cellWidth, look, html.EscapeString(word))
		}
		i = j
	}
	return b.String()
}

func hex(c color.Color) string {
	r, g, b, _ := c.RGBA()
	return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)
}
