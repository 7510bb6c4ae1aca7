package record

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/robustmq/rmq/broker/message"
)

// Record is one record of a batch. Everything in it is borrowed: from the batch, or,
// when that is compressed, from the Reader. Names of headers share that memory too, so
// none of it may be kept, nor the bytes beneath be written to while it is in use.
type Record struct {
	Offset  int64
	Time    int64  // ms; the broker's when the batch carries append time
	Key     []byte // nil: null
	Value   []byte // nil: null
	Headers []message.Header
}

// Reader walks the records of one batch after another and reuses its memory between
// them. The zero Reader is ready for Reset.
//
//	for err := r.Reset(b); err == nil && r.Next(); {
//		use(r.Record())
//	}
//	err = r.Err()
type Reader struct {
	rec      Record
	rest     []byte // of the records, inflated
	left     int32  // records not read yet
	base     int64
	baseTime int64
	stamp    int64 // time of all records, when stamped
	stamped  bool
	err      error
	inflated []byte // reused; at most InflatedMax
}

// Reset begins with a batch. The error is also that of Err.
func (r *Reader) Reset(b Batch) error {
	r.base, r.baseTime = b.BaseOffset(), b.BaseTime()
	r.stamped, r.stamp = b.AppendTime(), b.MaxTime()
	r.left, r.rest, r.err = b.Count(), b.Records(), nil
	r.rec = Record{Headers: r.rec.Headers[:0]}
	if c := b.Codec(); c != None {
		r.inflated, r.err = inflate(r.inflated[:0], b.Records(), c)
		r.rest = r.inflated
	}
	if r.err == nil && int64(r.left)*recordMin > int64(len(r.rest)) {
		r.err = fmt.Errorf("%w: %d records in %d bytes", ErrInvalid, r.left, len(r.rest))
	}
	return r.err
}

// Next moves to the next record. false at the end of the batch or at an error.
func (r *Reader) Next() bool {
	if r.err != nil {
		return false
	}
	if r.left <= 0 {
		if len(r.rest) > 0 {
			r.err = fmt.Errorf("%w: %d bytes after the last record", ErrInvalid, len(r.rest))
		}
		return false
	}
	r.left--
	if !r.parse() {
		r.err = fmt.Errorf("%w: record %d from the end", ErrInvalid, r.left+1)
		return false
	}
	return true
}

// Record is the record that Next moved to, valid until the next call of Next.
func (r *Reader) Record() *Record { return &r.rec }

// Err is what ended the walk early; nil at the end of a sound batch.
func (r *Reader) Err() error { return r.err }

// parse reads one record:
//
//	length, attributes u8, time delta, offset delta, key length, key, value length,
//	value, header count, {name length, name, value length, value}…
//
// Unmarked fields are varints. A length of -1 is null; a name cannot be.
func (r *Reader) parse() bool {
	n, p, ok := varint(r.rest)
	if !ok || n < recordMin-1 || n > int64(len(p)) {
		return false
	}
	p, r.rest = p[:n:n], p[n:]
	p = p[1:] // attributes: none are defined
	timeDelta, p, ok := varint(p)
	if !ok {
		return false
	}
	offsetDelta, p, ok := varint(p)
	if !ok || offsetDelta != int64(int32(offsetDelta)) {
		return false
	}
	r.rec.Offset = r.base + offsetDelta
	r.rec.Time = r.baseTime + timeDelta
	if r.stamped {
		r.rec.Time = r.stamp
	}
	if r.rec.Key, p, ok = bytesField(p); !ok {
		return false
	}
	if r.rec.Value, p, ok = bytesField(p); !ok {
		return false
	}
	count, p, ok := varint(p)
	if !ok || count < 0 || count > int64(len(p)/2) { // a header is two lengths at least
		return false
	}
	h := r.rec.Headers[:0]
	for ; count > 0; count-- {
		var name, value []byte
		if name, p, ok = bytesField(p); !ok || name == nil {
			return false
		}
		if value, p, ok = bytesField(p); !ok {
			return false
		}
		h = append(h, message.Header{Name: unsafe.String(unsafe.SliceData(name), len(name)), Value: value})
	}
	r.rec.Headers = h
	return len(p) == 0
}

// Each calls fn for every record of the batch, and stops at its first error. A loop over
// many batches is cheaper with a Reader.
func (b Batch) Each(fn func(*Record) error) error {
	var r Reader
	if err := r.Reset(b); err != nil {
		return err
	}
	for r.Next() {
		if err := fn(r.Record()); err != nil {
			return err
		}
	}
	return r.Err()
}

// keptInflated is how much memory a Reader that was told to forget keeps.
const keptInflated = 256 << 10

// Forget lets go of the last batch, and of memory beyond what an ordinary batch inflates
// to, for a Reader that is kept in a pool.
func (r *Reader) Forget() {
	inflated, headers := r.inflated, r.rec.Headers
	clear(headers[:cap(headers)])
	if cap(inflated) > keptInflated {
		inflated = nil
	}
	*r = Reader{inflated: inflated[:0], rec: Record{Headers: headers[:0]}}
}

func varint(p []byte) (int64, []byte, bool) {
	if len(p) > 0 && p[0] < 0x80 {
		u := p[0]
		return int64(u>>1) ^ -int64(u&1), p[1:], true
	}
	v, n := binary.Varint(p)
	if n <= 0 {
		return 0, p, false
	}
	return v, p[n:], true
}

// bytesField reads a length and as many bytes; nil when the length is -1.
func bytesField(p []byte) (field, rest []byte, ok bool) {
	n, p, ok := varint(p)
	switch {
	case !ok || n < -1 || n > int64(len(p)):
		return nil, p, false
	case n == -1:
		return nil, p, true
	}
	return p[:n:n], p[n:], true
}
