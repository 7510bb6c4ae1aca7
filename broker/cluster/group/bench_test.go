package group

import (
	"fmt"
	"testing"

	"github.com/robustmq/rmq/broker/storage"
)

// counter is a machine that tells when a number of entries is applied.
type counter struct {
	room chan struct{} // one for each entry applied
	led  chan struct{}
}

func newCounter(depth int) *counter {
	return &counter{room: make(chan struct{}, depth), led: make(chan struct{}, 1)}
}

func (c *counter) Apply(entries []storage.Entry) {
	for range entries {
		c.room <- struct{}{}
	}
}

func (c *counter) Lead(_ uint64, leading bool) {
	if leading {
		c.led <- struct{}{}
	}
}

func (*counter) Members(uint64, uint64, storage.Members) {}
func (*counter) Follow(uint64)                           {}
func (*counter) Behind(uint64, uint64, uint64) bool      { return false }
func (*counter) Stopped(error)                           {}

// nullLog ends every write at once, on the caller's goroutine.
type nullLog struct{ fakeLog }

func (*nullLog) Append(w storage.Write) error { w.Done(nil); return nil }
func (*nullLog) Load(storage.ShardID) (storage.Loaded, error) {
	return storage.Loaded{}, nil
}
func (*nullLog) Release(storage.ShardID, uint64) {}

// BenchmarkPropose measures one group of one voter over a log that costs nothing:
// the price of the consensus path itself, from Propose to Apply.
func BenchmarkPropose(b *testing.B) {
	for _, size := range []int{256, 64 << 10} {
		for _, depth := range []int{1, 2, 64} {
			b.Run(fmt.Sprintf("size=%d/depth=%d", size, depth), func(b *testing.B) {
				h := NewHost(Options{Self: 1, Workers: 1})
				m := newCounter(depth)
				g := mustOpen(b, h, Config{Log: new(nullLog), Machine: m})
				<-m.led
				data := make([]byte, size)
				b.ReportAllocs()
				b.SetBytes(int64(size))
				flying := 0
				for b.Loop() {
					if flying == depth {
						<-m.room
						flying--
					}
					if err := g.Propose(data); err != nil {
						b.Fatal(err)
					}
					flying++
				}
				for ; flying > 0; flying-- {
					<-m.room
				}
				if err := h.Close(b.Context()); err != nil {
					b.Log(err)
				}
			})
		}
	}
}

// BenchmarkOpen measures what it takes to open a new group and lead it.
func BenchmarkOpen(b *testing.B) {
	h := NewHost(Options{Self: 1, Workers: 1})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m := newCounter(1)
		mustOpen(b, h, Config{Shard: storage.ShardID(i), Log: new(nullLog), Machine: m})
		<-m.led
	}
}
