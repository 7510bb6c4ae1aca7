package doctor

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/segment"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/meta"
	"github.com/robustmq/rmq/broker/vfs"
)

// Repair is a plan to mend a data directory.
type Repair struct {
	Dir   string   `json:"dir"`
	Steps []Step   `json:"steps"`
	Not   []string `json:"cannot,omitempty"` // what is wrong and cannot be mended, and what to do instead

	lock io.Closer
}

// Step is one thing to do.
type Step struct {
	What  string   `json:"what"`
	Why   string   `json:"why"`
	Loses string   `json:"loses,omitempty"` // data that will not be there any more; "": none
	Files []string `json:"files"`           // that are taken away or replaced

	do func(q *quarantine) error
}

// Loses tells whether data is lost by what the plan does. It is lost already: what is
// damaged cannot be read by any broker.
func (r *Repair) Loses() bool {
	return slices.ContainsFunc(r.Steps, func(s Step) bool { return s.Loses != "" })
}

// Plan looks at a directory that no broker has open and says what can be mended. lock: keep
// others out until Close, which Do needs; without, nothing at all is written. The error
// is storage.ErrInUse, or of reading.
func Plan(dir string, lock bool) (_ *Repair, err error) {
	r := &Repair{Dir: dir, Steps: []Step{}}
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	switch pid, live := Holder(dir); {
	case live:
		return nil, fmt.Errorf("%w: %s is open in process %d", storage.ErrInUse, dir, pid)
	case lock:
		r.lock, err = vfs.OS{}.Lock(filepath.Join(dir, filelog.LockFile))
		if held, ok := errors.AsType[*vfs.HeldError](err); ok {
			return nil, fmt.Errorf("%w: %s is open in process %d", storage.ErrInUse, dir, held.PID)
		}
		if err != nil {
			return nil, err
		}
	}
	s, err := Look(dir)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if problem := r.foreign(s); problem != "" {
		r.Not = append(r.Not, problem)
		return r, nil
	}
	r.planVersion(s)
	ends := make(map[storage.LogID]reach)
	usable := r.planCheckpoints(s, ends)
	r.planLog(s, usable)
	r.planSegments(s, ends)
	r.planLeft(s)
	return r, nil
}

// Close lets the directory go.
func (r *Repair) Close() error {
	if r.lock == nil {
		return nil
	}
	lock := r.lock
	r.lock = nil
	return lock.Close()
}

// Do does what is planned, step by step, and tells each before it is begun. Everything that
// it takes away or replaces is in the directory that it returns, with a README. It stops at
// the first error: what was done is done, and another plan goes on from there.
func (r *Repair) Do(now time.Time, tell func(Step)) (kept string, err error) {
	if r.lock == nil {
		return "", errors.New("doctor: a repair needs the lock")
	}
	if len(r.Steps) == 0 {
		return "", nil
	}
	q, err := newQuarantine(r.Dir, now)
	if err != nil {
		return "", err
	}
	for _, s := range r.Steps {
		tell(s)
		text := "\n- " + s.What + "\n  why:   " + s.Why + "\n"
		if s.Loses != "" {
			text += "  loses: " + s.Loses + "\n"
		}
		for _, f := range s.Files {
			text += "  file:  " + f + "\n"
		}
		if err := q.note("%s", text); err != nil {
			return q.dir, err
		}
		if err := s.do(q); err != nil {
			return q.dir, fmt.Errorf("%s: %w", s.What, err)
		}
	}
	return q.dir, nil
}

func (r *Repair) rel(path string) string {
	if rel, err := filepath.Rel(r.Dir, path); err == nil {
		return rel
	}
	return path
}

func (r *Repair) add(s Step) { r.Steps = append(r.Steps, s) }

func (r *Repair) cannot(format string, args ...any) {
	r.Not = append(r.Not, fmt.Sprintf(format, args...))
}

// foreign says why a directory is none of ours to mend.
func (r *Repair) foreign(s *Survey) string {
	switch {
	case s.VersionErr == nil && s.Format != "rmq data, format 1":
		return fmt.Sprintf("VERSION says %q: this release knows format 1 alone, and leaves others as they are", s.Format[:min(len(s.Format), 40)])
	case s.VersionErr != nil && len(s.WAL)+len(s.Segments) == 0 && s.CheckpointFile.Path == "":
		return "there is no data of ours here"
	}
	for i := range s.WAL {
		if errors.Is(s.WAL[i].Err, storage.ErrVersion) {
			return fmt.Sprintf("%s: %v", r.rel(s.WAL[i].Path), s.WAL[i].Err)
		}
	}
	if errors.Is(s.CheckpointErr, storage.ErrVersion) {
		return fmt.Sprintf("%s: %v", filelog.CheckpointFile, s.CheckpointErr)
	}
	return ""
}

