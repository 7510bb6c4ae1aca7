package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/adminapi/adminapitest"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/cli/env"
)

// played is a broker that does nothing but answer its API.
type played struct {
	urls   adminapi.URLs
	done   chan struct{}
	err    error
	closed int
}

func (p *played) URLs() adminapi.URLs         { return p.urls }
func (p *played) Done() <-chan struct{}       { return p.done }
func (p *played) Err() error                  { return p.err }
func (p *played) Close(context.Context) error { p.closed++; return nil }

type stage struct {
	e         *env.Env
	out, errs bytes.Buffer
	broker    *played
	config    Config
	openErr   error
}

func newStage(t *testing.T) *stage {
	t.Helper()
	fake := adminapitest.New()
	fake.S = adminapi.Status{Version: "test", Ready: true, Profile: "dev"}
	srv := httptest.NewServer(adminapi.Handler(fake, adminapi.HandlerOptions{}))
	t.Cleanup(srv.Close)
	s := &stage{broker: &played{done: make(chan struct{}), urls: adminapi.URLs{
		MQTT: "mqtt://127.0.0.1:1883", MQTTWS: "ws://127.0.0.1:8083/mqtt", Kafka: "kafka://127.0.0.1:9092", AMQP: "amqp://127.0.0.1:5672", HTTP: srv.URL,
	}}}
	dir := t.TempDir()
	s.e = &env.Env{Out: &s.out, Err: &s.errs, Dir: dir, Home: dir, Now: time.Now, Version: "1.0", Output: env.FormatTable, Getenv: func(n string) string {
		return map[string]string{"XDG_RUNTIME_DIR": dir}[n]
	}}
	return s
}

// up runs `rmq up` until it ends by itself or, once it is up, by stop.
func (s *stage) up(t *testing.T, stop func(), args ...string) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := NewUp(s.e, func(_ context.Context, c Config) (Broker, error) {
		if s.config = c; s.openErr != nil {
			return nil, s.openErr
		}
		if stop == nil {
			cancel()
		} else {
			stop()
		}
		return s.broker, nil
	})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	return cmd.ExecuteContext(ctx)
}

func TestCard(t *testing.T) {
	s := newStage(t)
	if err := s.up(t, nil, "--memory"); err != nil {
		t.Fatal(err)
	}
	got := s.out.String()
	first, rest, _ := strings.Cut(got, "\n")
	if !strings.HasPrefix(first, "rmq 1.0 is up (") {
		t.Errorf("first line %q", first)
	}
	want := `
  mqtt     mqtt://127.0.0.1:1883   ws://127.0.0.1:8083/mqtt
  kafka    127.0.0.1:9092
  amqp     amqp://127.0.0.1:5672
  http     ` + s.broker.urls.HTTP + `

  data     in memory: nothing outlives the broker
  profile  dev
  try      rmq produce mqtt:sensors/dev1/temp 21.5
           rmq consume kafka:sensors --from start -n 1
  watch    rmq tui
  env      eval "$(rmq env)"
  stop     Ctrl-C
`
	if rest != want {
		t.Errorf("got\n%s\nwant\n%s", rest, want)
	}
	if s.broker.closed != 1 {
		t.Errorf("closed %d times", s.broker.closed)
	}
	if _, ok, err := s.e.ReadRun(env.DefaultName); ok || err != nil {
		t.Error("its run file stayed")
	}
}

func TestConfigOfFlags(t *testing.T) {
	tests := []struct {
		args []string
		want Config
	}{
		{[]string{"--memory"}, Config{Profile: "dev", Host: "127.0.0.1", MQTT: 1883, MQTTWS: 8083, Kafka: 9092, AMQP: 5672, HTTP: 15672}},
		{[]string{"--memory", "--any-port", "--mqtt-port", "5"}, Config{Profile: "dev", Host: "127.0.0.1", MQTT: 5}},
		{[]string{"--memory", "--port", "7"}, Config{Profile: "dev", Host: "127.0.0.1", Port: 7}},
		{[]string{"--data", "/d", "--durability", "async"}, Config{DataDir: "/d", Durability: "async", Profile: "dev", Host: "127.0.0.1", MQTT: 1883, MQTTWS: 8083, Kafka: 9092, AMQP: 5672, HTTP: 15672}},
		{[]string{"--data", "/d", "--profile", "production", "--listen", "::1", "--kafka-port", "-1"}, Config{DataDir: "/d", Profile: "production", Host: "::1", MQTT: 1883, MQTTWS: 8083, Kafka: -1, AMQP: 5672, HTTP: 15672}},
	}
	for _, tt := range tests {
		s := newStage(t)
		if err := s.up(t, nil, tt.args...); err != nil {
			t.Errorf("%v: %v", tt.args, err)
		}
		s.config.Log = nil
		if s.config != tt.want {
			t.Errorf("%v: %+v, want %+v", tt.args, s.config, tt.want)
		}
	}
	s := newStage(t)
	if err := s.up(t, nil, "--name", "x"); err != nil || s.config.DataDir != s.e.Home+"/.local/share/rmq/x" {
		t.Errorf("%v, data in %s", err, s.config.DataDir)
	}
	if err := s.up(t, nil, "--data", "rel"); err != nil || s.config.DataDir != s.e.Dir+"/rel" {
		t.Errorf("%v, data in %s", err, s.config.DataDir)
	}
}

