package meta

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/robustmq/rmq/broker/storage"
)

// Shape tells whether the pages of a file that is not being written lead from the root to each
// page once, and none that is used is said to be free. So whoever goes by them comes to an end,
// and overwrites nothing. bbolt does not look: where pages lead back to themselves it goes on until
// all memory is taken, which ends the process.
//
// damaged are the shards whose own pages are not so; err says that those are not which all shards
// share. Of the keys and values of checkpoints nothing is read, and of their pages the heads.
func (x *Inspector) Shape() (damaged map[storage.ShardID]error, err error) {
	if x.err != nil {
		return nil, x.err
	}
	if x.at.pages > uint64(x.size/x.at.pageSize) {
		return nil, fmt.Errorf("%w: %d pages of %d bytes in a file of %d", storage.ErrCorrupt, x.at.pages, x.at.pageSize, x.size)
	}
	w := shapeWalk{x: x, damaged: make(map[storage.ShardID]error)}
	used := w.pageSet()
	_, _ = used.add(0), used.add(1)
	if err := w.bucket(tree{root: x.at.root}, 0, used); err != nil {
		return nil, err
	}
	return w.damaged, x.checkFree(used, func(err error) error { return err })
}

// Buckets lie within one another: those of shards in one, and in them those that hold keys alone.
const (
	shardsDepth = 1
	dataDepth   = 3
)

type shapeWalk struct {
	x       *Inspector
	damaged map[storage.ShardID]error
}

func (w *shapeWalk) pageSet() pageSet { return make(pageSet, w.x.at.pages/64+1) }

// bucket walks a bucket that lies so deep, and adds its pages to used.
func (w *shapeWalk) bucket(t tree, depth int, used pageSet) error {
	switch {
	case depth > dataDepth:
		return fmt.Errorf("%w: buckets within buckets without end", storage.ErrCorrupt)
	case t.inline == nil:
		return w.page(t.root, 0, depth, used)
	}
	n, err := decodeNode(t.inline)
	if err != nil {
		return err
	}
	return w.elements(n.elements, depth, used)
}

func (w *shapeWalk) page(id uint64, height, depth int, used pageSet) error {
	flags, overflow, err := w.x.head(id)
	if err != nil {
		return err
	}
	for p := id; p <= id+overflow; p++ {
		if !used.add(p) {
			return fmt.Errorf("%w: page %d is used twice", storage.ErrCorrupt, p)
		}
	}
	if flags == flagLeaf && depth == dataDepth {
		return nil
	}
	if height > depthMax {
		return fmt.Errorf("%w: page %d lies too deep", storage.ErrCorrupt, id)
	}
	b, err := w.x.page(id)
	if err != nil {
		return err
	}
	n, err := decodeNode(b)
	if err != nil {
		return err
	}
	for _, c := range n.children {
		if err := w.page(c, height+1, depth, used); err != nil {
			return err
		}
	}
	return w.elements(n.elements, depth, used)
}

// elements walks the buckets among the elements of a page.
func (w *shapeWalk) elements(elements []element, depth int, used pageSet) error {
	return each(elements, func(e *element) error {
		if !e.bucket {
			return nil
		}
		shard := depth == shardsDepth && len(e.key) == 4
		own := used
		if shard { // what is wrong in it is its own affair
			own = w.pageSet()
		}
		t, err := e.tree()
		if err == nil {
			err = w.bucket(t, depth+1, own)
		}
		if !shard {
			return err
		}
		if errors.Is(err, storage.ErrCorrupt) {
			w.damaged[storage.ShardID(binary.BigEndian.Uint32(e.key))] = err
			return nil
		}
		used.addAll(own)
		return err
	})
}

// head reads what a page of a tree says of itself.
func (x *Inspector) head(id uint64) (flags uint16, overflow uint64, err error) {
	if id >= x.at.pages {
		return 0, 0, fmt.Errorf("%w: page %d of %d", storage.ErrCorrupt, id, x.at.pages)
	}
	b := make([]byte, pageHeaderLen)
	if n, err := x.file.ReadAt(b, int64(id)*x.at.pageSize); n < len(b) {
		return 0, 0, err
	}
	le := binary.LittleEndian
	flags, overflow = le.Uint16(b[8:]), uint64(le.Uint32(b[12:]))
	if le.Uint64(b) != id || overflow >= x.at.pages-id || flags != flagBranch && flags != flagLeaf {
		return 0, 0, fmt.Errorf("%w: page %d has a damaged head", storage.ErrCorrupt, id)
	}
	return flags, overflow, nil
}

func (s pageSet) addAll(other pageSet) {
	for i := range other {
		s[i] |= other[i]
	}
}
