package kernel

import (
	"crypto/sha256"

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

// FormerView finds the stream that was the view with that id before it was a stream: nobody has
// to remember that. It looks at every stream of the namespace.
func (k *Kernel) FormerView(ns string, id StreamID) (address string, ok bool) {
	view := k.meta.view.Load()
	for st := range view.AllStreams() {
		if st.Namespace != ns {
			continue
		}
		if home, below := above(view, ns, st.Address); below && viewOf(home, st.Address) == id {
			return st.Address, true
		}
	}
	return "", false
}

// FindStreamByID finds the stream with that id.
func (k *Kernel) FindStreamByID(id StreamID) (*StreamSpec, bool) { return k.topo.streamByID(id) }
