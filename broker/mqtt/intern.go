package mqtt

import "hash/maphash"

const (
	internSlots = 128 // strings remembered by one interner
	internMax   = 256 // bytes of a string worth remembering
)

// interner makes strings of bytes without allocating one that it made lately: topics and
// property names repeat. The newest string of a slot stays. Owned by one goroutine at a
// time.
type interner struct {
	slots [internSlots]string
}

var internSeed = maphash.MakeSeed()

func (in *interner) string(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > internMax {
		return string(b)
	}
	slot := &in.slots[maphash.Bytes(internSeed, b)%internSlots]
	if *slot != string(b) {
		*slot = string(b)
	}
	return *slot
}
