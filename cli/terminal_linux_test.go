package cli_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"golang.org/x/sys/unix"

	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/testkit"
)

// terminal is a program on a pseudo-terminal, with what its user would see.
//
// Ownership: mu guards screen and what was written; changed holds a value while somebody has not looked
// since. Two goroutines, between program and screen both ways, end when the program's side is closed.
type terminal struct {
	t       testing.TB
	master  *os.File
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the program has ended and its last words are on the screen; err is why
	err     error
	changed chan struct{}

	mu      sync.Mutex
	screen  *vt.Emulator
	written bytes.Buffer
}

// hangs bounds how long a test waits for a screen before it is taken to hang. It is no assertion.
const hangs = 2 * time.Minute

// onTerminal runs `rmq args…` on a terminal of w by h cells.
func onTerminal(t testing.TB, w, h int, environ []string, args ...string) *terminal {
	t.Helper()
	return startOnTerminal(t, w, h, environ, "rmq", args...)
}

// startOnTerminal runs any program there.
func startOnTerminal(t testing.TB, w, h int, environ []string, name string, args ...string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, master: master, exited: make(chan struct{}), changed: make(chan struct{}, 1), screen: vt.NewEmulator(w, h)}
	x.size(w, h)
	x.cmd = exec.Command(name, args...)
	home := t.TempDir()
	x.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TERM=xterm-256color", "TZ=UTC"}, environ...)
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = slave, slave, slave
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()                                  // the program has it
	go func() { _, _ = io.Copy(x.master, x.screen) }() // what a terminal answers
	shown := make(chan struct{})
	go func() { defer close(shown); _, _ = io.Copy(x, x.master) }()
	go func() { x.err = x.cmd.Wait(); <-shown; close(x.exited) }() // all that it wrote is on the screen by then
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill() // it may have ended
		<-x.exited
		_ = x.screen.Close()
		_ = x.master.Close()
	})
	return x
}

func (x *terminal) size(w, h int) {
	if err := unix.IoctlSetWinsize(int(x.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(h), Col: uint16(w)}); err != nil {
		x.t.Fatal(err)
	}
}

// resize makes the terminal another size, which its program is told.
func (x *terminal) resize(w, h int) {
	x.mu.Lock()
	x.screen.Resize(w, h)
	x.mu.Unlock()
	x.size(w, h)
}

// Write takes what the program writes.
func (x *terminal) Write(b []byte) (int, error) {
	x.mu.Lock()
	x.written.Write(b)
	n, err := x.screen.Write(b)
	x.mu.Unlock()
	x.tell()
	return n, err
}

func (x *terminal) tell() {
	select {
	case x.changed <- struct{}{}:
	default: // told already
	}
}

// types writes keys as a terminal does.
func (x *terminal) types(keys string) {
	x.t.Helper()
	if _, err := io.WriteString(x.master, keys); err != nil {
		x.t.Fatal(err)
	}
}

// seen is the screen as it is.
func (x *terminal) seen() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.screen.String()
}

// until waits for the screen to be so.
func (x *terminal) until(what string, is func(screen string) bool) {
	x.t.Helper()
	over := time.NewTimer(hangs)
	defer over.Stop()
	for {
		if is(x.seen()) {
			return
		}
		select {
		case <-x.changed:
		case <-x.exited:
			x.t.Fatalf("the program ended (%v) without %s:\n%s", x.err, what, x.seen())
		case <-over.C:
			x.t.Fatalf("never saw %s:\n%s", what, x.seen())
		}
	}
}

// sees waits until every text is on the screen at once.
func (x *terminal) sees(texts ...string) {
	x.t.Helper()
	x.until(strings.Join(texts, ", "), func(screen string) bool {
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return false
			}
		}
		return true
	})
}

// ends waits for the program's end.
func (x *terminal) ends() error {
	x.t.Helper()
	over := time.NewTimer(hangs)
	defer over.Stop()
	select {
	case <-x.exited:
		return x.err
	case <-over.C:
		x.t.Fatalf("the program does not end:\n%s", x.seen())
		return nil
	}
}

