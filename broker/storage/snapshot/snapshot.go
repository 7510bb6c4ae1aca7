// Package snapshot is the file of all that a broker held at one moment: what its engine has of each
// shard, as it stands in a data directory (docs/format/snapshot.md), and notes that somebody adds. An
// engine that it is put into is opened as after a restart.
//
// The file is a row of frames (broker/internal/frame), of the kinds below, in this order: about; of each
// shard its own, its pairs and its batches; notes; the end. Log 0 is the last shard.
package snapshot

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/robustmq/rmq/broker/internal/frame"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

// What stands first in the file, and its version.
const (
	magic   = "RMQSNAP\n"
	version = 1
)

// Kinds of frames. Integers are little-endian.
//
//	about    JSON: About
//	shard    shard u32, index u64, term u64 of the last entry that its state includes
//	pairs    keys and values of its state, in order, each behind its length (uvarint)
//	batches  log u64, then whole record batches of it, in the order of their offsets
//	note     name: length u16 and bytes; then bytes of it. Frames of one name follow each other
const (
	kindAbout   = 1
	kindShard   = 2
	kindPairs   = 3
	kindBatches = 4
	kindNote    = 5
)

// pieceBytes is about how much one frame holds.
const pieceBytes = 256 << 10

var (
	// ErrCorrupt: the file is damaged, cut short, or none.
	ErrCorrupt = frame.ErrCorrupt
	// ErrVersion: written by a newer release.
	ErrVersion = frame.ErrVersion
	// ErrInUse: the engine is not empty.
	ErrInUse = errors.New("there is something already")
)

// About says what a snapshot is of.
type About struct {
	Release  string    `json:"rmq"`               // that wrote it
	Taken    time.Time `json:"taken"`             // by broker time
	Virtual  bool      `json:"virtual,omitempty"` // broker time was
	Cluster  string    `json:"cluster,omitempty"`
	Profile  string    `json:"profile,omitempty"`
	Streams  int       `json:"streams"`
	Queues   int       `json:"queues"`
	Sessions int       `json:"sessions"`
	// Lost is what is named in it and not held, for its durability is memory: streams and queues.
	Lost int `json:"lost,omitempty"`
}

// ID is the name that the contents of a snapshot give it.
type ID = frame.Sum

// Writer writes a snapshot.
type Writer struct {
	f   *frame.Writer
	buf []byte
}

// NewWriter begins a snapshot.
func NewWriter(w io.Writer, a About) (*Writer, error) {
	about, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	s := &Writer{f: frame.NewWriter(w, magic, version)}
	return s, s.f.Frame(kindAbout, about)
}

// Shard begins a shard with its state.
func (w *Writer) Shard(id storage.ShardID, at storage.CheckpointMeta, pairs iter.Seq2[[]byte, []byte]) error {
	b := binary.LittleEndian.AppendUint32(nil, uint32(id))
	b = binary.LittleEndian.AppendUint64(b, at.Index)
	if err := w.f.Frame(kindShard, binary.LittleEndian.AppendUint64(b, at.Term)); err != nil {
		return err
	}
	piece := w.buf[:0]
	for k, v := range pairs {
		if n := len(piece); n > 0 && n+len(k)+len(v) > pieceBytes {
			if err := w.f.Frame(kindPairs, piece); err != nil {
				return err
			}
			piece = piece[:0]
		}
		piece = append(binary.AppendUvarint(piece, uint64(len(k))), k...)
		piece = append(binary.AppendUvarint(piece, uint64(len(v))), v...)
	}
	w.buf = piece[:0]
	if len(piece) == 0 {
		return nil
	}
	return w.f.Frame(kindPairs, piece)
}

// Batches adds batches of a log of the shard, after those before.
func (w *Writer) Batches(log uint64, raw []byte) error {
	for len(raw) > 0 {
		n, rest := 0, raw
		for len(rest) > 0 {
			b, behind, err := record.Next(rest)
			if err != nil {
				return err
			}
			if n > 0 && n+len(b) > pieceBytes {
				break
			}
			n += len(b)
			rest = behind
		}
		w.buf = append(binary.LittleEndian.AppendUint64(w.buf[:0], log), raw[:n]...)
		if err := w.f.Frame(kindBatches, w.buf); err != nil {
			return err
		}
		raw = rest
	}
	return nil
}

