package mqtt

import (
	"encoding/binary"
	"math/bits"
)

const (
	internSets = 64  // of two strings each
	internMax  = 256 // bytes of a string worth remembering
)

// interner makes strings of bytes without allocating those that it made lately: topics and
// property names repeat. A string that is asked for takes the first place of its set; the
// one that stood there, the second. Owned by one goroutine at a time.
type interner struct {
	sets [internSets][2]string
}

func (in *interner) string(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > internMax {
		return string(b)
	}
	set := &in.sets[internHash(b)%internSets]
	switch {
	case set[0] == string(b):
		return set[0]
	case set[1] == string(b):
		set[0], set[1] = set[1], set[0]
	default:
		set[0], set[1] = string(b), set[0]
	}
	return set[0]
}

// internHash spreads strings over sets. Who makes strings collide only makes us allocate
// what it sent.
func internHash(b []byte) uint64 {
	const k = 0x9E3779B97F4A7C15
	h := uint64(len(b)) * k
	for ; len(b) >= 8; b = b[8:] {
		h = bits.RotateLeft64(h^binary.LittleEndian.Uint64(b), 29) * k
	}
	for _, c := range b {
		h = (h ^ uint64(c)) * k
	}
	return h >> 48
}
