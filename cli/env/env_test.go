package env

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
)

// fixture returns an Env that touches a temporary directory only, and its outputs.
func fixture(t *testing.T) (*Env, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	var out, errs bytes.Buffer
	dir := t.TempDir()
	return &Env{
		In: strings.NewReader(""), Out: &out, Err: &errs, Dir: dir, Home: dir, Now: time.Now, Name: DefaultName,
		Getenv: func(name string) string { return map[string]string{"XDG_RUNTIME_DIR": dir}[name] },
	}, &out, &errs
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü 世": "plain ü 世", "a\tb\nc\r": `a\tb\nc\r`, "\x1b[31m": `\x1b[31m`, "\xff\xfe": `\xff\xfe`, "\u009b": `\u009b`, "\u202egpj": `\u202egpj`, "\x7f": `\x7f`,
	} {
		if got := Clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[31m\xff\u202e世")
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !utf8.ValidString(got) {
			t.Errorf("%q is not UTF-8", got)
		}
		for _, r := range got {
			if unsafeRune(r) {
				t.Errorf("%q let %U through", s, r)
			}
		}
	})
}

func TestPreview(t *testing.T) {
	for _, tt := range []struct {
		in    string
		width int
		want  string
	}{{"short", 10, "short"}, {"exactly10!", 10, "exactly10!"}, {"longer than ten", 10, "longer th…"}, {strings.Repeat("世", 40), 5, "世世世世…"}, {"\n\n\n\n\n\n", 6, `\n\n\…`}} {
		if got := Preview([]byte(tt.in), tt.width); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestHuman(t *testing.T) {
	for in, want := range map[time.Duration]string{
		0: "0s", -time.Second: "0s", 42 * time.Second: "42s", 62 * time.Second: "1m2s", time.Hour: "1h", time.Hour + 5*time.Second: "1h", 76 * time.Hour: "3d4h", 24*time.Hour + 5*time.Minute: "1d",
	} {
		if got := HumanDuration(in); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
	for in, want := range map[Bytes]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 10 << 10: "10 KiB", 3 << 30: "3.0 GiB"} {
		if got := in.String(); got != want {
			t.Errorf("%d: %s, want %s", in, got, want)
		}
	}
}

func TestTableAlignsWideNames(t *testing.T) {
	e, out, _ := fixture(t)
	e.Output = FormatTable
	err := e.Print(View{Tables: []Table{{Head: []string{"NAME", "N"}, Rows: [][]any{{"世界", 1}, {"e\u0301", 22}, {"", 3}}}}})
	want := "NAME   N\n世界   1\ne\u0301     22\n-      3\n"
	if err != nil || out.String() != want {
		t.Errorf("got\n%q\nwant\n%q", out.String(), want)
	}
}

func TestTextKeepsCellsApart(t *testing.T) {
	e, out, _ := fixture(t)
	v := View{Fields: []Field{{"a", "x\ty"}}, Tables: []Table{{Title: "t", Rows: [][]any{{"l1\nl2", nil, true, time.Time{}, Bytes(2048), 1.5}}}}}
	if err := e.Print(v); err != nil || out.String() != "a\tx\\ty\nt\tl1\\nl2\t\ttrue\t\t2048\t1.5\n" {
		t.Errorf("%q %v", out.String(), err)
	}
}

func TestExplain(t *testing.T) {
	tests := []struct {
		err  error
		exit int
	}{
		{fault.Of(fault.Invalid, "a", "b"), Usage}, {fault.Of(fault.NotFound, "a", "b"), NotFound}, {fault.Of(fault.Exists, "a", "b"), Conflict},
		{fault.Of(fault.Locked, "a", "b"), Conflict}, {fault.Of(fault.Denied, "a", "b"), Auth}, {fault.Of(fault.Unavailable, "a", "b"), Unreachable},
		{fault.Of(fault.Timeout, "a", "b"), TimedOut}, {fault.Of(fault.Internal, "a", "b"), Failed},
		{fmt.Errorf("wrapped: %w", &adminapi.Error{Category: adminapi.CategoryAuth, Message: "m"}), Auth},
		{context.DeadlineExceeded, TimedOut}, {context.Canceled, Interrupted}, {ErrInterrupted, Interrupted}, {errors.New("x\ny"), Failed},
		{Failf(Negative, "no"), Negative},
	}
	for _, tt := range tests {
		f := Explain(tt.err)
		if f.Exit != tt.exit || strings.Contains(f.What, "\n") {
			t.Errorf("%v: %d %q, want %d", tt.err, f.Exit, f.What, tt.exit)
		}
	}
	if Explain(nil) != nil {
		t.Error("no error was explained")
	}
}

func TestFail(t *testing.T) {
	e, out, errs := fixture(t)
	if code := e.Fail(&Failure{Exit: NotFound, What: "no such\x1b thing", Hint: "rmq up", See: "docs"}); code != NotFound {
		t.Errorf("code %d", code)
	}
	if errs.String() != "rmq: no such\\x1b thing\nhint: rmq up\nsee: docs\n" || out.Len() > 0 {
		t.Errorf("%q %q", errs, out)
	}
	errs.Reset()
	gone := &fs.PathError{Op: "write", Path: os.Stdout.Name(), Err: syscall.EPIPE}
	if code := e.Fail(fmt.Errorf("print: %w", gone)); code != OK || errs.Len() > 0 {
		t.Errorf("the reader of standard output has left: %d %q", code, errs)
	}
	hung := &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}
	if code := e.Fail(hung); code == OK || !strings.Contains(errs.String(), "broken pipe") {
		t.Errorf("the broker has hung up: %d %q", code, errs)
	}
	errs.Reset()
	if code := e.Fail(ErrInterrupted); code != Interrupted || errs.Len() > 0 {
		t.Errorf("Ctrl-C: %d %q", code, errs)
	}
}

func TestColored(t *testing.T) {
	tests := []struct {
		color, env string
		tty, want  bool
	}{
		{"auto", "", true, true}, {"auto", "", false, false}, {"always", "NO_COLOR=1", false, true}, {"never", "CLICOLOR_FORCE=1", true, false},
		{"auto", "NO_COLOR=1", true, false}, {"auto", "CLICOLOR_FORCE=1", false, true}, {"auto", "CLICOLOR_FORCE=0", false, false}, {"auto", "TERM=dumb", true, false},
	}
	for _, tt := range tests {
		name, value, _ := strings.Cut(tt.env, "=")
		e := &Env{Color: tt.color, Getenv: func(n string) string {
			if n == name {
				return value
			}
			return ""
		}}
		if got := e.Colored(tt.tty); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestConfirm(t *testing.T) {
	e, _, errs := fixture(t)
	if err := e.Confirm(Change{}, "delete it"); err != nil || errs.Len() > 0 {
		t.Errorf("a pipe was asked: %v %q", err, errs)
	}
	e.InTTY, e.ErrTTY = true, true
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, "\n": false, "n\n": false, "": false} {
		e.In = strings.NewReader(answer)
		if got := e.Confirm(Change{}, "delete it") == nil; got != want {
			t.Errorf("%q: %v", answer, got)
		}
	}
	e.In = iotest{}
	if err := e.Confirm(Change{Yes: true}, "delete it"); err != nil {
		t.Error(err)
	}
}

// iotest fails to be read.
type iotest struct{}

func (iotest) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestRunFiles(t *testing.T) {
	e, _, _ := fixture(t)
	if _, err := e.Running(); err == nil || Explain(err).Exit != Unreachable {
		t.Errorf("nothing runs: %v", err)
	}
	// A process that is gone: its file is stale, and replaced.
	gone := Run{Name: DefaultName, PID: 1 << 30}
	if won, err := e.WriteRun(gone); err != nil || !won {
		t.Fatal(won, err)
	}
	if _, err := e.Running(); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("stale: %v", err)
	}
	mine := Run{Name: DefaultName, PID: os.Getpid(), URLs: adminapi.URLs{HTTP: "http://127.0.0.1:1"}}
	if won, err := e.WriteRun(mine); err != nil || !won {
		t.Fatal(won, err)
	}
	if got, err := e.Running(); err != nil || got.PID != os.Getpid() {
		t.Errorf("%+v %v", got, err)
	}
	if runs := e.Runs(); len(runs) != 1 {
		t.Errorf("%+v", runs)
	}
	e.RemoveRun(DefaultName, 7) // another's
	if _, ok, _ := e.ReadRun(DefaultName); !ok {
		t.Error("another process took the file away")
	}
	e.RemoveRun(DefaultName, os.Getpid())
	if _, ok, _ := e.ReadRun(DefaultName); ok {
		t.Error("the file stayed")
	}
	// One that was cut short is as good as none.
	if err := os.WriteFile(filepath.Join(e.RunDir(), "default.json"), []byte(`{"pid":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := e.ReadRun(DefaultName); ok || err != nil {
		t.Errorf("cut short: %v %v", ok, err)
	}
	left, err := filepath.Glob(filepath.Join(e.RunDir(), ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Of two that start at once, one gets the name. The parent process stands for the one
// that is alive and listens.
func TestRunFileRace(t *testing.T) {
	e, _, _ := fixture(t)
	l := listen(t)
	var mu sync.Mutex
	won := 0
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			// Alive, each with another number: the init process and this one's parents.
			ok, err := e.WriteRun(Run{Name: DefaultName, PID: []int{1, os.Getpid()}[i%2], URLs: adminapi.URLs{HTTP: l}})
			if err != nil {
				t.Error(err)
			}
			if ok {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if won == 0 {
		t.Error("nobody got the name")
	}
}

func TestCheckName(t *testing.T) {
	for _, ok := range []string{"default", "a", "a-b_c.1"} {
		if err := CheckName(ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "..", "../x", "a/b", "-x", "ü", "a b", strings.Repeat("x", 65)} {
		if CheckName(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestReachable(t *testing.T) {
	for _, tt := range [][3]string{
		{"mqtt://0.0.0.0:1883", "broker.example", "mqtt://broker.example:1883"},
		{"http://[::]:15672", "", "http://127.0.0.1:15672"},
		{"kafka://10.0.0.7:9092", "x", "kafka://10.0.0.7:9092"},
		{"", "x", ""},
	} {
		if got := reachable(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%v: %s", tt, got)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"a/b": "a/b", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "a#": "'a#'"} {
		if got := Quote(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}

func TestYAMLKeepsTypes(t *testing.T) {
	e, out, _ := fixture(t)
	e.Output = FormatYAML
	if err := e.Print(View{Schema: "s/1", Data: map[string]any{"n": 1, "s": "1", "b": "true", "null": nil, "t": "a\nb"}}); err != nil {
		t.Fatal(err)
	}
	want := "schema: s/1\ndata:\n    b: \"true\"\n    n: 1\n    \"null\": null\n    s: \"1\"\n    t: |-\n        a\n        b\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestArguments(t *testing.T) {
	got, err := Arguments([]string{"a=5", "b=x", "c=str:5", "d=true", "e="})
	want := "[{a int:5} {b str:x} {c str:5} {d bool:true} {e str:}]"
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v %v", got, err)
	}
	if _, err := Arguments([]string{"novalue"}); Explain(err).Exit != Usage {
		t.Error(err)
	}
}
