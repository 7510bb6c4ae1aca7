package doctor

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/segment"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/meta"
)

// Survey is everything that lies in a data directory, as far as it can be read. Making one
// changes nothing, takes no lock, and reads every byte of the log, but no batch of a
// segment.
type Survey struct {
	Dir        string `json:"dir"`
	Format     string `json:"format"` // the first line of VERSION
	Store      string `json:"store,omitempty"`
	VersionErr error  `json:"-"`
	PID        int    `json:"pid,omitempty"` // of who has it open, or had it last
	Live       bool   `json:"live"`          // somebody has

	WAL         []WALFile    `json:"wal"`
	Spares      []File       `json:"spares"` // released, or made ready
	Segments    []SegmentLog `json:"segments"`
	Checkpoints []Checkpoint `json:"checkpoints"`
	// Store is one file for all checkpoints.
	CheckpointFile File   `json:"checkpoint_file"`
	CheckpointErr  error  `json:"-"`
	Left           []File `json:"left"`    // *.tmp and *.removed: of a process that was killed
	Foreign        []File `json:"foreign"` // not ours
	Bytes          int64  `json:"bytes"`
	// Newest is the latest time of an entry, ms; 0: none was read.
	Newest int64 `json:"newest_entry_ms,omitempty"`
}

// File is one file or directory.
type File struct {
	Path  string    `json:"path"`
	Bytes int64     `json:"bytes"`
	Time  time.Time `json:"modified"`
}

// WALFile is one file of the log.
type WALFile struct {
	File
	Number  uint64             `json:"number"`
	Store   string             `json:"store,omitempty"` // of which directory it says it is
	Records int                `json:"records"`
	Shards  []Span             `json:"shards"`
	Gaps    []filelog.WALGap   `json:"gaps,omitempty"`
	End     filelog.WALEndKind `json:"end"`
	EndAt   int64              `json:"end_at"`
	Durable int64              `json:"durable"`
	// PinnedBy are the shards whose checkpoint does not cover the file's entries yet. The
	// oldest file cannot go before they have one.
	PinnedBy []storage.ShardID `json:"pinned_by"`
	Err      error             `json:"-"` // its header, or reading it
}

// Damaged tells whether the file is not as it was written.
func (f *WALFile) Damaged() bool {
	return f.Err != nil || len(f.Gaps) > 0 || f.End == filelog.EndRot
}

// Span is what one file of the log holds of a shard.
type Span struct {
	Shard   storage.ShardID `json:"shard"`
	First   uint64          `json:"first"`
	Last    uint64          `json:"last"`
	Entries int             `json:"entries"`
	Bytes   int64           `json:"bytes"`
}

// SegmentLog is the files of one log of a shard.
type SegmentLog struct {
	ID    storage.LogID `json:"id"`
	Dir   string        `json:"dir"`
	Files []File        `json:"files"` // by base offset
	Bytes int64         `json:"bytes"`
	// Indexes is how many of the files have an index file.
	Indexes int `json:"indexes"`
}

// Checkpoint is one shard's, with its keys counted by kind.
type Checkpoint struct {
	Shard      storage.ShardID `json:"shard"`
	Index      uint64          `json:"index"`
	Term       uint64          `json:"term"`
	Members                    // of the shard's group at that entry
	Keys       int             `json:"keys"`
	Bytes      int64           `json:"bytes"`
	Staged     bool            `json:"staged,omitempty"`
	Kinds      []Kind          `json:"kinds"`
	Generation uint64          `json:"generation"`
	Err        error           `json:"-"`
}

// Members are the nodes of a shard's group, as storage.Members has them.
type Members struct {
	Voters   []uint64 `json:"voters,omitempty"`
	Outgoing []uint64 `json:"outgoing,omitempty"`
	Learners []uint64 `json:"learners,omitempty"`
	Next     []uint64 `json:"next,omitempty"`
}

// MembersOf are m, to be shown.
func MembersOf(m storage.Members) Members { return Members(m) }

// After says who the members are, behind something else; nothing where there is one voter alone.
func (m Members) After() string {
	var text strings.Builder
	for _, set := range [...]struct {
		what  string
		nodes []uint64
	}{{"voters", m.Voters}, {"leaving", m.Outgoing}, {"learners", m.Learners}, {"learners next", m.Next}} {
		if len(set.nodes) > 0 && (len(m.Voters) > 1 || len(m.Outgoing)+len(m.Learners) > 0) {
			fmt.Fprintf(&text, ", %s %s", set.what, strings.Trim(fmt.Sprint(set.nodes), "[]"))
		}
	}
	return text.String()
}

