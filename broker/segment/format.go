package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// A segment file is a header of 64 bytes and whole record batches, one after another.
// Its name is its base offset in twenty decimal digits, and ".seg". Little-endian,
// as everything that is not Kafka's. The base offset is the end of the log when the
// file was begun: one past the last offset in the file before.
//
//	0               8       12      16              24              32
//	┌───────────────┬───────┬───────┬───────────────┬───────────────┐
//	│ "rmq-seg\n"   │version│ crc   │ base offset   │ id            │
//	│               │ u32   │ u32   │ i64           │ u64           │
//	├───────────────┼───────┼───────┬───────────────┬───────┬───────┤
//	│ durable       │ crc of│ zero  │ owner         │ crc of│ zero  │ batches…
//	│ u64           │ it    │       │ u64           │ it    │       │
//	└───────────────┴───────┴───────┴───────────────┴───────┴───────┘
//	32              40      44      48              56      60      64
//
// crc is CRC-32C over bytes [0, 12) and [16, 32); the version is read before it. id
// is random, and ties an index to this file rather than to one that once had its name.
//
// durable is the mark: so many bytes of the file were synced when it was written. It is
// written after a sync and not itself synced, so it lags behind; it is never ahead. Its
// crc covers the base offset and itself. A mark and its crc are within one sector.
//
// owner says whose file this is: the number that Options.Owner had. Its crc covers the base
// offset and itself, as a mark's. Both are zero in a file that does not say.
//
// An index file (".idx") is written only after what it speaks of was synced. It is
// 72 bytes and entries of 24:
//
//	0               8       12      16              24              32
//	┌───────────────┬───────┬───────┬───────────────┬───────────────┐
//	│ "rmq-idx\n"   │version│ crc   │ base offset   │ id            │
//	│               │ u32   │ u32   │ i64           │ u64           │
//	├───────────────┼───────┴───────┼───────────────┼───────────────┤ 32
//	│ size of data  │ first offset  │ last offset   │ latest time   │
//	│ u64           │ i64           │ i64           │ ms, i64       │
//	├───────┬───────┼───────────────┴───────────────┴───────────────┘ 64
//	│entries│ crc of│
//	│ u32   │entries│ 72
//	└───────┴───────┘
//
//	0               8               16              24
//	┌───────────────┬───────────────┬───────────────┐
//	│ base offset   │ position      │ latest time   │
//	│ i64           │ u64           │ before, ms i64│
//	└───────────────┴───────────────┴───────────────┘
//
// An entry stands for the first batch, and then for one at least every indexBytes. Its
// latest time is that of all batches before it in the file. crc covers bytes [0, 12)
// and [16, 72). Deltas are not used: they overflow.
const (
	version     = 1
	headerLen   = 64
	idAt        = 24
	markAt      = 32
	markLen     = 12
	ownerAt     = 48 // as long as a mark
	idxLen      = 72
	idxEntryLen = 24

	// indexBytes is how far apart entries are at least, and so what a read scans in vain
	// at most, the last batch aside.
	indexBytes = 16 << 10
	// BatchMax bounds one batch, and what a damaged length can make a reader allocate.
	BatchMax = 32 << 20
	// fileMax bounds FileBytes, so that an index is never large.
	fileMax = 1 << 30
	// entriesMax bounds what a damaged count can make a reader allocate.
	entriesMax = (fileMax+BatchMax)/indexBytes + 1
)

var (
	segMagic = [8]byte{'r', 'm', 'q', '-', 's', 'e', 'g', '\n'}
	idxMagic = [8]byte{'r', 'm', 'q', '-', 'i', 'd', 'x', '\n'}

	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errBadHeader = errors.New("damaged header")
)

// noTime is the latest time of no batches.
const noTime = math.MinInt64

// header is what a segment file begins with.
type header struct {
	base int64
	id   uint64
}

func (h header) encode() []byte {
	b := make([]byte, headerLen)
	copy(b, segMagic[:])
	le := binary.LittleEndian
	le.PutUint32(b[8:], version)
	le.PutUint64(b[16:], uint64(h.base))
	le.PutUint64(b[24:], h.id)
	le.PutUint32(b[12:], sum(b[:markAt]))
	return b
}

// encodeMark is what stands at markAt.
func encodeMark(base, durable int64) []byte {
	b := make([]byte, markLen)
	binary.LittleEndian.PutUint64(b, uint64(durable))
	binary.LittleEndian.PutUint32(b[8:], markCRC(base, b[:8]))
	return b
}

// encodeFor is encode, of a file that says whose it is; 0: it does not.
func (h header) encodeFor(owner uint64) []byte {
	b := h.encode()
	if owner != 0 {
		binary.LittleEndian.PutUint64(b[ownerAt:], owner)
		binary.LittleEndian.PutUint32(b[ownerAt+8:], markCRC(h.base, b[ownerAt:ownerAt+8]))
	}
	return b
}

