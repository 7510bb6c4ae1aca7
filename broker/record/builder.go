package record

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/robustmq/rmq/broker/message"
)

// Builder writes one batch, uncompressed, straight behind the bytes it is given. It
// allocates only when those have no room left. The zero Builder needs a Reset.
//
// A batch holds less than 2 GiB: whoever adds bounds it by Len.
type Builder struct {
	dst      []byte
	start    int // of the batch in dst
	baseTime int64
	maxTime  int64
	count    int32
	last     int32 // offset delta of the last record; -1 when there is none
	made     bool  // see MarkMade
}

// Reset begins a batch behind dst. Times are stored as differences from baseTime, which
// is best the time of the first record.
func (b *Builder) Reset(dst []byte, baseTime int64) {
	var header [HeaderLen]byte
	*b = Builder{dst: append(dst, header[:]...), start: len(dst), baseTime: baseTime, maxTime: math.MinInt64, last: -1}
}

// Add appends a record at the next offset. A nil key or value is null.
func (b *Builder) Add(time int64, key, value []byte, headers ...message.Header) {
	b.AddAt(b.last+1, time, key, value, headers...)
}

// AddAt appends a record at an offset relative to the batch's first, above the last
// one's: for copies that leave records out.
func (b *Builder) AddAt(offsetDelta int32, time int64, key, value []byte, headers ...message.Header) {
	timeDelta := time - b.baseTime
	n := 1 + varintLen(timeDelta) + varintLen(int64(offsetDelta)) + fieldLen(key) + fieldLen(value) + varintLen(int64(len(headers)))
	for i := range headers {
		n += varintLen(int64(len(headers[i].Name))) + len(headers[i].Name) + fieldLen(headers[i].Value)
	}
	d := binary.AppendVarint(b.dst, int64(n))
	d = append(d, 0) // attributes
	d = binary.AppendVarint(d, timeDelta)
	d = binary.AppendVarint(d, int64(offsetDelta))
	d = appendField(d, key)
	d = appendField(d, value)
	d = binary.AppendVarint(d, int64(len(headers)))
	for i := range headers {
		d = binary.AppendVarint(d, int64(len(headers[i].Name)))
		d = append(d, headers[i].Name...)
		d = appendField(d, headers[i].Value)
	}
	b.dst = d
	b.count++
	b.last = offsetDelta
	b.maxTime = max(b.maxTime, time)
}

// Len is the length of the batch so far, header included.
func (b *Builder) Len() int { return len(b.dst) - b.start }

// Count is the number of records so far.
func (b *Builder) Count() int { return int(b.count) }

// RecordLen is what Add would append for a record at most, for a bound to be kept.
func RecordLen(key, value []byte, headers ...message.Header) int {
	const fixed = 5 + 1 + binary.MaxVarintLen64 + 5 + 5 // length, attributes, time, offset, header count
	n := fixed + fieldLen(key) + fieldLen(value)
	for i := range headers {
		n += 5 + len(headers[i].Name) + fieldLen(headers[i].Value)
	}
	return n
}

// Cover makes the batch reach to an offset relative to its first, at or above the last
// record's: records in between were left out.
func (b *Builder) Cover(lastOffsetDelta int32) { b.last = max(b.last, lastOffsetDelta) }

// MarkMade says that the broker makes this batch, of messages that came by other
// protocols: see Batch.Made. It holds until Reset.
func (b *Builder) MarkMade() { b.made = true }

// Finish fills the header and returns the batch: base offset 0, leader epoch and producer
// -1. It aliases the memory given to Reset, or what that grew into: see Bytes.
func (b *Builder) Finish() Batch {
	batch := Batch(b.dst[b.start:len(b.dst):len(b.dst)])
	if len(batch) > math.MaxInt32 {
		panic("record: batch over 2 GiB")
	}
	be := binary.BigEndian
	be.PutUint64(batch[offBaseOffset:], 0)
	be.PutUint32(batch[offLength:], uint32(len(batch)-prefixLen))
	be.PutUint32(batch[offEpoch:], math.MaxUint32)
	batch[offMagic] = magic
	be.PutUint16(batch[offAttributes:], 0)
	be.PutUint32(batch[offLastDelta:], uint32(max(b.last, 0)))
	be.PutUint64(batch[offBaseTime:], uint64(b.baseTime))
	if b.count == 0 {
		b.maxTime = -1
	}
	be.PutUint64(batch[offMaxTime:], uint64(b.maxTime))
	be.PutUint64(batch[offProducer:], math.MaxUint64)
	be.PutUint16(batch[offProdEpoch:], math.MaxUint16)
	if b.made {
		be.PutUint16(batch[offProdEpoch:], madeEpoch)
	}
	be.PutUint32(batch[offBaseSeq:], math.MaxUint32)
	be.PutUint32(batch[offCount:], uint32(b.count))
	batch.seal()
	return batch
}

// Bytes is what was given to Reset followed by the batch.
func (b *Builder) Bytes() []byte { return b.dst }

func varintLen(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}

func fieldLen(f []byte) int {
	if f == nil {
		return 1
	}
	return varintLen(int64(len(f))) + len(f)
}

func appendField(d, f []byte) []byte {
	if f == nil {
		return append(d, 1) // zigzag of -1
	}
	return append(binary.AppendVarint(d, int64(len(f))), f...)
}

// Empty is a batch without records that stands for one offset, so that it is not used
// again where its record is gone.
func Empty(offset int64) Batch {
	var b Builder
	b.Reset(nil, 0)
	batch := b.Finish()
	batch.SetBaseOffset(offset)
	return batch
}