// Kind is the keys of one kind.
type Kind struct {
	Kind  string `json:"kind"`
	Keys  int    `json:"keys"`
	Bytes int64  `json:"bytes"`
}

// listMax bounds what a survey lists of each kind; a directory has fewer, unless it is not
// ours.
const listMax = 1_000_000

// Look makes a survey. The error is that there is no directory that could be read.
func Look(dir string) (*Survey, error) {
	s := &Survey{Dir: dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	s.PID, s.Live = Holder(dir)
	s.version()
	for _, e := range entries {
		switch name := e.Name(); {
		case name == filelog.VersionFile, name == filelog.LockFile, name == QuarantineDir, name == "lost+found":
		case name == filelog.WALDir, name == filelog.SegmentsDir:
		case name == filelog.CheckpointFile:
			s.CheckpointFile = s.file(filepath.Join(dir, name))
		case strings.HasSuffix(name, ".tmp"):
			s.Left = append(s.Left, s.file(filepath.Join(dir, name)))
		default:
			s.Foreign = append(s.Foreign, s.file(filepath.Join(dir, name)))
		}
	}
	s.checkpoints()
	s.wal()
	s.segments()
	return s, nil
}

func (s *Survey) file(path string) File {
	f := File{Path: path}
	if info, err := os.Stat(path); err == nil {
		f.Time = info.ModTime()
		if !info.IsDir() {
			f.Bytes = info.Size()
		}
	}
	s.Bytes += f.Bytes
	return f
}

// version reads VERSION as text.
func (s *Survey) version() {
	f, err := os.Open(filepath.Join(s.Dir, filelog.VersionFile))
	if err != nil {
		s.VersionErr = err
		return
	}
	defer func() { _ = f.Close() }() // only read from
	lines := bufio.NewScanner(f)
	for i := 0; i < 2 && lines.Scan(); i++ {
		if i == 0 {
			s.Format = lines.Text()
		} else {
			s.Store, _ = strings.CutPrefix(lines.Text(), "store ")
		}
	}
	s.VersionErr = lines.Err()
}

// Applied is the index that each shard's checkpoint stands for.
func (s *Survey) Applied() map[storage.ShardID]uint64 {
	m := make(map[storage.ShardID]uint64, len(s.Checkpoints))
	for i := range s.Checkpoints {
		m[s.Checkpoints[i].Shard] = s.Checkpoints[i].Index
	}
	return m
}

func (s *Survey) wal() {
	dir := filepath.Join(s.Dir, filelog.WALDir)
	entries, _ := os.ReadDir(dir) // one that is missing is noticed by whoever checks
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		number, ours := filelog.WALNumber(path)
		switch {
		case ours && len(s.WAL) < listMax:
			s.WAL = append(s.WAL, WALFile{File: s.file(path), Number: number})
		case strings.HasSuffix(path, ".spare"):
			s.Spares = append(s.Spares, s.file(path))
		case strings.HasSuffix(path, ".tmp"):
			s.Left = append(s.Left, s.file(path))
		default:
			s.Foreign = append(s.Foreign, s.file(path))
		}
	}
	applied := s.Applied()
	for i := range s.WAL {
		f := &s.WAL[i]
		f.Err = f.scan(i < len(s.WAL)-1, func(r *filelog.WALRecord) {
			if r.Shard != 0 {
				if h, err := shard.HeaderOf(r.Data); err == nil {
					s.Newest = max(s.Newest, h.Time)
				}
			}
		})
		for _, span := range f.Shards {
			if span.Last > applied[span.Shard] {
				f.PinnedBy = append(f.PinnedBy, span.Shard)
			}
		}
	}
}

// scan reads the file; entry is called for those with data.
func (f *WALFile) scan(followed bool, entry func(*filelog.WALRecord)) error {
	file, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read from
	r, err := filelog.NewWALReader(file, f.Bytes, f.Number, followed)
	if err != nil {
		return err
	}
	if store := r.Header().Store; store != 0 && r.HeaderErr() == nil {
		f.Store = fmt.Sprintf("%016x", store)
	}
	spans := make(map[storage.ShardID]*Span)
	for r.Next() {
		f.Records++
		x := r.Record()
		if x.Op != "entry" {
			continue
		}
		p := spans[x.Shard]
		if p == nil {
			p = &Span{Shard: x.Shard, First: x.Index}
			spans[x.Shard] = p
		}
		p.First, p.Last = min(p.First, x.Index), x.Index
		p.Entries++
		p.Bytes += x.Bytes
		if len(x.Data) > 0 {
			entry(&x)
		}
	}
	for _, p := range spans {
		f.Shards = append(f.Shards, *p)
	}
	slices.SortFunc(f.Shards, func(a, b Span) int { return cmp.Compare(a.Shard, b.Shard) })
	f.Gaps, f.End, f.EndAt, f.Durable = r.Gaps(), r.End().Kind, r.End().At, r.Durable()
	return errors.Join(r.HeaderErr(), r.Err())
}