// Note adds a named piece of text or data, for people.
func (w *Writer) Note(name string, content []byte) error {
	for first := true; first || len(content) > 0; first = false {
		n := min(len(content), pieceBytes)
		b := append(binary.LittleEndian.AppendUint16(w.buf[:0], uint16(len(name))), name...)
		w.buf = append(b, content[:n]...)
		if err := w.f.Frame(kindNote, w.buf); err != nil {
			return err
		}
		content = content[n:]
	}
	return nil
}

// End ends the snapshot.
func (w *Writer) End() (ID, error) { return w.f.End() }

// Contents is what there is in a snapshot besides the state.
type Contents struct {
	About
	ID    ID
	Bytes int64
	Notes []Note
}

// Note is a named piece of a snapshot.
type Note struct {
	Name    string
	Content []byte
}

// NotesMax bounds the bytes of all notes of a snapshot.
const NotesMax = 256 << 20

// Note returns a note by its name.
func (c *Contents) Note(name string) ([]byte, bool) {
	for i := range c.Notes {
		if c.Notes[i].Name == name {
			return c.Notes[i].Content, true
		}
	}
	return nil, false
}

// Check reads a snapshot to its end: all of it is whole.
func Check(r io.Reader) (*Contents, error) { return read(r, nil) }

// Install puts a snapshot into an engine that holds nothing, as that of the one voter self. What was
// installed of one that turns out to be damaged means nothing: Check it first.
func Install(r io.Reader, e storage.Engine, self uint64) (*Contents, error) {
	if at, _, err := e.Checkpoints().Load(0); err != nil || at.Index != 0 {
		return nil, errors.Join(ErrInUse, err)
	}
	if l, err := e.Log().Load(0); err != nil || len(l.Entries) > 0 || l.Hard != (storage.HardState{}) {
		return nil, errors.Join(ErrInUse, err)
	}
	return read(r, &installer{e: e, self: self})
}

// installer is one shard on its way into an engine.
type installer struct {
	e     storage.Engine
	self  uint64
	id    storage.ShardID
	at    storage.CheckpointMeta
	pairs [][2][]byte
	seg   storage.Segment // of log; nil: none
	log   uint64
}

func read(r io.Reader, to *installer) (*Contents, error) {
	f, err := frame.NewReader(r, magic, version)
	if err != nil {
		return nil, err
	}
	c := new(Contents)
	var order state
	for {
		kind, body, err := f.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, frame.ErrTorn) {
			return nil, fmt.Errorf("%w: it is %w", ErrCorrupt, err)
		}
		if err == nil {
			err = c.frame(&order, kind, body, to)
		}
		if err != nil {
			return nil, err
		}
	}
	if !order.log0 {
		return nil, malformed("it has no log 0")
	}
	if err := to.end(); err != nil {
		return nil, err
	}
	c.ID, c.Bytes = f.Sum(), f.Bytes()
	return c, nil
}

