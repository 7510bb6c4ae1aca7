package tui

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/adminapi/adminapitest"
	"github.com/robustmq/rmq/tui/feed"
)

// modelOf is a model that nothing runs, for benchmarks.
func modelOf(tb testing.TB, fake *adminapitest.Fake, w, h int) *Model {
	tb.Helper()
	opt := Options{Find: func() (adminapi.Source, string, error) { return fake, "test", nil }, Color: true, Zone: time.UTC}
	opt.defaults()
	ctx, cancel := context.WithCancel(tb.Context())
	tb.Cleanup(cancel)
	m, err := newModel(feed.New(ctx, opt.Find, opt.Clock), opt)
	if err != nil {
		tb.Fatal(err)
	}
	m.resize(w, h)
	return m
}

// pipe is a keyboard.
type pipe struct {
	r *io.PipeReader
	w *io.PipeWriter
}

func newPipe() *pipe {
	r, w := io.Pipe()
	return &pipe{r, w}
}

func (p *pipe) Read(b []byte) (int, error) { return p.r.Read(b) }
func (p *pipe) write(s string)             { _, _ = io.WriteString(p.w, s) }
func (p *pipe) close()                     { _ = p.w.Close() }

// screenshot is what was written to a terminal.
type screenshot struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screenshot) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

// await lets time pass until a text is on the terminal.
func (s *screenshot) await(t *testing.T, text string) {
	t.Helper()
	for range 100 {
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the bubble's time
		s.mu.Lock()
		seen := strings.Contains(ansi.Strip(s.buf.String()), text)
		s.mu.Unlock()
		if seen {
			return
		}
	}
	t.Fatalf("%q was never written:\n%q", text, s.buf.String())
}
