package fresh

import (
	"sync"
	"sync/atomic"
	"testing"
)

// crowded is a source of which many find at once that it has changed: who reads it waits for all of them.
type crowded struct {
	version, looks, reads atomic.Int64
	many                  int64
	all                   chan struct{}
}

func (c *crowded) ItemsVersion() uint64 {
	if c.looks.Add(1) == c.many+1 { // each before it has the lock, and the first with it
		close(c.all)
	}
	return uint64(c.version.Load())
}

func (c *crowded) read() int64 {
	if c.reads.Add(1) > 1 {
		<-c.all
	}
	return c.version.Load()
}

// A change is read once, however many connections come upon it at once.
func TestReadsOnce(t *testing.T) {
	c := &crowded{many: 20, all: make(chan struct{})}
	v := New(c, c.read)
	if got := v.Load(); got != 0 {
		t.Errorf("it is %d before the change", got)
	}
	c.version.Add(1)
	c.looks.Store(0)
	var loads sync.WaitGroup
	for range c.many {
		loads.Go(func() {
			if got := v.Load(); got != 1 {
				t.Errorf("it is %d after the change", got)
			}
		})
	}
	loads.Wait()
	if n := c.reads.Load(); n != 2 {
		t.Errorf("read %d times after one change, want once", n-1)
	}
}

func TestNil(t *testing.T) {
	if v := (*Value[*int])(nil); v.Load() != nil {
		t.Error("a nil one has a value")
	}
}