func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

func (r *Repair) planVersion(s *Survey) {
	if s.VersionErr == nil {
		return
	}
	path := filepath.Join(r.Dir, filelog.VersionFile)
	r.add(Step{
		What: "write VERSION anew", Why: fmt.Sprintf("data is here, and VERSION cannot be read: %v", s.VersionErr), Files: []string{filelog.VersionFile},
		do: func(q *quarantine) error {
			if err := q.keep(path); err != nil {
				return err
			}
			store := fmt.Sprintf("%016x", random())
			if i := slices.IndexFunc(s.WAL, func(f WALFile) bool { return f.Store != "" }); i >= 0 {
				store = s.WAL[i].Store // what is here says whose it is
			}
			text := fmt.Sprintf("rmq data, format 1\nstore %s\n", store)
			if err := vfs.WriteFile(vfs.OS{}, path, []byte(text)); err != nil {
				return err
			}
			return vfs.OS{}.SyncDir(r.Dir)
		},
	})
}

// planCheckpoints returns the index of each checkpoint that will be there, and adds to ends how
// far segments have to reach for it.
func (r *Repair) planCheckpoints(s *Survey, ends map[storage.LogID]reach) map[storage.ShardID]uint64 {
	usable := make(map[storage.ShardID]uint64)
	path := s.CheckpointFile.Path
	if path == "" {
		return usable
	}
	x, f, err := inspect(path)
	if err != nil {
		r.cannot("%s: %v", filelog.CheckpointFile, err)
		return usable
	}
	defer func() { _ = f.Close() }() // only read from
	problems := 0
	if err := x.Check(func(error) { problems++ }); err != nil {
		r.cannot("%s: %v", filelog.CheckpointFile, err)
		return usable
	}
	var good []meta.Checkpoint
	var bad []storage.ShardID
	list, err := x.Checkpoints()
	for _, c := range list {
		cerr := c.Err
		if cerr == nil {
			var m *shard.Machine
			if m, cerr = restore(x, c.Shard); cerr == nil {
				cerr = reachOf(x, c.Shard, m, ends)
			}
		}
		if cerr != nil {
			bad = append(bad, c.Shard)
			continue
		}
		good = append(good, c)
		usable[c.Shard] = c.Index
	}
	if err == nil && problems == 0 && len(bad) == 0 {
		return usable
	}
	why := fmt.Sprintf("%s is damaged", filelog.CheckpointFile)
	if len(bad) > 0 {
		why += fmt.Sprintf(", and the checkpoints of shards %s cannot be restored", shards(bad))
	}
	// What has no checkpoint must be in the log from its first entry on. Of a file whose list
	// of shards is damaged nobody knows which those are: all that the directory speaks of.
	lacking := bad
	if err != nil {
		lacking = nil
		for _, id := range s.shards() {
			if _, has := usable[id]; !has {
				lacking = append(lacking, id)
			}
		}
	}
	for _, id := range lacking {
		if first := s.first(id); first != 1 {
			from := "holds nothing of it"
			if first > 0 {
				from = fmt.Sprintf("begins at its entry %d", first)
			}
			r.cannot("the checkpoint of shard %d is damaged, and the log %s, not at its first entry: put %s back from a copy, with the rest of the directory as of then", id, from, filelog.CheckpointFile)
			usable[id] = 0
		}
	}
	if len(r.Not) > 0 {
		return usable
	}
	what := "begin without checkpoints: all entries are in the log, and are applied again"
	if len(good) > 0 {
		what = fmt.Sprintf("make %s anew with the checkpoints of %d shards", filelog.CheckpointFile, len(good))
		if len(lacking) > 0 {
			what += fmt.Sprintf(", and without those of shards %s, whose entries are all in the log", shards(lacking))
		}
	}
	r.add(Step{What: what, Why: why, Files: []string{filelog.CheckpointFile}, do: func(q *quarantine) error {
		if len(good) == 0 {
			return q.take(path)
		}
		tmp := path + ".tmp"
		if err := copyCheckpoints(path, tmp, good); err != nil {
			return err
		}
		return q.replace(path, tmp)
	}})
	return usable
}

