package link

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/robustmq/rmq/broker/fault"
)

// lane is a reader of numbered messages that tells which were settled.
type lane struct {
	left    int
	at      int
	settled []int
	passed  []int
	one     bool // the next comes only when the last is settled
}

func (l *lane) next(context.Context) (*Message, error) {
	if l.at == l.left {
		return nil, io.EOF
	}
	l.at++
	return &Message{Size: l.at}, nil
}
func (l *lane) settle(context.Context) error { return nil }
func (l *lane) pass(context.Context) error   { return nil }
func (l *lane) close()                       {}
func (l *lane) waits() bool                  { return l.one }
func (l *lane) hold(meant bool) func() error {
	n := l.at
	return func() error {
		if meant {
			l.settled = append(l.settled, n)
		} else {
			l.passed = append(l.passed, n)
		}
		return nil
	}
}

// slowProducer keeps acknowledgements until it is told.
type slowProducer struct {
	mu    sync.Mutex
	sent  []int
	done  []func(Receipt, error)
	fails int // the size of the message that is refused
	now   bool
}

func (p *slowProducer) Send(_ context.Context, m *Message, done func(Receipt, error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, m.Size)
	if m.Size == p.fails {
		old := done
		done = func(Receipt, error) { old(Receipt{}, fault.Of(fault.Full, "produce", "x")) }
	}
	if p.now {
		go done(Receipt{}, nil)
		return nil
	}
	p.done = append(p.done, done)
	return nil
}

func (p *slowProducer) Close(context.Context) error {
	p.acknowledge(len(p.done))
	return nil
}

func (p *slowProducer) acknowledge(n int) {
	for _, done := range p.done[:n] {
		done(Receipt{}, nil)
	}
	p.done = p.done[n:]
}

// Nothing is settled before the destination has it, nor before what came earlier.
func TestCopySettlesInOrderAndNotBefore(t *testing.T) {
	r, p := &lane{left: 5}, &slowProducer{}
	c := &copier{r: r, failed: make(chan struct{}), o: CopyOptions{ConsumeOptions: ConsumeOptions{Where: func(m *Message) bool { return m.Size != 2 }}}}
	if err := c.run(t.Context(), t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if len(r.settled) > 0 || len(r.passed) > 0 || !slices.Equal(p.sent, []int{1, 3, 4, 5}) {
		t.Fatalf("settled %v, passed %v of %v before any was acknowledged", r.settled, r.passed, p.sent)
	}
	p.done[1](Receipt{}, nil) // message 3, before message 1
	if len(r.settled) > 0 {
		t.Fatalf("settled %v, and message 1 is under way", r.settled)
	}
	p.done[0](Receipt{}, nil)
	if !slices.Equal(r.settled, []int{1, 3}) || !slices.Equal(r.passed, []int{2}) {
		t.Fatalf("settled %v, passed %v", r.settled, r.passed)
	}
	p.done = p.done[2:]
	p.acknowledge(2)
	if !slices.Equal(r.settled, []int{1, 3, 4, 5}) || c.copied != 4 {
		t.Fatalf("settled %v, copied %d", r.settled, c.copied)
	}
}

// After a failure nothing more is settled: it is still at the source.
func TestCopyThatFailsSettlesNothingMore(t *testing.T) {
	r, p := &lane{left: 4}, &slowProducer{fails: 2}
	c := &copier{r: r, failed: make(chan struct{})}
	if err := c.run(t.Context(), t.Context(), p); err != nil {
		t.Fatal(err)
	}
	p.acknowledge(4)
	if !slices.Equal(r.settled, []int{1}) || !fault.Is(c.err, fault.Full) {
		t.Errorf("settled %v, %v", r.settled, c.err)
	}
	r.left = 9
	if err := c.run(t.Context(), t.Context(), p); !errors.Is(err, errCopyFailed) || len(p.done) != 0 {
		t.Errorf("%v, and %d more were sent", err, len(p.done))
	}
}

// A message of which several are made is settled with the last of them.
func TestCopyOfSeveralForOne(t *testing.T) {
	r, p := &lane{left: 2}, &slowProducer{}
	c := &copier{r: r, failed: make(chan struct{}), o: CopyOptions{Edit: func(m *Message) ([]*Message, error) {
		if m.Size == 1 {
			return []*Message{{Size: 10}, {Size: 11}}, nil
		}
		return nil, nil // dropped
	}}}
	if err := c.run(t.Context(), t.Context(), p); err != nil {
		t.Fatal(err)
	}
	p.acknowledge(1)
	if len(r.settled) > 0 {
		t.Fatalf("settled %v with the first half", r.settled)
	}
	p.acknowledge(1)
	if !slices.Equal(r.settled, []int{1, 2}) {
		t.Errorf("settled %v", r.settled)
	}
}

// A source that gives the next only when the last is settled is waited for.
func TestCopyOneByOne(t *testing.T) {
	r, p := &lane{left: 50, one: true}, &slowProducer{now: true}
	c := &copier{r: r, failed: make(chan struct{})}
	if err := c.run(t.Context(), t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if len(r.settled) != 50 {
		t.Errorf("settled %v", r.settled)
	}
}
