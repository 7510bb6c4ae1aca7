package shard

import (
	"encoding/binary"
	"fmt"

	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/record"
)

// An entry is one group of batches and commands, proposed and applied as one.
// Integers of the header are little-endian; the rest is in package codec's varints.
//
//	0     1          9               17      21        29
//	┌─────┬──────────┬───────────────┬───────┬─────────┬───────┬─────────┬──────┬───
//	│ ver │ time     │ incarnation   │ link  │ seq     │ count │ batches │ op   │ …
//	│ u8  │ ms, i64  │ u64           │ u32   │ u64     │ uvar  │         │      │
//	└─────┴──────────┴───────────────┴───────┴─────────┴───────┴─────────┴──────┴───
//
// A batch is: log (uvarint), once (one byte: 0, or 1 and then session (uvarint), packet
// identifier (uvarint), n (uvarint)), length (uvarint), one RecordBatch v2. Batches are
// appended first, in order; then the commands are applied, in order, until the end.
// A command is one byte of Op and the fields listed at its Add method.
//
// (incarnation, link, seq) numbers the entries of one proposer, so that one that
// was proposed twice is applied once, and one that got lost is noticed: seq is 1
// for the first entry of a link and rises by one.
const (
	entryVersion   = 1
	entryHeaderLen = 29
)

// Header opens an entry.
type Header struct {
	Time        int64 // ms; the machine's time never goes back
	Incarnation uint64
	Link        uint32
	Seq         uint64
}

// Op is the kind of one command.
type Op uint8

const (
	OpRoute Op = iota + 1
	OpRetain
	OpCreateLog
	OpDeleteLog
	OpTrim
	OpCreateQueue
	OpDeleteQueue
	OpPurge
	OpAttach
	OpDetach
	OpCancel
	OpCredit
	OpGet
	OpSettle
	OpDeadLettered
	OpOpenSession
	OpStart
	OpCloseSession
	OpSubscribe
	OpUnsubscribe
	OpAck
	OpReceived
	OpIncoming
	OpRelease
	OpTick
	OpGroup
	OpRefuse
	OpForget
	OpDelay
	OpDelayed
)

// Builder builds one entry. The zero value is ready after Reset. Not safe for
// concurrent use.
type Builder struct {
	batches []batchBuf
	used    int // batches in use; the rest keep their memory for the next entry
	ops     []byte
	nops    int
	size    int // of batches
}

type batchBuf struct {
	log  uint64
	buf  []byte
	b    record.Builder
	open bool // records may still be added
	once Once // a batch of its own, when it has one
}

// Reset empties the builder, keeping its memory.
func (b *Builder) Reset() {
	for i := range b.batches[:b.used] {
		if cap(b.batches[i].buf) > keepMax {
			b.batches[i].buf = nil
		}
	}
	b.used, b.ops, b.nops, b.size = 0, b.ops[:0], 0, 0
}

// keepMax bounds what a builder holds on to between entries, per batch, in bytes.
const keepMax = 256 << 10

// Len is about how many bytes the entry will take.
func (b *Builder) Len() int {
	n := entryHeaderLen + len(b.ops) + b.size
	for i := range b.batches[:b.used] {
		if b.batches[i].open {
			n += b.batches[i].b.Len()
		}
	}
	return n
}

// Empty tells whether there is nothing to propose.
func (b *Builder) Empty() bool { return b.used == 0 && b.nops == 0 }

func (b *Builder) next(log uint64) *batchBuf {
	if b.used == len(b.batches) {
		b.batches = append(b.batches, batchBuf{})
	}
	bb := &b.batches[b.used]
	b.used++
	*bb = batchBuf{log: log, buf: bb.buf[:0]}
	return bb
}

// Batch adds a whole batch for a log, copied, and returns its index.
func (b *Builder) Batch(log uint64, batch []byte) int {
	b.sealLog(log)
	bb := b.next(log)
	bb.buf = append(bb.buf, batch...)
	b.size += len(batch)
	return b.used - 1
}

// Open returns the batch of a log that records can be added to, its index, and the
// index that the next record will have in it.
func (b *Builder) Open(log uint64, now int64) (rb *record.Builder, batch, rec int) {
	for i := b.used - 1; i >= 0; i-- {
		bb := &b.batches[i]
		if bb.log == log && bb.open && bb.once == (Once{}) {
			return &bb.b, i, bb.b.Count()
		}
	}
	return b.begin(log, now, Once{}), b.used - 1, 0
}

// OpenOnce begins a batch that is stored unless o was before. Only the record that is
// added next belongs in it.
func (b *Builder) OpenOnce(log uint64, now int64, o Once) (rb *record.Builder, batch int) {
	b.sealLog(log)
	return b.begin(log, now, o), b.used - 1
}

func (b *Builder) begin(log uint64, now int64, o Once) *record.Builder {
	bb := b.next(log)
	bb.open, bb.once = true, o
	bb.b.Reset(bb.buf, now)
	bb.b.MarkMade()
	return &bb.b
}

// sealLog ends the open batches of a log, so that what comes next stands behind them.
func (b *Builder) sealLog(log uint64) {
	for i := range b.batches[:b.used] {
		if b.batches[i].open && b.batches[i].log == log {
			b.seal(&b.batches[i])
		}
	}
}

func (b *Builder) seal(bb *batchBuf) {
	bb.buf = bb.b.Finish()
	bb.open = false
	b.size += len(bb.buf)
}

// Finish returns the entry in memory of its own.
func (b *Builder) Finish(h Header) []byte {
	for i := range b.batches[:b.used] {
		if b.batches[i].open {
			b.seal(&b.batches[i])
		}
	}
	dst := make([]byte, entryHeaderLen, entryHeaderLen+b.size+len(b.ops)+40*(b.used+1))
	dst[0] = entryVersion
	binary.LittleEndian.PutUint64(dst[1:], uint64(h.Time))
	binary.LittleEndian.PutUint64(dst[9:], h.Incarnation)
	binary.LittleEndian.PutUint32(dst[17:], h.Link)
	binary.LittleEndian.PutUint64(dst[21:], h.Seq)
	dst = codec.Uint(dst, uint64(b.used))
	for i := range b.batches[:b.used] {
		dst = codec.Uint(dst, b.batches[i].log)
		dst = b.batches[i].once.append(dst)
		dst = codec.Bytes(dst, b.batches[i].buf)
	}
	return append(dst, b.ops...)
}

// op begins a command and returns its index among the commands.
func (b *Builder) op(o Op) int {
	b.ops = append(b.ops, byte(o))
	b.nops++
	return b.nops - 1
}

// parseHeader splits an entry into its header and the rest.
func parseHeader(data []byte) (Header, []byte, error) {
	if len(data) < entryHeaderLen {
		return Header{}, nil, codec.ErrShort
	}
	if data[0] != entryVersion {
		return Header{}, nil, fmt.Errorf("entry version %d, known is %d", data[0], entryVersion)
	}
	return Header{
		Time:        int64(binary.LittleEndian.Uint64(data[1:])),
		Incarnation: binary.LittleEndian.Uint64(data[9:]),
		Link:        binary.LittleEndian.Uint32(data[17:]),
		Seq:         binary.LittleEndian.Uint64(data[21:]),
	}, data[entryHeaderLen:], nil
}