// runAt runs a command at a broker, and returns what it printed.
func runAt(t *testing.T, b *testkit.Broker, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("rmq", append(args, "--url", b.HTTP())...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("rmq %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// One evening with the screens of a real broker: traffic of all protocols, a filter, a message in full, a
// tree, the command line, the mouse, another size; and the way out.
func TestTerminal(t *testing.T) {
	b := testkit.Run(t)
	runAt(t, b, "", "topic", "create", "orders", "--partitions", "3")
	runAt(t, b, "", "queue", "create", "jobs")
	runAt(t, b, "", "binding", "create", "amq.topic", "jobs", "--key", "job.#")
	runAt(t, b, "", "produce", "kafka:orders", `{"order":1,"total":9.5}`, "-k", "1")
	runAt(t, b, "", "produce", "mqtt:fleet/dev1/mode", "eco", "--retain")

	x := onTerminal(t, 80, 24, nil, "tui", "--url", b.HTTP())
	x.sees("[1 over]", "2 topics", "1 queues", "1 retained", "● up", "? help  q quit")

	x.types("2")
	x.sees("[2 topic]", "›fleet", "orders")
	x.types("/ord\r")
	x.sees("1 of 2 topics", "filter ord", "›orders")
	x.types("\r")
	x.sees(" topic orders", "PARTITION")

	x.types(":exchange amq.topic\r")
	x.sees(" exchange amq.topic", "job.#", "jobs")
	x.types("\x1b")
	x.sees("6 exchanges")
	x.types("t")
	x.sees("as a tree", "job.# ─▶ queue jobs")

	x.types("9")
	x.sees("waiting for messages")
	runAt(t, b, "", "produce", "mqtt:fleet/dev1/temp", `{"temp":21.5,"pos":{"lat":52.5}}`)
	x.sees("1 message", "fleet/dev1/temp")
	x.types("\r")
	x.sees(`"temp": 21.5,`, `"lat": 52.5`)
	x.types("jj\r")
	x.sees(`› `, `"pos": { 1 more }`)
	x.types("kv")
	x.sees(" .temp of fleet/dev1/temp, 1 message")
	runAt(t, b, "", "produce", "mqtt:fleet/dev1/temp", `{"temp":23}`)
	x.sees("2 messages", "now 23", "least 21.5")

	// The broker lets through what an expression means, and nothing else.
	x.types("\x1b")
	x.sees(" message fleet/dev1/temp")
	x.types("\x1b") // alone: with what follows it at once it is Alt
	x.sees("2 messages")
	x.types("/")
	x.sees(" /")
	x.types("json.temp >")
	x.sees("column")
	x.types(" 22\r")
	x.sees("waiting for messages that pass the filter")
	runAt(t, b, `{"temp":21}`+"\n"+`{"temp":24.5}`+"\n"+`{"temp":22}`+"\n"+`{"temp":25.5}`, "produce", "mqtt:fleet/dev1/temp")
	x.sees("2 messages", "24.5", "25.5", "filter json.temp > 22")

	// A press on a tab, and the wheel.
	row, col := x.find("8 ret")
	x.types(fmt.Sprintf("\x1b[<0;%d;%dM\x1b[<0;%d;%dm", col+1, row+1, col+1, row+1))
	x.sees("[8 ret]", "›fleet/dev1/mode", "eco")

	x.resize(120, 30)
	x.sees("[8 retained]", "6 subscriptions")
	x.types("y")
	x.sees("copied")
	if !regexp.MustCompile(`\x1b]52;c;[A-Za-z0-9+/=]+`).MatchString(x.wrote()) {
		t.Error("nothing was copied to the terminal")
	}

	x.types("q")
	if err := x.ends(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
	if w := x.wrote(); !strings.Contains(w, "\x1b[?1049h") || !strings.Contains(w[strings.LastIndex(w, "\x1b[?1049h"):], "\x1b[?1049l") {
		t.Error("the terminal was not given back as it was")
	}
}

func (x *terminal) wrote() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.written.String()
}

// find is where a text is on the screen.
func (x *terminal) find(text string) (row, col int) {
	x.t.Helper()
	for row, line := range strings.Split(x.seen(), "\n") {
		if before, _, ok := strings.Cut(line, text); ok {
			return row, len([]rune(before))
		}
	}
	x.t.Fatalf("%q is not on the screen:\n%s", text, x.seen())
	return 0, 0
}

// A broker that goes away and one that comes back at another port: the screens say so and go on.
func TestTerminalReconnects(t *testing.T) {
	home := t.TempDir()
	environ := []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + home, "XDG_STATE_HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("rmq", args...)
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, environ...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("rmq %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("up", "--memory", "--any-port", "--detach")
	t.Cleanup(func() { _ = exec.Command("rmq", "down").Run() })
	x := onTerminal(t, 80, 24, environ, "tui", "--interval", "100ms")
	x.sees("[1 over]", "● up")
	run("down")
	x.sees("LOST for", "STALE since")
	run("up", "--memory", "--any-port", "--detach")
	x.sees("● up", "the broker was started again")
	run("down")
	x.types("\x03")
	if err := x.ends(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
}

// Without colours no colour is sent, and on a terminal that cannot be drawn on the command to use is named.
func TestTerminalPlain(t *testing.T) {
	b := testkit.Run(t)
	x := onTerminal(t, 80, 24, []string{"NO_COLOR=1"}, "tui", "--url", b.HTTP())
	x.sees("[1 over]", "● up")
	if c := regexp.MustCompile(`\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;|4[0-7]m)[0-9;]*m`).FindString(x.wrote()); c != "" {
		t.Errorf("a colour was sent: %q", c)
	}
	x.types("q")
	if err := x.ends(); err != nil {
		t.Error(err)
	}
	x = onTerminal(t, 80, 24, []string{"TERM=dumb"}, "tui", "--screen", "groups", "--url", b.HTTP())
	if err := x.ends(); x.cmd.ProcessState.ExitCode() != env.Usage {
		t.Errorf("on a dumb terminal: %v", err)
	}
	if s := x.seen(); !strings.Contains(s, "TERM=dumb") || !strings.Contains(s, "rmq group list") {
		t.Errorf("on a dumb terminal:\n%s", s)
	}
}

// BenchmarkFirstFrame is the time from starting the program to its first frame with the broker's figures:
// at most 150 ms are wanted.
func BenchmarkFirstFrame(b *testing.B) {
	broker := testkit.Run(b)
	for b.Loop() {
		x := onTerminal(b, 80, 24, nil, "tui", "--url", broker.HTTP())
		x.sees("messages in, per second", "q quit")
		b.StopTimer()
		x.types("q")
		_ = x.ends() // it is measured no further
		b.StartTimer()
	}
}
