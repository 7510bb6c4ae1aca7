package kernel

import "crypto/sha256"

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
		sum := sha256.Sum256(append(st.ID[:], address...))
		copy(f.View[:], sum[:])
	}
	return f, true
}

// FindStreamByID finds the stream with that id.
func (k *Kernel) FindStreamByID(id StreamID) (*StreamSpec, bool) { return k.topo.streamByID(id) }
