package kernel

import (
	"context"
	"crypto/sha256"
	"slices"

	"github.com/robustmq/rmq/broker/kernel/meta"
)

// This file finds streams for who asks at every request: as they were created, without
// looking at each of their partitions as Stream, StreamByID and Leaf do. What a Found
// holds is shared, and must not be changed.

// Found is a stream, or a view of one address below it.
type Found struct {
	*StreamSpec
	Leaf      string   // address of the view; "" when it is the stream itself
	Partition int32    // of the stream, that the view lives in
	View      StreamID // of the view
}

// FindStream finds the stream of exactly that address, or, as Leaf does, the view that an
// address below a stream names.
func (k *Kernel) FindStream(ns, address string) (Found, bool) {
	st, ok := k.home(ns, address)
	if !ok {
		return Found{}, false
	}
	f := Found{StreamSpec: st}
	if st.Address != address {
		f.Leaf, f.Partition = address, partitionOf(st, address)
		f.View = viewOf(st, address)
	}
	return f, true
}

// viewOf is the id of the view of an address below a stream: a hash of both.
func viewOf(home *meta.Stream, address string) (id StreamID) {
	sum := sha256.Sum256(append(home.ID[:], address...))
	copy(id[:], sum[:])
	return id
}

// View is an address below a stream, and the id it is known by.
type View = meta.View

// viewsStep is how many views one command keeps: well below commandMax.
const viewsStep = 1000

// PutViews has every node know what the ids of views stand for: before anybody is told them,
// for he may ask any node then.
func (k *Kernel) PutViews(ctx context.Context, views []View) error {
	known := k.meta.view.Load()
	views = slices.DeleteFunc(slices.Clone(views), func(v View) bool {
		_, ok := known.View(v.ID)
		return ok
	})
	for some := range slices.Chunk(views, viewsStep) {
		if _, err := k.meta.do(ctx, &meta.Command{Op: meta.PutViews, Views: some}); err != nil {
			return err
		}
	}
	return nil
}

// FindView finds what the id of a view stands for: the address may have become a stream since, or
// belong to another one. false: nobody was told that id, or it is long ago.
func (k *Kernel) FindView(ns string, id StreamID) (address string, ok bool) {
	v, ok := k.meta.view.Load().View(id)
	if !ok || v.Namespace != ns {
		return "", false
	}
	return v.Address, true
}

// FindStreamByID finds the stream with that id.
func (k *Kernel) FindStreamByID(id StreamID) (*StreamSpec, bool) { return k.topo.streamByID(id) }
