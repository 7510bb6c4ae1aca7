// Package record is the form in which every message rests: Kafka's RecordBatch,
// version 2.
//
// A Batch is a view over the bytes of one whole batch. Its first two fields, base
// offset and leader epoch, lie outside the checksum, so the broker stamps them
// into a producer's bytes without encoding anything anew, keeps the producer's
// compression, and a fetch copies what is stored.
//
// Walking a log needs headers only (Next); bytes from a peer are measured and
// checksummed first (Check); records are read by a Reader, which inflates them when
// they are compressed; a Builder writes batches. Walking and building allocate
// nothing while records are not compressed.
//
// Formats 0 and 1 ("message sets") are not read: nothing stores them, and Kafka
// itself has refused to be sent them since 4.0. Check tells them apart from garbage by
// ErrMagic, so that an adapter can say so.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// One batch. Integers are big-endian; varints are zigzag, seven bits a byte, least
// significant first. docs/format/record.md draws it together with a record.
//
//	0           8       12      16 17      21    23         27
//	┌───────────┬───────┬───────┬──┬───────┬─────┬──────────┬─ ─ ─
//	│base offset│ length│leader │ma│ crc   │attri│last offs.│
//	│ i64       │ i32   │epoch  │gi│ u32   │butes│delta i32 │
//	└───────────┴───────┴───────┴──┴───────┴─────┴──────────┴─ ─ ─
//	27          35          43          51    53       57      61
//	┬───────────┬───────────┬───────────┬─────┬────────┬───────┬─────────
//	│base time  │max time   │producer id│epoch│base    │count  │records…
//	│ms i64     │ms i64     │ i64       │ i16 │seq. i32│ i32   │
//	┴───────────┴───────────┴───────────┴─────┴────────┴───────┴─────────
//
// length counts the bytes after itself. crc is CRC-32C over everything from
// attributes to the end. magic is read before crc: another version is ErrMagic,
// never corruption.
const (
	offBaseOffset = 0
	offLength     = 8
	offEpoch      = 12
	offMagic      = 16
	offCRC        = 17
	offAttributes = 21
	offLastDelta  = 23
	offBaseTime   = 27
	offMaxTime    = 35
	offProducer   = 43
	offProdEpoch  = 51
	offBaseSeq    = 53
	offCount      = 57

	// HeaderLen is the length of a batch without records.
	HeaderLen = 61
	// prefixLen is what the length field does not count.
	prefixLen = 12
	magic     = 2
	// recordMin is the length of the shortest record: null key, null value, no headers.
	recordMin = 7
)

// Bits of the attributes.
const (
	codecMask         = 0x07
	attrAppendTime    = 1 << 3
	attrTransactional = 1 << 4
	attrControl       = 1 << 5
	attrDeleteHorizon = 1 << 6
)

// NoProducer is the producer id, epoch and sequence of a batch without idempotence.
const NoProducer = -1

