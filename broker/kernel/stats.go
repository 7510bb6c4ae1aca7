package kernel

import (
	"sort"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/message"
)

// Stats counts messages since the kernel was opened.
type Stats struct {
	In, InBytes [3]atomic.Uint64 // by message.Protocol
	Out         atomic.Uint64    // deliveries to queues' consumers and sessions
	OutBytes    atomic.Uint64
	Dropped     atomic.Uint64 // deliveries a sink had no room for
	Refused     atomic.Uint64 // publishes refused because the log was full
	CaughtUp    atomic.Uint64 // states of shards that this node fetched because it was behind
	Shed        atomic.Uint64 // publishes that nobody waited for, and for which it had no room
}

func (s *Stats) in(p message.Protocol, n, bytes int) {
	s.In[p].Add(uint64(n))
	s.InBytes[p].Add(uint64(bytes))
}

func (s *Stats) out(bytes int) {
	s.Out.Add(1)
	s.OutBytes.Add(uint64(bytes))
}

// Stats returns the kernel's counters.
func (k *Kernel) Stats() *Stats { return &k.stats }

func sortBy[T any](list []T, key func(*T) string) {
	sort.Slice(list, func(i, j int) bool { return key(&list[i]) < key(&list[j]) })
}
