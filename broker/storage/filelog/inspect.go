package filelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/storage"
)

// Names within a data directory, for those who look at one without opening it.
const (
	WALDir         = walDir
	SegmentsDir    = segmentsDir
	CheckpointFile = checkpointFile
	VersionFile    = versionFile
	LockFile       = lockName
	RemovedSuffix  = removedSuffix
)

// WALNumber returns the number of a log file by its name: 0000000000000007.wal is 7.
func WALNumber(path string) (uint64, bool) {
	hex, ok := strings.CutSuffix(filepath.Base(path), ".wal")
	if !ok || len(hex) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil
}

// WALName is the name of the log file with a number.
func WALName(number uint64) string { return fmt.Sprintf("%016x.wal", number) }

// WALReader goes through one log file for somebody who wants to know what is in it. Unlike
// recovery, which stops at the first bytes that do not parse, it says what they are
// (End), and goes on behind damage where the chain can be taken up again:
//
//   - at the next record, when only one is damaged: what follows is chained to the
//     checksum that this one carries;
//   - at the next mark, which is chained to nothing but its place.
//
// It only reads, and holds one window of the file and one record in memory.
type WALReader struct {
	s        scanner
	followed bool
	rec      WALRecord
	proven   int64 // the highest position that any mark of the file calls durable; -1: not looked for
	gaps     []WALGap
	end      WALEnd
	resumed  bool
	done     bool

	headerErr error
}

// WALHeader is what a log file says of itself.
type WALHeader struct {
	Number, Salt uint64
	Store        uint64 // whose file it is; 0: it does not say
	Size         int64  // that it was made with
}

// WALRecord is one record. Data is valid until the next.
type WALRecord struct {
	At, Bytes int64  // position in the file, and length with padding
	Op        string // entry, hard, mark, base or end
	CRC       uint32
	Shard     storage.ShardID // of entry and hard
	Index     uint64          // of an entry
	Term      uint64          // of entry and hard
	Kind      uint8           // of an entry: raft's type
	Vote      uint64          // of hard
	Commit    uint64          // of hard
	Durable   int64           // of a mark: the file was durable up to here
	Process   uint32          // of a mark: drawn when the log was opened by who wrote it
	Data      []byte          // of an entry
	// Lasts, of base: the last entry of each log when the file was begun. Valid until the next record.
	Lasts   iter.Seq2[storage.ShardID, uint64]
	Resumed bool // it stands behind damage: what is between it and the record before is lost
}

// WALGap is a stretch of a log file that was once durable and is damaged.
type WALGap struct {
	From, To int64
	// The record that stood at From, as far as its first 32 bytes can be believed: they
	// are not checked by anything when the record is not whole.
	Shard storage.ShardID
	Index uint64
	Entry bool // it was an entry
}

// WALEnd says where the records of a file end, and why.
type WALEnd struct {
	At   int64
	Kind WALEndKind
}

// WALEndKind is why no more records follow.
type WALEndKind string

const (
	// EndSuccessor: the file was ended in order, and another follows.
	EndSuccessor WALEndKind = "successor"
	// EndOpen: the log goes on here. Nothing behind was ever durable: it is unused, or was
	// being written when a process ended, or is left from the file's earlier life.
	EndOpen WALEndKind = "open"
	// EndRot: what follows was once durable, and is damaged.
	EndRot WALEndKind = "rot"
)

// gapsMax bounds the damaged stretches that are told apart; what comes after is one.
const gapsMax = 1000

// NewWALReader begins with the header. number is the file's by its name, 0: take the
// header's word. followed: there is a file with a higher number, so that this one must
// have its end record. What is wrong with the header is in HeaderErr; records are still
// looked for by what it says.
func NewWALReader(file io.ReaderAt, size int64, number uint64, followed bool) (*WALReader, error) {
	r := &WALReader{s: *newScanner(file, size), followed: followed, proven: -1}
	if size < walBlock {
		r.headerErr = fmt.Errorf("%w: %d bytes, the header's block alone has %d", storage.ErrCorrupt, size, walBlock)
		r.stop(0, EndRot)
		return r, nil
	}
	b, err := r.s.Bytes(0, walBlock)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	said := walHeader{number: le.Uint64(b[16:]), salt: le.Uint64(b[24:]), size: int64(le.Uint64(b[32:]))}
	if number == 0 {
		number = said.number
	}
	crc := le.Uint32(b[12:])
	if r.headerErr = r.s.header(number); r.headerErr != nil {
		// One that is damaged may still be right about what its records are chained to.
		said.number = number
		r.s.head, r.s.crc, r.s.off, r.s.marked = said, crc, walBlock, walBlock
		if errors.Is(r.headerErr, storage.ErrVersion) {
			r.stop(0, EndRot)
		}
	}
	return r, nil
}

// HeaderErr is what is wrong with the header: storage.ErrCorrupt or storage.ErrVersion.
// Recovery refuses such a file.
func (r *WALReader) HeaderErr() error { return r.headerErr }

// Header is the file's.
func (r *WALReader) Header() WALHeader {
	return WALHeader{Number: r.s.head.number, Salt: r.s.head.salt, Store: r.s.head.store, Size: r.s.head.size}
}