var (
	// ErrMagic: a message set of format 0 or 1, or a format of the future.
	ErrMagic = errors.New("record: not format 2")
	// ErrShort: the bytes end before the batch does.
	ErrShort = errors.New("record: cut short")
	// ErrTooLarge: the batch is longer than the caller allows.
	ErrTooLarge = errors.New("record: batch too large")
	// ErrCRC: the checksum does not match.
	ErrCRC = errors.New("record: checksum mismatch")
	// ErrInvalid: lengths or counts contradict each other.
	ErrInvalid = errors.New("record: invalid")
	// ErrCodec: the compression is unknown, or what is compressed is damaged.
	ErrCodec = errors.New("record: cannot decompress")
	// ErrInflated: the records decompress to more than InflatedMax bytes.
	ErrInflated = errors.New("record: decompressed records too large")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is a view over one whole batch, header included: HeaderLen bytes or more.
// Only Next, Check and Builder make one.
type Batch []byte

// Next splits the first batch off b by its length alone: for bytes that were checked
// when they came in. ErrShort when b ends before the batch does.
func Next(b []byte) (Batch, []byte, error) {
	if len(b) < HeaderLen {
		return nil, b, ErrShort
	}
	n := int64(prefixLen) + int64(int32(binary.BigEndian.Uint32(b[offLength:])))
	if n < HeaderLen {
		return nil, b, fmt.Errorf("%w: batch length %d", ErrInvalid, n)
	}
	if n > int64(len(b)) {
		return nil, b, ErrShort
	}
	return Batch(b[:n:n]), b[n:], nil
}

// Check splits the first batch off bytes that nobody vouches for: format, length (at
// most maxLen bytes, header included), checksum, and a count that the batch can hold.
// It does not look at records.
func Check(b []byte, maxLen int) (Batch, []byte, error) {
	if len(b) <= offMagic {
		return nil, b, ErrShort
	}
	if m := int8(b[offMagic]); m != magic {
		return nil, b, fmt.Errorf("%w: magic %d", ErrMagic, m)
	}
	n := int64(prefixLen) + int64(int32(binary.BigEndian.Uint32(b[offLength:])))
	if n < HeaderLen {
		return nil, b, fmt.Errorf("%w: batch length %d", ErrInvalid, n)
	}
	if n > int64(maxLen) {
		return nil, b, fmt.Errorf("%w: %d bytes, %d allowed", ErrTooLarge, n, maxLen)
	}
	if n > int64(len(b)) {
		return nil, b, ErrShort
	}
	batch := Batch(b[:n:n])
	if got, want := batch.computeCRC(), batch.CRC(); got != want {
		return nil, b, fmt.Errorf("%w: stored %08x, computed %08x", ErrCRC, want, got)
	}
	count, last := batch.Count(), batch.LastOffsetDelta()
	if count < 0 || last < 0 || int64(count) > int64(last)+1 {
		return nil, b, fmt.Errorf("%w: %d records in %d offsets", ErrInvalid, count, int64(last)+1)
	}
	if batch.Codec() == None && int64(count)*recordMin > n-HeaderLen {
		return nil, b, fmt.Errorf("%w: %d records in %d bytes", ErrInvalid, count, n-HeaderLen)
	}
	return batch, b[n:], nil
}

func (b Batch) u16(i int) uint16 { return binary.BigEndian.Uint16(b[i:]) }
func (b Batch) u32(i int) uint32 { return binary.BigEndian.Uint32(b[i:]) }
func (b Batch) u64(i int) uint64 { return binary.BigEndian.Uint64(b[i:]) }

func (b Batch) BaseOffset() int64      { return int64(b.u64(offBaseOffset)) }
func (b Batch) LeaderEpoch() int32     { return int32(b.u32(offEpoch)) }
func (b Batch) CRC() uint32            { return b.u32(offCRC) }
func (b Batch) Attributes() int16      { return int16(b.u16(offAttributes)) }
func (b Batch) LastOffsetDelta() int32 { return int32(b.u32(offLastDelta)) }
func (b Batch) BaseTime() int64        { return int64(b.u64(offBaseTime)) }
func (b Batch) MaxTime() int64         { return int64(b.u64(offMaxTime)) }
func (b Batch) ProducerID() int64      { return int64(b.u64(offProducer)) }
func (b Batch) ProducerEpoch() int16   { return int16(b.u16(offProdEpoch)) }
func (b Batch) BaseSequence() int32    { return int32(b.u32(offBaseSeq)) }
func (b Batch) Count() int32           { return int32(b.u32(offCount)) }

// LastOffset is the offset of the last record, also where compaction took it out.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// NextOffset is the first offset after the batch.
func (b Batch) NextOffset() int64 { return b.LastOffset() + 1 }

// LastSequence is the sequence number of the last record, which wraps from 2³¹-1 to 0.
func (b Batch) LastSequence() int32 {
	seq := int64(b.BaseSequence())
	if seq < 0 {
		return NoProducer
	}
	return int32((seq + int64(b.LastOffsetDelta())) & 0x7fffffff)
}

func (b Batch) Codec() Codec        { return Codec(b.Attributes() & codecMask) }
func (b Batch) AppendTime() bool    { return b.Attributes()&attrAppendTime != 0 }
func (b Batch) Transactional() bool { return b.Attributes()&attrTransactional != 0 }
func (b Batch) Control() bool       { return b.Attributes()&attrControl != 0 }

// HasProducer tells whether the batch is part of an idempotent producer's sequence.
func (b Batch) HasProducer() bool { return b.ProducerID() > NoProducer }

// madeEpoch stands as producer epoch, beside producer -1, in batches that the broker
// made. Clients have -1 there, and one that has not is refused.
const madeEpoch = 0xFFFE // -2

// Made tells whether the broker made the batch: the headers of its records then begin
// with the broker's own (package message, record.go).
func (b Batch) Made() bool {
	return b.ProducerID() == NoProducer && uint16(b.ProducerEpoch()) == madeEpoch
}

// Records is what follows the header, compressed as Codec says.
func (b Batch) Records() []byte { return b[HeaderLen:] }

// SetBaseOffset and SetLeaderEpoch stamp fields that the checksum does not cover.
func (b Batch) SetBaseOffset(offset int64) {
	binary.BigEndian.PutUint64(b[offBaseOffset:], uint64(offset))
}

func (b Batch) SetLeaderEpoch(epoch int32) {
	binary.BigEndian.PutUint32(b[offEpoch:], uint32(epoch))
}

// SetAppendTime gives every record the time at which the broker took it, and computes
// the checksum anew.
func (b Batch) SetAppendTime(ms int64) {
	binary.BigEndian.PutUint16(b[offAttributes:], b.u16(offAttributes)|attrAppendTime)
	binary.BigEndian.PutUint64(b[offMaxTime:], uint64(ms))
	b.seal()
}

// SetMaxTime states the latest time of the records, and computes the checksum anew.
func (b Batch) SetMaxTime(ms int64) {
	binary.BigEndian.PutUint64(b[offMaxTime:], uint64(ms))
	b.seal()
}

// SetCreateTime says that records carry their producer's times, of which ms is the
// latest, and computes the checksum anew.
func (b Batch) SetCreateTime(ms int64) {
	binary.BigEndian.PutUint16(b[offAttributes:], b.u16(offAttributes)&^attrAppendTime)
	binary.BigEndian.PutUint64(b[offMaxTime:], uint64(ms))
	b.seal()
}

// SetProducer makes the batch part of a producer's sequence, and computes the checksum
// anew.
func (b Batch) SetProducer(id int64, epoch int16, baseSequence int32) {
	binary.BigEndian.PutUint64(b[offProducer:], uint64(id))
	binary.BigEndian.PutUint16(b[offProdEpoch:], uint16(epoch))
	binary.BigEndian.PutUint32(b[offBaseSeq:], uint32(baseSequence))
	b.seal()
}

func (b Batch) computeCRC() uint32 { return crc32.Checksum(b[offAttributes:], castagnoli) }

func (b Batch) seal() { binary.BigEndian.PutUint32(b[offCRC:], b.computeCRC()) }
