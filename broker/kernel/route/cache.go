package route

import (
	"hash/maphash"
	"sync/atomic"
)

// Cache keeps answers to "who wants this?" by the question, two strings, each with the
// version of the tables that it was found in. It holds a fixed number of answers: a
// question has ways places, and a hand goes round them as in a clock, sparing what was
// asked for since it last passed.
//
// Safe for concurrent use; nothing waits. Two writers of one place may lose one answer,
// which is then found again.
type Cache[V any] struct {
	seed maphash.Seed
	sets []cacheSet[V] // a power of two
}

const ways = 8

type cacheSet[V any] struct {
	hand    atomic.Uint32
	entries [ways]atomic.Pointer[cached[V]]
}

type cached[V any] struct {
	hash    uint64
	a, b    string
	version uint64
	value   V
	used    atomic.Bool
}

// NewCache returns a cache of at least size answers.
func NewCache[V any](size int) *Cache[V] {
	n := 1
	for n*ways < size {
		n *= 2
	}
	return &Cache[V]{seed: maphash.MakeSeed(), sets: make([]cacheSet[V], n)}
}

// Get returns the answer to (a, b) that was put under the same version.
func (c *Cache[V]) Get(a, b string, version uint64) (v V, ok bool) {
	h := c.hash(a, b)
	set := &c.sets[h&uint64(len(c.sets)-1)]
	for i := range set.entries {
		if e := set.entries[i].Load(); e != nil && e.hash == h && e.a == a && e.b == b {
			if e.version != version {
				return v, false
			}
			if !e.used.Load() { // most often it is: do not share the cache line in anger
				e.used.Store(true)
			}
			return e.value, true
		}
	}
	return v, false
}

// Put keeps an answer to (a, b), found after version was read.
func (c *Cache[V]) Put(a, b string, version uint64, v V) {
	h := c.hash(a, b)
	set := &c.sets[h&uint64(len(c.sets)-1)]
	e := &cached[V]{hash: h, a: a, b: b, version: version, value: v}
	for i := range set.entries {
		if old := set.entries[i].Load(); old == nil || old.hash == h && old.a == a && old.b == b {
			set.entries[i].Store(e)
			return
		}
	}
	for range 2 * ways {
		at := &set.entries[set.hand.Add(1)%ways]
		if old := at.Load(); old == nil || !old.used.Swap(false) {
			at.Store(e)
			return
		}
	}
}

func (c *Cache[V]) hash(a, b string) uint64 {
	return edgeHash(maphash.String(c.seed, a), maphash.String(c.seed, b))
}