func TestUpEndsWhenTheAPIAsks(t *testing.T) {
	s := newStage(t)
	if err := s.up(t, func() { close(s.broker.done) }, "--memory"); err != nil || s.broker.closed != 1 {
		t.Errorf("%v, closed %d times", err, s.broker.closed)
	}
}

func TestUpFailsWithWhatStoppedTheBroker(t *testing.T) {
	s := newStage(t)
	s.broker.err = errors.New("the disk is gone")
	if err := s.up(t, nil, "--memory"); !errors.Is(err, s.broker.err) || s.broker.closed != 1 {
		t.Errorf("%v, closed %d times", err, s.broker.closed)
	}
}

// A reader that is not there to be told the ports leaves no broker behind.
func TestUpWithoutReader(t *testing.T) {
	s := newStage(t)
	s.e.Out = broken{}
	if err := s.up(t, func() {}, "--memory"); !errors.Is(err, syscall.EPIPE) || s.broker.closed != 1 {
		t.Errorf("%v, closed %d times", err, s.broker.closed)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// Another broker of that name came up between the look and the claim.
func TestUpLosesTheName(t *testing.T) {
	s := newStage(t)
	other := env.Run{Name: env.DefaultName, PID: os.Getppid(), URLs: adminapi.URLs{HTTP: s.broker.urls.HTTP}}
	err := s.up(t, func() {
		if won, err := s.e.WriteRun(other); err != nil || !won {
			t.Error(won, err)
		}
	}, "--memory")
	if f := env.Explain(err); f == nil || f.Exit != env.Conflict || s.broker.closed != 1 {
		t.Errorf("%v, closed %d times", err, s.broker.closed)
	}
	if run, ok, _ := s.e.ReadRun(env.DefaultName); !ok || run.PID != other.PID {
		t.Errorf("the other's run file is %+v", run)
	}
}

func TestWhatCanGoWrongAtTheStart(t *testing.T) {
	tests := []struct {
		err  error
		exit int
		what string
		hint string
	}{
		{fault.New(fault.Exists, "listen", "127.0.0.1:9092", "taken"), env.Conflict, "127.0.0.1:9092 for Kafka is taken", "rmq up --any-port   or choose one: rmq up --kafka-port N"},
		{errors.Join(fault.New(fault.Exists, "listen", "127.0.0.1:1883", "taken"), errors.New("more")), env.Conflict, "127.0.0.1:1883 for MQTT is taken", "--mqtt-port N"},
		{fmt.Errorf("%w: /d is open in process 7", storage.ErrInUse), env.Conflict, "/d is in use by process 7", "--data DIR --name NAME --any-port"},
		{fmt.Errorf("%w: /d has format 9", storage.ErrVersion), env.Conflict, "newer release", "start it with the release that wrote it"},
		{fmt.Errorf("%w: /d", storage.ErrCorrupt), env.Failed, "corrupt", "nothing was changed; see what is damaged and what can be mended: rmq doctor /d"},
		{fmt.Errorf("%w: /d/wal", storage.ErrMixed), env.Conflict, "two data directories are mixed", "rmq doctor /d"},
		{fmt.Errorf("%w: /d/wal", storage.ErrGone), env.Failed, "moved away", "nothing was made in its place; see what is left: rmq doctor /d"},
		{filelog.ErrForeign, env.Usage, "not an rmq data directory", "use another directory"},
		{&fs.PathError{Op: "open", Path: "/d", Err: syscall.EACCES}, env.Auth, "open /d: permission denied", "chmod -R u+rwX /d"},
		{&fs.PathError{Op: "mkdir", Path: "/d/wal", Err: syscall.EROFS}, env.Auth, "/d is on a file system that is mounted read-only", "use another directory: rmq up --data DIR"},
		{&fs.PathError{Op: "open", Path: "/d", Err: syscall.ENOTDIR}, env.Usage, "/d is no directory", "rmq up --data DIR"},
		{&fs.PathError{Op: "write", Path: "/d", Err: syscall.ENOSPC}, env.Failed, "no space is left for /d", "free some"},
		{errors.New("else"), env.Failed, "else", ""},
	}
	for _, tt := range tests {
		s := newStage(t)
		s.openErr = tt.err
		f := env.Explain(s.up(t, nil, "--data", "/d"))
		if f == nil || f.Exit != tt.exit || !strings.Contains(f.What, tt.what) || !strings.Contains(f.Hint, tt.hint) {
			t.Errorf("%v: %+v", tt.err, f)
		}
	}
}

func TestListenElsewhereWithoutUsers(t *testing.T) {
	s := newStage(t)
	s.openErr = fault.New(fault.Denied, "listen", "0.0.0.0:1883", "no users")
	f := env.Explain(s.up(t, nil, "--memory", "--listen", "0.0.0.0"))
	if f.Exit != env.Auth || !strings.Contains(f.Hint, "rmq user create") {
		t.Errorf("%+v", f)
	}
}

func TestAssignments(t *testing.T) {
	v := Variable{"X", `a'b\c`}
	for format, want := range map[string]string{
		"sh": `export X='a'\''b\c'`, "fish": `set -gx X 'a\'b\\c'`, "pwsh": `$Env:X = 'a''b\c'`, "dotenv": `X='a'\''b\c'`, "github": `X=a'b\c`,
	} {
		if got := assignment(format, v); got != want {
			t.Errorf("%s: %s, want %s", format, got, want)
		}
	}
}
