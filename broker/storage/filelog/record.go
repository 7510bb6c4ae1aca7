package filelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"

	"github.com/robustmq/rmq/broker/storage"
)

// A WAL file is a header block and records, one after another, little-endian.
// docs/format/wal.md says what recovery makes of them.
//
// Header: 52 bytes at the start of a block of 4096, the rest of which is zero.
//
//	0               8       12      16              24              32              40              48      52
//	┌───────────────┬───────┬───────┬───────────────┬───────────────┬───────────────┬───────────────┬───────┐
//	│ "rmq-wal\n"   │version│ crc   │ number        │ salt          │ size          │ store         │ crc of│
//	│               │ u32   │ u32   │ u64           │ u64           │ u64           │ u64           │ store │
//	└───────────────┴───────┴───────┴───────────────┴───────────────┴───────────────┴───────────────┴───────┘
//
// crc is CRC-32C over bytes [0, 12) and [16, 40). The version is read before it, so
// that a file of a newer release is ErrVersion, never corruption. number is the
// file's place in the log, and its name; salt is random; size is the file's length.
// store is that of VERSION: whose file this is. Its crc is begun from the header's; both
// are zero in a file that does not say.
//
// Record: 32 bytes, then len bytes of data, then zeros up to a multiple of 8.
//
//	0       4       8       12  13  14    16              24              32
//	┌───────┬───────┬───────┬───┬───┬─────┬───────────────┬───────────────┬─ ─ ─
//	│ crc   │ len   │ shard │op │typ│file │ index         │ term          │ data
//	│ u32   │ u32   │ u32   │u8 │u8 │u16  │ u64           │ u64           │
//	└───────┴───────┴───────┴───┴───┴─────┴───────────────┴───────────────┴─ ─ ─
//
// file is the low half of the file's number's low word. crc is CRC-32C over bytes
// [4, 32+len), begun from the crc of the record before, and the first one's from the
// crc of the header. So a record is valid only behind the very record that it was
// written behind: what a recycled file held before never parses, nor does what
// stood behind a tail that was cut.
//
// A mark is begun from salt and its own position instead, so that it can be
// recognised without what comes before; it carries the crc of the record before.
const (
	walVersion   = 1
	walHeaderLen = 40
	walStoreLen  = 12   // behind it
	walBlock     = 4096 // where records begin: no write of theirs touches the header's sector
	recordLen    = 32
	recordAlign  = 8
)

var walMagic = [8]byte{'r', 'm', 'q', '-', 'w', 'a', 'l', '\n'}

// op is what a record says.
type op uint8

const (
	// opEntry is one entry of a shard's log; typ is Entry.Kind.
	opEntry op = 1 + iota
	// opHard is a shard's hard state: index is Commit, term Term, data Vote (u64).
	opHard
	// opMark says: in this file, everything before position index was durable when
	// this was written. term is the crc of the record before (low half) and a number
	// drawn when the log was opened (high half). typ is markClosing for the last one of a
	// log that was closed in order.
	opMark
	// opBase says: this file holds the hard state of every shard that had one when
	// the file was begun. Earlier files are not needed for that. data are the shards whose
	// log was not empty then, shard (u32) and index of the last entry (u64) of each.
	opBase
	// opEnd is the last record of a file that has a successor.
	opEnd

	opLast = opEnd
)

// markClosing is the typ of a mark behind which nothing was written any more.
const markClosing = 1

// rec is one record. Data aliases what it was parsed from.
type rec struct {
	op    op
	typ   uint8
	shard storage.ShardID
	index uint64
	term  uint64
	data  []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// walHeader is the header of a file.
type walHeader struct {
	number uint64
	salt   uint64
	size   int64
	store  uint64 // 0: it does not say
}

func (h walHeader) encode() []byte {
	b := make([]byte, walBlock)
	copy(b, walMagic[:])
	le := binary.LittleEndian
	le.PutUint32(b[8:], walVersion)
	le.PutUint64(b[16:], h.number)
	le.PutUint64(b[24:], h.salt)
	le.PutUint64(b[32:], uint64(h.size))
	le.PutUint32(b[12:], headerCRC(b))
	if h.store != 0 {
		le.PutUint64(b[walHeaderLen:], h.store)
		le.PutUint32(b[walHeaderLen+8:], storeCRC(b))
	}
	return b
}

func storeCRC(b []byte) uint32 {
	return crc32.Update(headerCRC(b), castagnoli, b[walHeaderLen:walHeaderLen+8])
}

func headerCRC(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:walHeaderLen])
}

var errBadHeader = errors.New("damaged file header")

