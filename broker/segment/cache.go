package segment

import (
	"container/list"
	"sync"

	"github.com/robustmq/rmq/broker/vfs"
)

// Cache holds files open, those used last, with their indexes. Segments share one, so
// that ten thousand of them need no ten thousand descriptors.
//
// A file in use stays open, also beyond the limit: as many as there are calls at once.
type Cache struct {
	fs    vfs.FS
	limit int

	mu      sync.Mutex
	handles map[*file]*handle
	idle    *list.List // of *handle with refs 0, the longest idle first
}

// handle is an open file. Guarded by Cache.mu, except what open sets once.
type handle struct {
	owner   *file
	refs    int
	place   *list.Element // in idle; nil while in use
	dropped bool          // to be closed by the last to release it

	open  sync.Once
	file  vfs.File
	err   error
	index func() ([]entry, error) // loads the index once
}

// NewCache returns a cache of at most limit idle files.
func NewCache(fsys vfs.FS, limit int) *Cache {
	return &Cache{fs: fsys, limit: max(1, limit), handles: make(map[*file]*handle), idle: list.New()}
}

// acquire returns the open file of f. It must be released.
func (c *Cache) acquire(f *file) (*handle, error) {
	c.mu.Lock()
	h := c.handles[f]
	if h == nil {
		h = &handle{owner: f}
		c.handles[f] = h
	}
	h.refs++
	if h.place != nil {
		c.idle.Remove(h.place)
		h.place = nil
	}
	c.mu.Unlock()

	h.open.Do(func() {
		if h.file, h.err = c.fs.Open(f.path); h.err == nil {
			h.err = f.identify(h.file)
		}
		h.index = sync.OnceValues(func() ([]entry, error) { return f.loadIndex(c.fs, h.file) })
	})
	if h.err != nil {
		c.drop(f) // the next one tries again
		err := h.err
		c.release(h)
		return nil, err
	}
	return h, nil
}

// release gives a handle back.
func (c *Cache) release(h *handle) {
	c.mu.Lock()
	h.refs--
	var surplus []*handle
	switch {
	case h.refs > 0:
	case h.dropped:
		surplus = append(surplus, h)
	default:
		h.place = c.idle.PushBack(h)
		for c.idle.Len() > c.limit {
			old := c.idle.Remove(c.idle.Front()).(*handle)
			old.place = nil
			delete(c.handles, old.owner)
			surplus = append(surplus, old)
		}
	}
	c.mu.Unlock()
	closeAll(surplus)
}

// drop forgets a file: it was removed, renamed or cut.
func (c *Cache) drop(f *file) {
	c.mu.Lock()
	h := c.handles[f]
	if h == nil {
		c.mu.Unlock()
		return
	}
	delete(c.handles, f)
	h.dropped = true
	var unused []*handle
	if h.place != nil {
		c.idle.Remove(h.place)
		h.place = nil
		unused = append(unused, h)
	}
	c.mu.Unlock()
	closeAll(unused)
}

// closeAll closes files from which nothing is wanted any more. What was written through
// them is synced through others, so an error of Close changes nothing.
func closeAll(handles []*handle) {
	for _, h := range handles {
		if h.file != nil {
			_ = h.file.Close()
		}
	}
}