// state is how far a reader is.
type state struct {
	about, shard, log0, noted bool
	last                      []byte // key
	log                       uint64
	inLog                     bool
	next                      int64
	logs                      map[uint64]bool // of the shard, that have been
	shards                    map[storage.ShardID]bool
	notes                     int
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

func (c *Contents) frame(s *state, kind byte, body []byte, to *installer) error {
	if (kind == kindAbout) == s.about {
		return malformed("what it is of is to be said first, and once")
	}
	switch kind {
	case kindAbout:
		s.about = true
		if err := json.Unmarshal(body, &c.About); err != nil {
			return malformed("what it is of: %v", err)
		}
	case kindShard:
		if len(body) != 4+8+8 || s.log0 {
			return malformed("a shard where none may be")
		}
		id := storage.ShardID(binary.LittleEndian.Uint32(body))
		if s.shards[id] {
			return malformed("shard %d twice", id)
		}
		if s.shards == nil {
			s.shards = make(map[storage.ShardID]bool)
		}
		s.shards[id], s.shard, s.log0 = true, true, id == 0
		s.last, s.logs, s.inLog = nil, make(map[uint64]bool), false
		return to.shard(id, storage.CheckpointMeta{Index: binary.LittleEndian.Uint64(body[4:]), Term: binary.LittleEndian.Uint64(body[12:])})
	case kindPairs:
		if !s.shard || s.inLog || s.noted || len(body) == 0 {
			return malformed("pairs where none may be")
		}
		for len(body) > 0 {
			var k, v []byte
			var ok bool
			if k, body, ok = field(body); ok {
				v, body, ok = field(body)
			}
			if !ok || storage.CheckKey(k) != nil || s.last != nil && string(k) <= string(s.last) {
				return malformed("a key out of order, or cut short")
			}
			s.last = append(s.last[:0], k...)
			to.pair(k, v)
		}
	case kindBatches:
		if !s.shard || s.log0 || s.noted || len(body) <= 8 {
			return malformed("batches where none may be")
		}
		log := binary.LittleEndian.Uint64(body)
		if !s.inLog || s.log != log {
			if s.logs[log] {
				return malformed("log %d twice", log)
			}
			s.logs[log], s.log, s.inLog, s.next = true, log, true, 0
		}
		for raw := body[8:]; len(raw) > 0; {
			b, rest, err := record.Check(raw, len(raw))
			if err != nil || b.BaseOffset() < s.next || b.LastOffsetDelta() < 0 {
				return malformed("a batch of log %d after offset %d", log, s.next)
			}
			s.next, raw = b.NextOffset(), rest
			if err := to.batch(log, b); err != nil {
				return err
			}
		}
	case kindNote:
		n := 0
		if len(body) >= 2 {
			n = int(binary.LittleEndian.Uint16(body))
		}
		if !s.log0 || n == 0 || len(body) < 2+n {
			return malformed("a note where none may be")
		}
		name, content := string(body[2:2+n]), body[2+n:]
		if s.notes += len(content); s.notes > NotesMax {
			return malformed("notes of more than %d bytes", NotesMax)
		}
		if last := len(c.Notes) - 1; last < 0 || c.Notes[last].Name != name {
			c.Notes = append(c.Notes, Note{Name: name})
		}
		last := &c.Notes[len(c.Notes)-1]
		last.Content = append(last.Content, content...)
		s.noted = true
	default:
		return malformed("a frame of kind %d", kind)
	}
	return nil
}

// field cuts off what stands behind its length.
func field(b []byte) (f, rest []byte, ok bool) {
	n, width := binary.Uvarint(b)
	if width <= 0 || n > uint64(len(b)-width) {
		return nil, nil, false
	}
	return b[width : width+int(n)], b[width+int(n):], true
}

func (i *installer) shard(id storage.ShardID, at storage.CheckpointMeta) error {
	if i == nil {
		return nil
	}
	if err := i.end(); err != nil {
		return err
	}
	at.Members = storage.Members{Voters: []uint64{i.self}}
	i.id, i.at, i.pairs = id, at, i.pairs[:0]
	return nil
}

func (i *installer) pair(k, v []byte) {
	if i == nil {
		return
	}
	both := append(append(make([]byte, 0, len(k)+len(v)), k...), v...)
	i.pairs = append(i.pairs, [2][]byte{both[:len(k):len(k)], both[len(k):]})
}

func (i *installer) batch(log uint64, b record.Batch) (err error) {
	if i == nil {
		return nil
	}
	if i.seg == nil || i.log != log {
		if err := i.sync(); err != nil {
			return err
		}
		if i.seg, err = i.e.Segments().Open(storage.LogID{Shard: i.id, Log: log}); err != nil {
			return err
		}
		i.log = log
	}
	return i.seg.Append(b)
}

func (i *installer) sync() error {
	if i.seg == nil {
		return nil
	}
	err := errors.Join(i.seg.Sync(), i.seg.Close())
	i.seg = nil
	return err
}

// end ends a shard: its checkpoint speaks of segments that are synced.
func (i *installer) end() error {
	if i == nil {
		return nil
	}
	if err := i.sync(); err != nil || i.at.Index == 0 {
		return err
	}
	err := i.e.Checkpoints().Save(i.id, i.at, true, func(yield func(k, v []byte) bool) {
		for _, p := range i.pairs {
			if !yield(p[0], p[1]) {
				return
			}
		}
	})
	i.at, i.pairs = storage.CheckpointMeta{}, i.pairs[:0]
	return err
}
