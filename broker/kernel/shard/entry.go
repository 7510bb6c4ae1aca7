package shard

import (
	"encoding/binary"
	"fmt"
	"slices"

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
	OpHandOver
	OpDispatch
)

// Builder builds one entry. The zero value is ready after Reset. Not safe for
// concurrent use.
type Builder struct {
	batches []batchBuf
	used    int // batches in use; the rest keep their memory for the next entry
	last    int // batch that was handed out last, to have records added; -1: none
	open    map[uint64]int
	ops     []byte
	nops    int
	size    int // of batches, that of last as it was when it was handed out
}

// batchBuf is one batch. In Builder.open while records may still be added that are not
// stored once.
type batchBuf struct {
	log     uint64
	buf     []byte
	b       record.Builder
	built   bool // of records, by b
	sealed  bool // no record may be added
	counted int  // of its length, in Builder.size
	once    Once // a batch of its own, when it has one
}

// Reset empties the builder, keeping its memory as far as keepMax allows.
func (b *Builder) Reset() {
	kept := cap(b.ops)
	for i := range b.batches {
		bb := &b.batches[i]
		if bb.built && !bb.sealed {
			bb.buf = bb.b.Bytes()
		}
		if kept += cap(bb.buf); kept > keepMax {
			bb.buf = nil
		}
	}
	if cap(b.ops) > keepMax {
		b.ops = nil
	}
	clear(b.open)
	b.used, b.last, b.ops, b.nops, b.size = 0, -1, b.ops[:0], 0, 0
}

// keepMax bounds what a builder holds on to between entries, in bytes.
const keepMax = 4 << 20

// Len is about how many bytes the entry will take.
func (b *Builder) Len() int {
	b.count()
	return entryHeaderLen + len(b.ops) + b.size
}

// count takes note of what was added to the batch that was handed out last.
func (b *Builder) count() {
	if b.used == 0 || b.last < 0 {
		return
	}
	if bb := &b.batches[b.last]; bb.built && !bb.sealed {
		n := bb.b.Len()
		b.size += n - bb.counted
		bb.counted = n
	}
}

// Empty tells whether there is nothing to propose.
func (b *Builder) Empty() bool { return b.used == 0 && b.nops == 0 }

func (b *Builder) next(log uint64) *batchBuf {
	if b.used == len(b.batches) {
		b.batches = append(b.batches, batchBuf{})
	}
	b.count()
	bb := &b.batches[b.used]
	b.last = b.used
	b.used++
	*bb = batchBuf{log: log, buf: bb.buf[:0]}
	return bb
}

// Batch adds a whole batch for a log, copied, and returns its index.
func (b *Builder) Batch(log uint64, batch []byte) int {
	b.sealLog(log)
	bb := b.next(log)
	bb.buf = append(bb.buf, batch...)
	bb.sealed, bb.counted = true, len(batch)
	b.size += len(batch)
	return b.used - 1
}

// Open returns the batch of a log that records can be added to, its index, and the
// index that the next record will have in it. It is good until the builder's next call.
func (b *Builder) Open(log uint64, now int64) (rb *record.Builder, batch, rec int) {
	i, ok := b.open[log]
	if !ok {
		rb = b.begin(log, now, Once{})
		if b.open == nil {
			b.open = make(map[uint64]int)
		}
		b.open[log] = b.used - 1
		return rb, b.used - 1, 0
	}
	if i != b.last {
		b.count()
		b.last = i
	}
	return &b.batches[i].b, i, b.batches[i].b.Count()
}

// OpenOnce begins a batch that is stored unless o was before. Only the record that is
// added next belongs in it.
func (b *Builder) OpenOnce(log uint64, now int64, o Once) (rb *record.Builder, batch int) {
	b.sealLog(log)
	return b.begin(log, now, o), b.used - 1
}

func (b *Builder) begin(log uint64, now int64, o Once) *record.Builder {
	bb := b.next(log)
	bb.built, bb.once = true, o
	bb.b.Reset(bb.buf, now)
	bb.b.MarkMade()
	return &bb.b
}

// sealLog ends the open batch of a log, so that what comes next stands behind it.
func (b *Builder) sealLog(log uint64) {
	if i, ok := b.open[log]; ok {
		b.count()
		b.batches[i].seal()
		delete(b.open, log)
	}
}

func (bb *batchBuf) seal() {
	if bb.built && !bb.sealed {
		bb.buf, bb.sealed = bb.b.Finish(), true
	}
}

// Finish writes the entry into dst from its start, or into new memory when it does not
// fit, and returns it.
func (b *Builder) Finish(dst []byte, h Header) []byte { return b.finish(nil, dst, h) }

// FinishBehind is Finish for an entry whose commands begin with those of first, which has
// no batches: the index of each of b's own is higher by first.Commands.
func (b *Builder) FinishBehind(first *Builder, dst []byte, h Header) []byte {
	if first.used > 0 {
		panic("shard: batches in what an entry begins with")
	}
	return b.finish(first.ops, dst, h)
}

// Commands is how many commands were added.
func (b *Builder) Commands() int { return b.nops }

func (b *Builder) finish(first, dst []byte, h Header) []byte {
	b.count()
	for i := range b.batches[:b.used] {
		b.batches[i].seal()
	}
	dst = slices.Grow(dst[:0], entryHeaderLen+b.size+len(first)+len(b.ops)+40*(b.used+1))[:entryHeaderLen]
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
	return append(append(dst, first...), b.ops...)
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
