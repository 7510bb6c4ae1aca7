package tui

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/adminapi/adminapitest"
	"github.com/robustmq/rmq/tui/feed"
)

// driver does what package tea does with a Model, but for drawing it: it gives it
// messages, runs its commands, and gives it what they return. It lives in a bubble
// (testing/synctest), so what a command waits for has always happened when settle
// returns, and time passes only when the test says so.
type driver struct {
	t     *testing.T
	m     *Model
	fake  *adminapitest.Fake
	msgs  chan tea.Msg
	quit  bool
	clip  string // what was copied
	found int    // how often the way to the broker was taken
	gone  error  // why there is none
	sec   int
}

func drive(t *testing.T, fake *adminapitest.Fake, opt Options, w, h int) *driver {
	t.Helper()
	d := &driver{t: t, fake: fake, msgs: make(chan tea.Msg, 256)}
	if opt.Find == nil {
		opt.Find = func() (adminapi.Source, string, error) {
			d.found++
			return ticking{fake}, "default  http://127.0.0.1:15672", d.gone
		}
	}
	opt.Zone = time.UTC
	opt.defaults()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	m, err := newModel(feed.New(ctx, opt.Find, opt.Clock), opt)
	if err != nil {
		t.Fatal(err)
	}
	d.m = m
	d.run(m.Init())
	d.send(tea.WindowSizeMsg{Width: w, Height: h})
	d.settle()
	return d
}

// ticking is a fake broker with a clock that goes, and goes right.
type ticking struct{ *adminapitest.Fake }

func (f ticking) Overview(ctx context.Context) (adminapi.Overview, error) {
	o, err := f.Fake.Overview(ctx)
	o.At = time.Now()
	return o, err
}

func (d *driver) send(msg tea.Msg) {
	_, cmd := d.m.Update(msg)
	d.run(cmd)
	d.check()
}

func (d *driver) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	go func() {
		if msg := cmd(); msg != nil {
			d.msgs <- msg
		}
	}()
}

// settle returns when nothing happens any more until time passes.
func (d *driver) settle() {
	for {
		synctest.Wait()
		select {
		case msg := <-d.msgs:
			d.take(msg)
		default:
			return
		}
	}
}

func (d *driver) take(msg tea.Msg) {
	switch msg := msg.(type) {
	case tea.BatchMsg:
		for _, c := range msg {
			d.run(c)
		}
	case tea.QuitMsg:
		d.quit = true
	default:
		// What the clipboard command returns has no name outside package tea.
		if v := reflect.ValueOf(msg); v.Kind() == reflect.String && strings.Contains(v.Type().String(), "lipboard") {
			d.clip = v.String()
			return
		}
		d.send(msg)
	}
}

// pass lets seconds go by, with traffic in each.
func (d *driver) pass(seconds int) {
	for range seconds {
		flow(d.fake, d.sec)
		d.sec++
		d.wait(time.Second)
	}
}

// wait lets time go by.
func (d *driver) wait(by time.Duration) {
	for end := time.Now().Add(by); ; {
		d.settle()
		left := time.Until(end)
		if left <= 0 {
			return
		}
		// In steps, so that what one timer begins another can end on its way.
		time.Sleep(min(left, 100*time.Millisecond)) //nolint:forbidigo // the bubble's time
	}
}

// keys presses keys, by the names package tea has for them: "j", "enter", "ctrl+c".
func (d *driver) keys(names ...string) {
	for _, name := range names {
		d.send(press(name))
		d.settle()
	}
}

// typed presses each letter of a text.
func (d *driver) typed(text string) {
	for _, r := range text {
		d.send(tea.KeyPressMsg{Code: r, Text: string(r)})
		d.settle()
	}
}

func press(name string) tea.KeyPressMsg {
	special := map[string]rune{
		"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "up": tea.KeyUp, "down": tea.KeyDown, "pgup": tea.KeyPgUp,
		"pgdown": tea.KeyPgDown, "home": tea.KeyHome, "end": tea.KeyEnd, "space": tea.KeySpace, "backspace": tea.KeyBackspace,
	}
	if code, ok := special[name]; ok {
		return tea.KeyPressMsg{Code: code}
	}
	if r, ok := strings.CutPrefix(name, "ctrl+"); ok {
		return tea.KeyPressMsg{Code: rune(r[0]), Mod: tea.ModCtrl}
	}
	if name == "shift+tab" {
		return tea.KeyPressMsg{Code: tea.KeyTab, Mod: tea.ModShift}
	}
	r := []rune(name)[0]
	return tea.KeyPressMsg{Code: r, Text: name}
}

// frame is what is seen, without attributes.
func (d *driver) frame() string {
	var out []string
	for line := range strings.SplitSeq(ansi.Strip(d.m.View().Content), "\n") {
		out = append(out, strings.TrimRight(line, " "))
	}
	return strings.Join(out, "\n") + "\n"
}

// line is one line of what is seen; a negative one counts from the end.
func (d *driver) line(n int) string {
	lines := strings.Split(strings.TrimSuffix(d.frame(), "\n"), "\n")
	if n < 0 {
		n += len(lines)
	}
	return lines[n]
}

func (d *driver) sees(texts ...string) {
	d.t.Helper()
	f := d.frame()
	for _, text := range texts {
		if !strings.Contains(f, text) {
			d.t.Errorf("%q is not seen in\n%s", text, f)
		}
	}
}

func (d *driver) misses(texts ...string) {
	d.t.Helper()
	f := d.frame()
	for _, text := range texts {
		if strings.Contains(f, text) {
			d.t.Errorf("%q is seen in\n%s", text, f)
		}
	}
}

// check wants every frame to fill the terminal, to the cell, and no control character
// but those of attributes to be in it.
func (d *driver) check() {
	d.t.Helper()
	content := d.m.View().Content
	lines := strings.Split(content, "\n")
	if len(lines) != d.m.height {
		d.t.Errorf("%d lines on a terminal of %d:\n%s", len(lines), d.m.height, d.frame())
	}
	for i, line := range lines {
		if n := ansi.StringWidth(line); n != d.m.width {
			d.t.Errorf("line %d is %d columns wide on a terminal of %d: %q", i, n, d.m.width, line)
		}
	}
	plain := ansi.Strip(content)
	if i := strings.IndexFunc(plain, func(r rune) bool { return r < 0x20 && r != '\n' || r >= 0x7f && r < 0xa0 }); i >= 0 {
		d.t.Errorf("a control character at %q", plain[max(0, i-20):min(len(plain), i+20)])
	}
}

// rows are the first columns of the table that is seen.
func (d *driver) rows() []string {
	var out []string
	lines := strings.Split(d.frame(), "\n")
	for _, line := range lines[chrome : len(lines)-2] {
		if f := strings.Fields(strings.TrimPrefix(line, "›")); len(f) > 0 {
			out = append(out, f[0])
		}
	}
	return slices.Clip(out)
}