// decodeOwner returns whose file it is by its whole header; 0: it does not say. false: it says
// so no more.
func decodeOwner(b []byte, base int64) (owner uint64, ok bool) {
	if [markLen]byte(b[ownerAt:]) == [markLen]byte{} {
		return 0, true
	}
	return binary.LittleEndian.Uint64(b[ownerAt:]), binary.LittleEndian.Uint32(b[ownerAt+8:]) == markCRC(base, b[ownerAt:ownerAt+8])
}

func markCRC(base int64, durable []byte) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(base))
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, durable)
}

// decodeMark returns the mark in the header b of the file with a base offset: 0 when
// there is none. It is found also when the rest of the header is damaged.
func decodeMark(b []byte, base int64) int64 {
	if len(b) < markAt+markLen {
		return 0
	}
	m := b[markAt:]
	if markCRC(base, m[:8]) != binary.LittleEndian.Uint32(m[8:]) {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(m))
}

// sum is the crc of a header without the field that holds it.
func sum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:])
}

// decodeHeader wants all of the header: one cut short is damaged, also where what is missing
// could be zeros. What is written behind it would otherwise make it whole, and wrong.
func decodeHeader(b []byte) (header, error) {
	if len(b) < headerLen {
		return header{}, errBadHeader
	}
	if err := checkHeader(b, markAt, segMagic); err != nil {
		return header{}, err
	}
	le := binary.LittleEndian
	h := header{base: int64(le.Uint64(b[16:])), id: le.Uint64(b[24:])}
	if h.base < 0 {
		return header{}, errBadHeader
	}
	return h, nil
}

func checkHeader(b []byte, n int, magic [8]byte) error {
	if len(b) < n || [8]byte(b[:8]) != magic {
		return errBadHeader
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > version {
		return fmt.Errorf("%w: segment format %d, this release reads up to %d", ErrVersion, v, version)
	}
	if sum(b[:n]) != binary.LittleEndian.Uint32(b[12:]) {
		return errBadHeader
	}
	return nil
}

// summary is what an index says of its file as a whole.
type summary struct {
	header
	size        int64 // of the file, as far as the index goes
	first, last int64 // offsets; last is below first when there are no batches
	latest      int64
	entries     int
	entriesCRC  uint32
}

// entry stands for a batch.
type entry struct {
	offset int64
	pos    int64
	latest int64 // time of the batches before it
}

func encodeIndex(s summary, entries []entry) []byte {
	b := make([]byte, idxLen, idxLen+len(entries)*idxEntryLen)
	le := binary.LittleEndian
	for _, e := range entries {
		b = le.AppendUint64(b, uint64(e.offset))
		b = le.AppendUint64(b, uint64(e.pos))
		b = le.AppendUint64(b, uint64(e.latest))
	}
	copy(b, idxMagic[:])
	le.PutUint32(b[8:], version)
	le.PutUint64(b[16:], uint64(s.base))
	le.PutUint64(b[24:], s.id)
	le.PutUint64(b[32:], uint64(s.size))
	le.PutUint64(b[40:], uint64(s.first))
	le.PutUint64(b[48:], uint64(s.last))
	le.PutUint64(b[56:], uint64(s.latest))
	le.PutUint32(b[64:], uint32(len(entries)))
	le.PutUint32(b[68:], crc32.Checksum(b[idxLen:], castagnoli))
	le.PutUint32(b[12:], sum(b[:idxLen]))
	return b
}

func decodeSummary(b []byte) (summary, error) {
	if err := checkHeader(b, idxLen, idxMagic); err != nil {
		return summary{}, err
	}
	le := binary.LittleEndian
	s := summary{
		header: header{base: int64(le.Uint64(b[16:])), id: le.Uint64(b[24:])},
		size:   int64(le.Uint64(b[32:])), first: int64(le.Uint64(b[40:])), last: int64(le.Uint64(b[48:])),
		latest: int64(le.Uint64(b[56:])), entries: int(le.Uint32(b[64:])), entriesCRC: le.Uint32(b[68:]),
	}
	if s.size < headerLen || s.entries == 0 || s.entries > entriesMax || s.base < 0 || s.first < s.base {
		return summary{}, errBadHeader
	}
	return s, nil
}

// decodeEntries parses what follows the summary s.
func decodeEntries(s summary, b []byte) ([]entry, error) {
	if len(b) < s.entries*idxEntryLen {
		return nil, errBadHeader
	}
	b = b[:s.entries*idxEntryLen]
	if crc32.Checksum(b, castagnoli) != s.entriesCRC {
		return nil, errBadHeader
	}
	le := binary.LittleEndian
	entries := make([]entry, 0, s.entries)
	for ; len(b) > 0; b = b[idxEntryLen:] {
		e := entry{offset: int64(le.Uint64(b)), pos: int64(le.Uint64(b[8:])), latest: int64(le.Uint64(b[16:]))}
		last := entry{offset: s.base - 1, pos: headerLen - 1}
		if n := len(entries); n > 0 {
			last = entries[n-1]
		}
		if e.offset <= last.offset || e.pos <= last.pos || e.pos >= s.size {
			return nil, errBadHeader
		}
		entries = append(entries, e)
	}
	return entries, nil
}