func (s *Survey) segments() {
	root := filepath.Join(s.Dir, filelog.SegmentsDir)
	shards, _ := os.ReadDir(root) // none, as in a young directory
	for _, e := range shards {
		number, err := strconv.ParseUint(e.Name(), 16, 32)
		if err != nil || len(e.Name()) != 8 || !e.IsDir() {
			s.Foreign = append(s.Foreign, s.file(filepath.Join(root, e.Name())))
			continue
		}
		dir := filepath.Join(root, e.Name())
		logs, _ := os.ReadDir(dir)
		for _, l := range logs {
			path := filepath.Join(dir, l.Name())
			name, removed := strings.CutSuffix(l.Name(), filelog.RemovedSuffix)
			log, err := strconv.ParseUint(name, 16, 64)
			switch {
			case err != nil || len(name) != 16 || !l.IsDir() || len(s.Segments) >= listMax:
				s.Foreign = append(s.Foreign, s.file(path))
			case removed:
				s.Left = append(s.Left, s.file(path))
			default:
				s.segmentLog(path, storage.LogID{Shard: storage.ShardID(number), Log: log})
			}
		}
	}
}

func (s *Survey) segmentLog(dir string, id storage.LogID) {
	l := SegmentLog{ID: id, Dir: dir}
	entries, _ := os.ReadDir(dir) // sorted, so by base offset
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		_, ours := segment.FileBase(path)
		switch {
		case ours && strings.HasSuffix(path, ".seg"):
			f := s.file(path)
			l.Files = append(l.Files, f)
			l.Bytes += f.Bytes
		case ours:
			l.Indexes++
			l.Bytes += s.file(path).Bytes
		case strings.HasSuffix(path, ".tmp"):
			s.Left = append(s.Left, s.file(path))
		default:
			s.Foreign = append(s.Foreign, s.file(path))
		}
	}
	s.Segments = append(s.Segments, l)
}

// inspect opens the checkpoint file for inspection.
func inspect(path string) (*meta.Inspector, *os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	var x *meta.Inspector
	if err == nil {
		x, err = meta.Inspect(f, info.Size())
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return x, f, nil
}

func (s *Survey) checkpoints() {
	if s.CheckpointFile.Path == "" {
		return
	}
	x, f, err := inspect(s.CheckpointFile.Path)
	if err != nil {
		s.CheckpointErr = err
		return
	}
	defer func() { _ = f.Close() }() // only read from
	list, err := x.Checkpoints()
	s.CheckpointErr = err
	for _, c := range list {
		s.Checkpoints = append(s.Checkpoints, count(x, c))
	}
}

// count goes through the keys of a checkpoint.
func count(x *meta.Inspector, c meta.Checkpoint) Checkpoint {
	out := Checkpoint{Shard: c.Shard, Index: c.Index, Term: c.Term, Members: MembersOf(c.Members), Staged: c.Staged, Generation: c.Generation, Err: c.Err}
	if c.Err != nil {
		return out
	}
	at := make(map[string]int)
	out.Err = x.Keys(c.Shard, func(k meta.Key) bool {
		if k.Err != nil {
			out.Err = errors.Join(out.Err, k.Err)
			return false
		}
		if k.Staged {
			return true
		}
		kind := KeyKind(c.Shard, k.Key, k.Value)
		i, known := at[kind]
		if !known {
			i = len(out.Kinds)
			at[kind] = i
			out.Kinds = append(out.Kinds, Kind{Kind: kind})
		}
		n := int64(len(k.Key) + len(k.Value))
		out.Kinds[i].Keys++
		out.Kinds[i].Bytes += n
		out.Keys++
		out.Bytes += n
		return true
	})
	return out
}

// IsMissing tells whether an error says that there is no such file.
func IsMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// shards lists ids as people read them.
func shards(ids []storage.ShardID) string {
	var out []string
	for _, id := range ids {
		out = append(out, fmt.Sprint(id))
	}
	return strings.Join(out, ", ")
}