// Next goes to the next record, over damage where there is some.
func (r *WALReader) Next() bool {
	for !r.done {
		if r.s.next() {
			r.take()
			return true
		}
		if r.s.err != nil {
			r.stop(r.s.off, EndRot)
			break
		}
		if r.s.ended {
			r.stop(r.s.off, EndSuccessor)
			break
		}
		r.over()
	}
	return false
}

// Record is the one that Next went to.
func (r *WALReader) Record() WALRecord { return r.rec }

// Gaps are the damaged stretches that were met so far.
func (r *WALReader) Gaps() []WALGap { return r.gaps }

// End is valid once Next has returned false.
func (r *WALReader) End() WALEnd { return r.end }

// Durable is the highest position that the marks met so far call durable; after the last
// record, that all marks of the file do, also those in what is damaged.
func (r *WALReader) Durable() int64 { return max(r.s.marked, r.proven) }

// Err is of reading, or storage.ErrVersion for a record of a newer release.
func (r *WALReader) Err() error { return r.s.err }

func (r *WALReader) stop(at int64, kind WALEndKind) {
	r.end, r.done = WALEnd{At: at, Kind: kind}, true
}

func (r *WALReader) take() {
	x, s := &r.s.rec, &r.s
	r.rec = WALRecord{At: s.at, Bytes: s.off - s.at, CRC: s.crc, Resumed: r.resumed}
	r.resumed = false
	switch x.op {
	case opEntry:
		r.rec.Op, r.rec.Shard, r.rec.Index, r.rec.Term, r.rec.Kind, r.rec.Data = "entry", x.shard, x.index, x.term, x.typ, x.data
	case opHard:
		hard, _ := x.hard()
		r.rec.Op, r.rec.Shard, r.rec.Term, r.rec.Vote, r.rec.Commit = "hard", x.shard, hard.Term, hard.Vote, hard.Commit
	case opMark:
		r.rec.Op, r.rec.Durable, r.rec.Process = "mark", int64(x.index), uint32(x.term>>32)
	case opBase:
		r.rec.Op, r.rec.Lasts = "base", x.lasts()
	case opEnd:
		r.rec.Op = "end"
	}
}

// over goes from bytes that are no record to the next that is one, or ends the walk.
func (r *WALReader) over() {
	bad := r.s.off
	if r.proven < 0 {
		r.proven = max(r.s.marked, r.marksBehind(bad))
	}
	if r.s.err != nil {
		r.stop(bad, EndRot)
		return
	}
	cut := r.s.head.size > r.s.Size || bad == walBlock && r.headerErr != nil
	if bad >= r.proven && !r.followed && !cut {
		r.stop(bad, EndOpen)
		return
	}
	gap := WALGap{From: bad, To: r.s.Size}
	if r.proven > bad && !r.followed {
		gap.To = r.proven
	}
	next := r.nextRecord(bad, &gap)
	if next == 0 && r.s.err == nil {
		next = r.nextMark(bad)
	}
	if next == 0 || len(r.gaps) == gapsMax {
		r.gaps = append(r.gaps, gap)
		r.stop(bad, EndRot)
		return
	}
	gap.To = next
	r.gaps = append(r.gaps, gap)
	r.s.off, r.resumed = next, true
}

// nextRecord takes up the chain behind one damaged record at bad: the record after it, if
// the length and the checksum of the damaged one are as they were. It returns its
// position, or 0.
func (r *WALReader) nextRecord(bad int64, gap *WALGap) int64 {
	s := &r.s
	if bad+recordLen > s.Size {
		return 0
	}
	b, err := s.Bytes(bad, recordLen)
	if err != nil {
		s.err = err
		return 0
	}
	le := binary.LittleEndian
	if o := op(b[12]); o == opEntry && le.Uint16(b[14:]) == uint16(s.head.number) {
		gap.Entry, gap.Shard, gap.Index = true, storage.ShardID(le.Uint32(b[8:])), le.Uint64(b[16:])
	}
	crc := le.Uint32(b)
	n, ok := recordSize(b)
	next := bad + paddedLen(n-recordLen)
	if !ok || next+recordLen > s.Size {
		return 0
	}
	if b, err = s.Bytes(next, recordLen); err != nil {
		s.err = err
		return 0
	}
	if n, ok = recordSize(b); !ok || next+int64(n) > s.Size {
		return 0
	}
	if b, err = s.Bytes(next, n); err != nil {
		s.err = err
		return 0
	}
	if _, _, ok = decodeRecord(b, s.head.number, crc); !ok {
		return 0
	}
	s.crc = crc
	return next
}

// nextMark returns the position of the first mark behind bad that belongs to what was
// durable, or 0.
func (r *WALReader) nextMark(bad int64) (at int64) {
	r.eachMark(bad+recordAlign, func(pos int64, m *rec) bool {
		if pos < r.proven || int64(m.index) > bad || r.followed {
			at, r.s.crc = pos, uint32(m.term)
		}
		return at == 0
	})
	return at
}

// marksBehind returns the highest position that a mark at or behind from calls durable.
func (r *WALReader) marksBehind(from int64) (durable int64) {
	r.eachMark(from, func(_ int64, m *rec) bool {
		durable = max(durable, int64(m.index))
		return true
	})
	return min(durable, r.s.Size)
}

func (r *WALReader) eachMark(from int64, f func(at int64, m *rec) bool) {
	if err := r.s.marks(from, f); err != nil {
		r.s.err = err
	}
}