// decodeHeader also returns the crc that the first record is chained to.
func decodeHeader(b []byte) (walHeader, uint32, error) {
	if len(b) < walHeaderLen || [8]byte(b[:8]) != walMagic {
		return walHeader{}, 0, errBadHeader
	}
	le := binary.LittleEndian
	if v := le.Uint32(b[8:]); v > walVersion {
		return walHeader{}, 0, fmt.Errorf("%w: log format %d, this release reads up to %d", storage.ErrVersion, v, walVersion)
	}
	crc := headerCRC(b)
	h := walHeader{number: le.Uint64(b[16:]), salt: le.Uint64(b[24:]), size: int64(le.Uint64(b[32:]))}
	if crc != le.Uint32(b[12:]) || h.size < walBlock || h.number == 0 {
		return walHeader{}, 0, errBadHeader
	}
	if store := b[walHeaderLen:]; len(store) >= walStoreLen && [walStoreLen]byte(store) != [walStoreLen]byte{} {
		if h.store = le.Uint64(store); le.Uint32(store[8:]) != storeCRC(b) {
			return walHeader{}, 0, errBadHeader
		}
	}
	return h, crc, nil
}

// paddedLen is the length of a record on disk with n bytes of data.
func paddedLen(n int) int64 {
	return (int64(recordLen) + int64(n) + recordAlign - 1) &^ (recordAlign - 1)
}

// encodeRecord fills in the 32 bytes before r.data and returns their crc.
func encodeRecord(b []byte, r *rec, file uint64, seed uint32) uint32 {
	_ = b[:recordLen]
	le := binary.LittleEndian
	le.PutUint32(b[4:], uint32(len(r.data)))
	le.PutUint32(b[8:], uint32(r.shard))
	b[12], b[13] = byte(r.op), r.typ
	le.PutUint16(b[14:], uint16(file))
	le.PutUint64(b[16:], r.index)
	le.PutUint64(b[24:], r.term)
	crc := crc32.Update(crc32.Update(seed, castagnoli, b[4:recordLen]), castagnoli, r.data)
	le.PutUint32(b, crc)
	return crc
}

// recordSize returns the length of the record that begins with the 32 bytes b, padding
// left out, or false for what cannot be one.
func recordSize(b []byte) (int, bool) {
	n := binary.LittleEndian.Uint32(b[4:])
	return recordLen + int(n), b[12] != 0 && n <= storage.EntryBytesMax
}

// decodeRecord parses a whole record, and returns its crc; false: it is none, or not one
// chained to seed.
func decodeRecord(b []byte, file uint64, seed uint32) (rec, uint32, bool) {
	le := binary.LittleEndian
	crc := le.Uint32(b)
	r := rec{
		op: op(b[12]), typ: b[13], shard: storage.ShardID(le.Uint32(b[8:])),
		index: le.Uint64(b[16:]), term: le.Uint64(b[24:]), data: b[recordLen:],
	}
	if le.Uint16(b[14:]) != uint16(file) || crc32.Update(seed, castagnoli, b[4:]) != crc {
		return rec{}, 0, false
	}
	return r, crc, true
}

// markSeed begins the crc of a mark at a position.
func markSeed(salt uint64, at int64) uint32 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], salt)
	binary.LittleEndian.PutUint64(b[8:], uint64(at))
	return crc32.Checksum(b[:], castagnoli)
}

func newMark(typ uint8, durable int64, prev, nonce uint32) rec {
	return rec{op: opMark, typ: typ, index: uint64(durable), term: uint64(nonce)<<32 | uint64(prev)}
}

func newHard(shard storage.ShardID, hs storage.HardState) rec {
	return rec{
		op: opHard, shard: shard, index: hs.Commit, term: hs.Term,
		data: binary.LittleEndian.AppendUint64(nil, hs.Vote),
	}
}

// lastLen is what opBase says of one shard.
const lastLen = 4 + 8

func appendLast(b []byte, shard storage.ShardID, index uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(b, uint32(shard)), index)
}

// lasts are what opBase says of where each log ended. A file of an early release says
// nothing.
func (r *rec) lasts() iter.Seq2[storage.ShardID, uint64] {
	return func(yield func(storage.ShardID, uint64) bool) {
		le := binary.LittleEndian
		for b := r.data; len(b) >= lastLen; b = b[lastLen:] {
			if !yield(storage.ShardID(le.Uint32(b)), le.Uint64(b[4:])) {
				return
			}
		}
	}
}

func (r *rec) hard() (storage.HardState, bool) {
	if len(r.data) != 8 {
		return storage.HardState{}, false
	}
	return storage.HardState{Term: r.term, Vote: binary.LittleEndian.Uint64(r.data), Commit: r.index}, true
}
