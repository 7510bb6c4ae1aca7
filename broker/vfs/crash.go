package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// sector is what a disk writes wholly or not at all.
const sector = 512

// CrashClone returns the disk as a power failure at this moment may leave it. Equal
// seeds give equal disks. m itself goes on undisturbed, and locks are not carried
// over.
//
// What may happen, by what ext4, xfs and POSIX allow together:
//
//   - of the changes to one directory since it was synced, the first few remain;
//   - of the sizes that a file had since it was synced, any remains;
//   - of what was written to it since then, each sector separately is there or not.
func (m *Mem) CrashClone(seed uint64) *Mem {
	r := rand.New(rand.NewPCG(seed, 0x637261736821))
	// Disks that keep nothing, or everything, are outcomes that chance would seldom give.
	switch r.IntN(4) {
	case 0:
		return m.crash(r, 0)
	case 1:
		return m.crash(r, 1)
	}
	return m.crash(r, r.Float64())
}

// CrashKeep is CrashClone with a given chance for each unsynced sector: with 0 nothing
// remains that was not synced, with 1 everything does.
func (m *Mem) CrashKeep(seed uint64, keep float64) *Mem {
	return m.crash(rand.New(rand.NewPCG(seed, 0x637261736821)), keep)
}

func (m *Mem) crash(r *rand.Rand, keep float64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &crash{rand: r, keep: keep, done: make(map[*node]*node)}
	after := NewMem()
	after.limit = m.limit
	after.root = c.clone(m.root)
	after.used = usedBy(after.root)
	return after
}

// Clone returns the disk as a killed process leaves it: the system has everything, and
// what was not synced may still be lost. Locks are not carried over.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	done := make(map[*node]*node)
	after := NewMem()
	after.limit, after.used = m.limit, m.used
	after.root = m.root.clone(done)
	return after
}

// clone copies a node and what is below it, with the names that it had when its
// directory was synced.
func (n *node) clone(done map[*node]*node) *node {
	if n == nil {
		return nil
	}
	if c := done[n]; c != nil {
		return c
	}
	c := &node{dir: n.dir, data: slices.Clone(n.data), synced: slices.Clone(n.synced), writes: slices.Clone(n.writes)}
	done[n] = c
	if !n.dir {
		return c
	}
	c.names, c.stable = make(map[string]*node, len(n.names)), make(map[string]*node, len(n.stable))
	for name, child := range n.names {
		c.names[name] = child.clone(done)
	}
	for name, child := range n.stable {
		c.stable[name] = child.clone(done)
	}
	for _, change := range n.changes {
		nodes := make([]*node, len(change.nodes))
		for i, child := range change.nodes {
			nodes[i] = child.clone(done)
		}
		c.changes = append(c.changes, nameChange{change.names, nodes})
	}
	return c
}

// crash is one power failure.
type crash struct {
	rand *rand.Rand
	keep float64         // chance of one unsynced sector
	done map[*node]*node // nodes under two names stay one
}

func (c *crash) clone(n *node) *node {
	if after := c.done[n]; after != nil {
		return after
	}
	after := new(node)
	c.done[n] = after
	if !n.dir {
		after.data = c.content(n)
		after.synced = slices.Clone(after.data)
		return after
	}
	names := maps.Clone(n.stable)
	for _, change := range n.changes[:c.first(len(n.changes))] {
		applyNames(names, change)
	}
	after.dir, after.names = true, make(map[string]*node)
	for _, name := range slices.Sorted(maps.Keys(names)) { // in order: the random source is shared
		after.names[name] = c.clone(names[name])
	}
	after.stable = maps.Clone(after.names)
	return after
}

// first is how many of n ordered changes remain.
func (c *crash) first(n int) int {
	switch c.keep {
	case 0:
		return 0
	case 1:
		return n
	}
	return c.rand.IntN(n + 1)
}

func (c *crash) content(n *node) []byte {
	data := slices.Clone(n.synced)
	sized := c.first(len(n.writes)) // sizes are journalled in order
	for i, w := range n.writes {
		switch {
		case w.data == nil && i < sized:
			data = w.apply(data)
		case w.data == nil:
		default:
			end := w.off + int64(len(w.data))
			if i < sized && end > int64(len(data)) {
				data = resize(data, end)
			}
			c.tear(data, w)
		}
	}
	return data
}

// tear writes those sectors of w that made it to the disk and lie within the file.
func (c *crash) tear(data []byte, w write) {
	for from := int64(0); from < int64(len(w.data)); {
		to := min((w.off+from)/sector*sector+sector-w.off, int64(len(w.data)))
		if c.rand.Float64() < c.keep && w.off+from < int64(len(data)) {
			copy(data[w.off+from:], w.data[from:to])
		}
		from = to
	}
}

func usedBy(n *node) int64 {
	total := int64(len(n.data))
	for _, child := range n.names {
		total += usedBy(child)
	}
	return total
}
