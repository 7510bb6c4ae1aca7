package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// module is the root of the source tree.
const module = "../.."

// sources are what the program is built of. The go command has to know that this test
// depends on them, or it reports a result of another program as cached: it takes note of
// what a test reads, and not of what the commands read that it runs.
var sources = []string{"broker", "cli", "cmd", "tui"}

// binary is the program under test.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("RMQ_BINARY"); path != "" {
		return path, nil
	}
	for _, dir := range sources {
		if err := filepath.WalkDir(filepath.Join(module, dir), func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			return "", err
		}
	}
	path := filepath.Join(scratch, "rmq")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	out, err := exec.Command("go", "build", "-o", path, "github.com/robustmq/rmq/cmd/rmq").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// scratch is a directory of this run.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rmq-crash")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// process is a running broker.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  io.Reader
	urls adminapi.URLs
	errs said
	once sync.Once
}

// said is what a process has written, while it still writes.
type said struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{} // closed and replaced when there is more
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written != nil {
		close(s.written)
		s.written = nil
	}
	return s.text.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until it has written what.
func (s *said) await(ctx context.Context, t testing.TB, what string) {
	t.Helper()
	for {
		s.mu.Lock()
		text := s.text.String()
		if s.written == nil {
			s.written = make(chan struct{})
		}
		written := s.written
		s.mu.Unlock()
		if strings.Contains(text, what) {
			return
		}
		select {
		case <-written:
		case <-ctx.Done():
			t.Fatalf("the broker does not say %q, but\n%s", what, text)
		}
	}
}

// readyMax bounds how long a broker may take to be up.
const readyMax = time.Minute

// up starts `rmq up` in the foreground and returns when every port accepts clients.
func up(t *testing.T, args ...string) *process {
	t.Helper()
	p := launch(t, args...)
	check(t, p.ready())
	return p
}

// launch starts `rmq up` and does not wait for it.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := binary()
	check(t, err)
	home := t.TempDir()
	p := &process{t: t, cmd: exec.Command(path, append([]string{"up", "--json"}, args...)...)}
	p.cmd.Env = append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home, "XDG_STATE_HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	p.cmd.Dir = home
	p.cmd.Stderr = &p.errs
	p.out, err = p.cmd.StdoutPipe()
	check(t, err)
	check(t, p.cmd.Start())
	t.Cleanup(p.kill)
	return p
}

// ready waits until every port accepts clients. A broker that does not come up is killed.
func (p *process) ready() error {
	late := time.AfterFunc(readyMax, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	var status struct {
		Data adminapi.Status `json:"data"`
	}
	err := json.NewDecoder(p.out).Decode(&status)
	if err != nil || !status.Data.Ready { // it prints an error where it is asked for JSON
		p.kill()
		return fmt.Errorf("rmq up: not ready (%v)\n%s", err, &p.errs)
	}
	p.urls = status.Data.URLs
	return nil
}

// kill ends the process with SIGKILL: nothing of it runs any more when kill returns.
func (p *process) kill() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait() // killed: an error is what is expected
	})
}

func (p *process) host(raw string) string {
	p.t.Helper()
	u, err := url.Parse(raw)
	check(p.t, err)
	return u.Host
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}

// patience bounds what a test waits for; reached only when it fails.
const patience = 2 * time.Minute

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