// shards are those that the directory speaks of anywhere.
func (s *Survey) shards() (ids []storage.ShardID) {
	for i := range s.WAL {
		for _, p := range s.WAL[i].Shards {
			ids = append(ids, p.Shard)
		}
	}
	for i := range s.Segments {
		ids = append(ids, s.Segments[i].ID.Shard)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// first is the first entry that the log holds of a shard; 0: none.
func (s *Survey) first(id storage.ShardID) uint64 {
	for i := range s.WAL {
		for _, p := range s.WAL[i].Shards {
			if p.Shard == id {
				return p.First
			}
		}
	}
	return 0
}

func copyCheckpoints(from, to string, list []meta.Checkpoint) error {
	if err := os.Remove(to); err != nil && !IsMissing(err) {
		return err
	}
	x, f, err := inspect(from)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	store, err := meta.Open(to)
	if err != nil {
		return err
	}
	for _, c := range list {
		var failed error
		err = errors.Join(store.Save(c.Shard, c.CheckpointMeta, true, pairsOf(x, c.Shard, &failed)), failed)
		if err != nil {
			break
		}
	}
	return errors.Join(err, store.Close())
}

func (r *Repair) planLog(s *Survey, applied map[storage.ShardID]uint64) {
	if len(s.WAL) == 0 {
		r.cannot("wal/ holds no log file: put its files back from a copy; without one, start with an empty directory")
		return
	}
	plan, err := filelog.PlanSalvage(vfs.ReadOnly{}, r.Dir, applied)
	switch {
	case errors.Is(err, filelog.ErrNoSalvage):
		r.cannot("%v: put the directory back from a copy", err)
		return
	case err != nil:
		r.cannot("the log: %v", err)
		return
	case plan == nil:
		return
	}
	step := Step{What: "write the log anew without what is damaged, and without the entries that mean nothing after it", Why: logWhy(s)}
	var loses []string
	for _, l := range plan.Lost {
		loses = append(loses, fmt.Sprintf("shard %d: entries %d to %d (%d entries; %d of them can be read, %d bytes, and are kept in quarantine)",
			l.Shard, l.First, l.Last, l.Last-l.First+1, l.Readable, l.Bytes))
	}
	if plan.Vague {
		loses = append(loses, "and perhaps the very last entries of a shard that stood in damaged bytes")
	}
	step.Loses = strings.Join(loses, "; ")
	dir := filepath.Join(r.Dir, filelog.WALDir)
	for _, n := range slices.Concat(plan.Files, plan.Drop) {
		step.Files = append(step.Files, filepath.Join(filelog.WALDir, filelog.WALName(n)))
	}
	step.do = func(q *quarantine) error {
		// Everything is made ready and kept before the first file changes; then the newest
		// go first, so that until the last one the log is refused as it was.
		made, err := filelog.PlanSalvage(vfs.OS{}, r.Dir, applied) // the same, to be written
		if err != nil || made == nil {
			return errors.Join(err, errors.New("the log has changed since it was planned"))
		}
		tmp := make([]string, len(made.Files))
		for i, n := range made.Files {
			if tmp[i], err = made.Write(n, random()); err != nil {
				return err
			}
		}
		for _, n := range slices.Concat(made.Files, made.Drop) {
			if err := q.keep(filepath.Join(dir, filelog.WALName(n))); err != nil {
				return err
			}
		}
		for _, n := range slices.Backward(made.Drop) {
			if err := os.Remove(filepath.Join(dir, filelog.WALName(n))); err != nil {
				return err
			}
			if err := (vfs.OS{}).SyncDir(dir); err != nil {
				return err
			}
		}
		for i, n := range slices.Backward(made.Files) {
			if err := q.replace(filepath.Join(dir, filelog.WALName(n)), tmp[i]); err != nil {
				return err
			}
		}
		return nil
	}
	r.add(step)
}

// logWhy says what is wrong with the log.
func logWhy(s *Survey) string {
	var why []string
	for i := range s.WAL {
		f := &s.WAL[i]
		if i > 0 && f.Number != s.WAL[i-1].Number+1 {
			why = append(why, fmt.Sprintf("files between %s and %s are missing", filepath.Base(s.WAL[i-1].Path), filepath.Base(f.Path)))
		}
		if f.Damaged() {
			why = append(why, filepath.Base(f.Path)+": "+damageText(f))
		}
	}
	if len(why) == 0 {
		return "it does not continue from the checkpoints"
	}
	return strings.Join(why, "; ")
}

func (r *Repair) planSegments(s *Survey, ends map[storage.LogID]reach) {
	for i := range s.Segments {
		l := &s.Segments[i]
		v := readLog(l, func(int64) {})
		end := int64(-1)
		if at := ends[l.ID]; at.holds() {
			end = at.end
		}
		for j, f := range l.Files {
			last := j == len(l.Files)-1
			switch {
			case slices.Contains(v.damaged, f.Path) || !last && slices.Contains(v.missing, l.Files[j+1].Path) || last && v.end < end:
				r.planSegment(l, j, end)
			case slices.Contains(v.stale, f.Path):
				r.planIndex(f.Path)
			}
		}
	}
}

// planSegment writes file j of a log anew. The last one is made to reach at least to end, which
// the checkpoint names: a broker refuses a log that is shorter. -1: it names none.
func (r *Repair) planSegment(l *SegmentLog, j int, end int64) {
	path, next := l.Files[j].Path, int64(-1)
	followed := j+1 < len(l.Files)
	if followed {
		next, _ = segment.FileBase(l.Files[j+1].Path)
	}
	w, err := readSegment(l.Files[j], followed, func() {})
	if err != nil {
		r.cannot("%s: %v", r.rel(path), err)
		return
	}
	if errors.Is(w.header, segment.ErrVersion) {
		r.cannot("%s: %v", r.rel(path), w.header)
		return
	}
	if !followed && w.end < end {
		next = end
	}
	step := Step{
		What:  fmt.Sprintf("write %s anew with what is whole of it (log %d of shard %d)", r.rel(path), l.ID.Log, l.ID.Shard),
		Files: []string{r.rel(path), r.rel(strings.TrimSuffix(path, ".seg") + ".idx")},
	}
	var why, loses []string
	if w.header != nil {
		why = append(why, "its header is damaged")
	}
	for _, g := range w.gaps {
		why = append(why, fmt.Sprintf("bytes %d to %d have changed", g.From, g.To))
		before := g.Before
		if before < 0 {
			before = next
		}
		switch {
		case before < 0:
			loses = append(loses, fmt.Sprintf("offsets from %d on that stood in it", g.After))
		case before > g.After:
			loses = append(loses, fmt.Sprintf("offsets %d to %d", g.After, before-1))
		}
	}
	if len(w.gaps) == 0 && next > w.end {
		what := "the file with the offsets behind it, %d to %d, was removed"
		if !followed {
			what = "the checkpoint speaks of offsets %d to %d behind it: they were cut off, or a file was removed"
		}
		why = append(why, fmt.Sprintf(what, w.end, next-1))
		loses = append(loses, fmt.Sprintf("offsets %d to %d, which are gone already", w.end, next-1))
	}
	step.Why, step.Loses = strings.Join(why, "; "), strings.Join(loses, "; ")
	step.do = func(q *quarantine) error {
		tmp, err := segment.Salvage(vfs.OS{}, path, next, random())
		if err != nil {
			return err
		}
		index := strings.TrimSuffix(path, ".seg") + ".idx"
		if err := q.keep(index); err != nil {
			return err
		}
		if err := q.keep(path); err != nil {
			return err
		}
		if err := os.Remove(index); err != nil && !IsMissing(err) {
			return err
		}
		if err := (vfs.OS{}).SyncDir(filepath.Dir(path)); err != nil {
			return err
		}
		if err := q.replace(path, tmp); err != nil {
			return err
		}
		return segment.Rebuild(vfs.OS{}, path)
	}
	r.add(step)
}

func (r *Repair) planIndex(path string) {
	index := strings.TrimSuffix(path, ".seg") + ".idx"
	r.add(Step{
		What: "make " + r.rel(index) + " anew", Why: "it is missing, damaged, or not of the segment beside it", Files: []string{r.rel(index)},
		do: func(q *quarantine) error {
			if err := q.keep(index); err != nil {
				return err
			}
			return segment.Rebuild(vfs.OS{}, path)
		},
	})
}

func (r *Repair) planLeft(s *Survey) {
	if len(s.Left) == 0 {
		return
	}
	step := Step{What: fmt.Sprintf("move %d leftovers away", len(s.Left)), Why: "a process ended while it wrote or removed them; nothing refers to them"}
	for _, f := range s.Left {
		step.Files = append(step.Files, r.rel(f.Path))
	}
	left := s.Left
	step.do = func(q *quarantine) error {
		for _, f := range left {
			if err := q.take(f.Path); err != nil && !IsMissing(err) { // another step may have used it up
				return err
			}
		}
		return nil
	}
	r.Steps = append([]Step{step}, r.Steps...) // before others write files of those names
}
