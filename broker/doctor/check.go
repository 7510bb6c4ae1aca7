package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/segment"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/vfs"
)

// Level says how a check came out.
type Level string

const (
	OK   Level = "ok"
	Warn Level = "warn" // it works, and will hurt
	Fail Level = "fail" // a broker does not start on it, or data is lost
)

// Finding is what one check came to.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	// Hint is what to do: the next command to type, where there is one.
	Hint string `json:"hint,omitempty"`
}

// Options say what to check.
type Options struct {
	Dir string
	Now time.Time
	// Listen are host:port that a broker would listen on.
	Listen []string
	// NoProbe leaves out what writes a file: how long the device takes to sync.
	NoProbe bool
	// Progress, if set, is told how many bytes of segments were read, of how many.
	Progress func(done, total int64)
}

// Limits below which a machine is short of something.
const (
	freeFail   = 64 << 20 // bytes: less than the next file of the log takes
	freeWarn   = 1 << 30
	filesWarn  = 4096
	memoryWarn = 256 << 20
	fsyncSlow  = 50 * time.Millisecond
	fsyncLie   = 20 * time.Microsecond // no device that keeps a promise is so quick

	probeSyncs = 25
	probeTime  = 2 * time.Second
)

// checker is one run of Check.
type checker struct {
	ctx  context.Context
	opt  Options
	tell func(Finding)
	s    *Survey
	// logs are how far the segments reach, by the checkpoints.
	logs map[storage.LogID]reach
}

// Check looks at everything that lets a broker start on a directory and keep its data, in
// order, and tells what it finds. The survey is nil when the directory cannot be read. It
// changes nothing, but for a probe file that is gone afterwards.
func Check(ctx context.Context, opt Options, tell func(Finding)) *Survey {
	c := &checker{ctx: ctx, opt: opt, tell: tell, logs: make(map[storage.LogID]reach)}
	if !c.directory() {
		return nil
	}
	c.device()
	c.sync()
	var err error
	if c.s, err = Look(opt.Dir); err != nil {
		c.fail("directory", "be the user that the broker runs as", "cannot be read: %v", err)
		return nil
	}
	c.version()
	c.wal()
	c.checkpoints()
	c.segments()
	c.left()
	if pid, live := Holder(opt.Dir); live && !c.s.Live {
		c.warn("lock", "rmq doctor "+quote(opt.Dir), "process %d has opened the directory meanwhile: what is said of files may be wrong", pid)
	}
	c.ports()
	c.clock()
	c.limits()
	return c.s
}

func (c *checker) ok(check, format string, args ...any) {
	c.tell(Finding{Check: check, Level: OK, Text: fmt.Sprintf(format, args...)})
}

func (c *checker) warn(check, hint, format string, args ...any) {
	c.tell(Finding{Check: check, Level: Warn, Text: fmt.Sprintf(format, args...), Hint: hint})
}

func (c *checker) fail(check, hint, format string, args ...any) {
	c.tell(Finding{Check: check, Level: Fail, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// repair is the command that mends what was found.
func (c *checker) repair() string { return "rmq doctor --repair --dry-run " + quote(c.opt.Dir) }

// quote makes a path one word of a shell.
func quote(path string) string {
	if strings.ContainsFunc(path, func(r rune) bool {
		return !strings.ContainsRune("/._-+=:,@%", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}

func (c *checker) directory() bool {
	dir := c.opt.Dir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.fail("directory", "rmq up --data "+quote(dir)+" makes it", "%s does not exist", dir)
		return false
	case err != nil:
		c.fail("directory", "be the user that the broker runs as", "%v", err)
		return false
	case !info.IsDir():
		c.fail("directory", "", "%s is a file", dir)
		return false
	}
	if theirs, ours, known := owner(info); known && theirs != ours && ours != 0 {
		c.warn("directory", fmt.Sprintf("chown -R %d %s   or be user %d", ours, quote(dir), theirs), "belongs to user %d, and you are %d", theirs, ours)
		return true
	}
	if mode := info.Mode().Perm(); mode&0o002 != 0 {
		c.warn("directory", "chmod o-w "+quote(dir), "anybody may write to it (mode %o)", mode)
		return true
	}
	c.ok("directory", "%s, mode %o", dir, info.Mode().Perm())
	return true
}

func (c *checker) device() {
	d, err := deviceOf(c.opt.Dir)
	if err != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			c.warn("space", "", "not known: %v", err)
		}
		return
	}
	kind := d.kind
	if kind == "" {
		kind = "of a kind unknown here"
	}
	switch d.kind {
	case "tmpfs", "ramfs":
		c.warn("file system", "use a directory on a disk: rmq up --data DIR", "%s: it is memory, and gone with the power", kind)
	case "overlayfs":
		c.warn("file system", "mount a volume and give that: rmq up --data DIR", "%s: a container's own layer, which goes with the container", kind)
	case "nfs", "cifs", "smb", "9p", "fuse":
		c.warn("file system", "use a directory on a local disk", "%s: whether a sync waits for a device is up to somebody else", kind)
	default:
		c.ok("file system", "%s", kind)
	}
	const more = "free some: records go by retention (rmq topic alter NAME --config retention.bytes=…), log files by checkpoints"
	switch text := fmt.Sprintf("%s free of %s", size(d.free), size(d.total)); {
	case d.free < freeFail:
		c.fail("space", more, "%s: the log cannot grow, and publishers will wait", text)
	case d.free < freeWarn || d.free < d.total/20:
		c.warn("space", more, "%s", text)
	default:
		c.ok("space", "%s", text)
	}
	if d.inodes > 0 && d.ifree < max(1000, d.inodes/100) {
		c.warn("inodes", "remove small files elsewhere on the device", "%d free of %d", d.ifree, d.inodes)
	}
}

func size(n uint64) string {
	for i, unit := range [...]string{"TiB", "GiB", "MiB"} {
		if f := float64(n) / float64(uint64(1)<<(40-10*i)); f >= 1 {
			return fmt.Sprintf("%.1f %s", f, unit)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// sync measures how long the device takes to make 4 KiB durable, as the log does it: over
// and over in a file that has its blocks.
func (c *checker) sync() {
	if c.opt.NoProbe {
		return
	}
	took, err := probe(c.opt.Dir)
	if err != nil {
		hint := "be the user that the broker runs as"
		if errors.Is(err, fs.ErrPermission) {
			hint += ", or look without writing: --no-probe"
		}
		c.fail("sync", hint, "no file can be written and synced: %v", err)
		return
	}
	median, worst := took[len(took)/2], took[len(took)-1]
	text := fmt.Sprintf("4 KiB are durable after %s (median of %d), at worst %s: about %d groups of messages a second",
		round(median), len(took), round(worst), int(time.Second/max(median, time.Microsecond)))
	d, _ := deviceOf(c.opt.Dir) // not known is not memory
	switch {
	case median < fsyncLie && d.kind != "tmpfs" && d.kind != "ramfs":
		c.warn("sync", "find out whether the device has a write cache without a battery", "%s; that is too quick for a device that waits for its medium", text)
	case median > fsyncSlow:
		c.warn("sync", "use a faster device, or async durability where that is enough", "%s", text)
	default:
		c.ok("sync", "%s", text)
	}
}

func round(d time.Duration) time.Duration {
	if d > time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

func probe(dir string) (took []time.Duration, err error) {
	name := filepath.Join(dir, fmt.Sprintf("doctor-%d.tmp", os.Getpid()))
	f, err := vfs.OS{}.Create(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(name)) }()
	block := make([]byte, 4<<10)
	for range 16 {
		if _, err = f.WriteAt(block, 0); err != nil {
			return nil, err
		}
	}
	if err = f.Sync(); err != nil {
		return nil, err
	}
	begun := time.Now()
	for i := 0; i < probeSyncs && (i == 0 || time.Since(begun) < probeTime); i++ {
		block[0] = byte(i)
		at := time.Now()
		if _, err = f.WriteAt(block, 0); err != nil {
			return nil, err
		}
		if err = f.SyncData(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	return took, nil
}

func (c *checker) version() {
	s := c.s
	switch {
	case IsMissing(s.VersionErr) && len(s.WAL)+len(s.Segments) == 0 && s.CheckpointFile.Path == "" && len(s.Foreign) == 0:
		c.ok("version", "empty: rmq up --data %s begins there", quote(s.Dir))
	case IsMissing(s.VersionErr) && len(s.WAL)+len(s.Segments) == 0 && s.CheckpointFile.Path == "":
		c.fail("version", "give the right directory, or an empty one", "not a data directory: no VERSION, and other files, such as %s", filepath.Base(s.Foreign[0].Path))
	case s.VersionErr != nil:
		c.fail("version", "put VERSION back: its first line is 'rmq data, format 1'", "data is here, and VERSION cannot be read: %v", s.VersionErr)
	default:
		format, known := strings.CutPrefix(s.Format, "rmq data, format ")
		n, err := strconv.Atoi(format)
		switch {
		case !known || err != nil:
			c.fail("version", "give the right directory", "VERSION begins with %q, which is not ours", s.Format[:min(len(s.Format), 40)])
		case n > 1:
			c.fail("version", "use the release that wrote it, or a newer one", "format %d: written by a newer release, this one reads up to 1", n)
		default:
			c.ok("version", "%s, store %s", s.Format, s.Store)
		}
	}
	switch {
	case s.Live:
		c.ok("lock", "open in process %d; files are looked at beside it", s.PID)
	case s.PID > 0:
		c.ok("lock", "free; process %d had it last", s.PID)
	}
}

// started tells whether anything was ever written here.
func (c *checker) started() bool {
	return c.s.VersionErr == nil || len(c.s.WAL) > 0 || len(c.s.Segments) > 0 || c.s.CheckpointFile.Path != ""
}

func (c *checker) wal() {
	s := c.s
	if !c.started() {
		return
	}
	if len(s.WAL) == 0 {
		c.fail("log", "put the files of wal/ back from a copy", "there is no log file: all that no checkpoint speaks of is lost")
		return
	}
	sound, records := true, 0
	for i := range s.WAL {
		f := &s.WAL[i]
		records += f.Records
		name := filepath.Base(f.Path)
		if i > 0 && f.Number != s.WAL[i-1].Number+1 {
			sound = false
			c.fail("log", "put the missing file back, or: "+c.repair(), "files between %s and %s are missing", filepath.Base(s.WAL[i-1].Path), name)
		}
		switch {
		case errors.Is(f.Err, storage.ErrVersion):
			sound = false
			c.fail("log", "use the release that wrote it, or a newer one", "%s: %v", name, f.Err)
		case s.Live && i == len(s.WAL)-1 && len(f.Gaps) > 0:
			c.warn("log", "look again, or stop the broker before", "%s was being written while it was read", name)
		case f.Store != "" && s.Store != "" && f.Store != s.Store:
			sound = false
			c.fail("log", "put the files back that belong together, all from one copy", "%s is of store %s, and VERSION says %s: files of two data directories are mixed", name, f.Store, s.Store)
		case f.Damaged():
			sound = false
			c.fail("log", c.repair(), "%s: %s", name, damageText(f))
		}
	}
	last := &s.WAL[len(s.WAL)-1]
	if sound && last.End == filelog.EndOpen && s.VersionErr == nil {
		c.ok("log", "%d files, %d records, every one chained to the one before; it goes on at byte %d of %s", len(s.WAL), records, last.EndAt, filepath.Base(last.Path))
	} else if sound {
		c.ok("log", "%d files, %d records, every one chained to the one before", len(s.WAL), records)
	}
	if oldest := &s.WAL[0]; sound && len(s.WAL) > 8 {
		c.warn("log", "see which: rmq log inspect "+quote(s.Dir), "%d files are kept; the oldest is needed by shard %s, whose checkpoint does not cover it yet", len(s.WAL), shards(oldest.PinnedBy))
	}
	c.reach(sound)
}

// damageText says what is wrong with a log file, and what stood there as far as that is
// known.
func damageText(f *WALFile) string {
	if f.Err != nil && len(f.Gaps) == 0 {
		return f.Err.Error()
	}
	if len(f.Gaps) == 0 {
		return fmt.Sprintf("bytes from %d on are not whole", f.EndAt)
	}
	g := f.Gaps[0]
	text := fmt.Sprintf("rot: bytes %d to %d were once durable and have changed", g.From, g.To)
	if g.Entry {
		text += fmt.Sprintf(" (entry %d of shard %d, by its damaged head)", g.Index, g.Shard)
	}
	if n := len(f.Gaps); n > 1 {
		text += fmt.Sprintf(", and %d places more", n-1)
	}
	return text
}

// reach compares what the log holds of each shard with its checkpoint.
func (c *checker) reach(sound bool) {
	behind := c.behind()
	if c.s.CheckpointFile.Path == "" && len(behind) > 0 {
		c.fail("checkpoints", "put checkpoints.db back from a copy, with the rest of the directory as of then",
			"checkpoints.db is missing, and the log does not hold the first entries of shards %s, which it stood for", shards(behind))
		return
	}
	if !sound {
		return
	}
	applied := c.s.Applied()
	for _, id := range behind {
		c.fail("log", c.repair(), "shard %d: the log begins at entry %d, and its checkpoint ends at %d: files were removed, or the checkpoint is an old one", id, c.s.first(id), applied[id])
	}
}

// behind are the shards of which the log begins behind their checkpoint.
func (c *checker) behind() (ids []storage.ShardID) {
	applied := c.s.Applied()
	for _, id := range c.s.shards() {
		if c.s.first(id) > applied[id]+1 {
			ids = append(ids, id)
		}
	}
	if len(ids) > 0 && c.s.CheckpointFile.Path == "" && c.s.first(0) == 0 { // it always has entries
		ids = append([]storage.ShardID{0}, ids...)
	}
	return ids
}

func (c *checker) checkpoints() {
	s := c.s
	if s.CheckpointFile.Path == "" {
		if c.started() && len(c.behind()) == 0 {
			c.ok("checkpoints", "none: all is in the log, from its first entry on")
		}
		return
	}
	x, f, err := inspect(s.CheckpointFile.Path)
	if err != nil {
		c.fail("checkpoints", "", "%v", err)
		return
	}
	defer func() { _ = f.Close() }() // only read from
	var problems []string
	if err := x.Check(func(problem error) { problems = append(problems, problem.Error()) }); err != nil {
		problems = append(problems, err.Error())
	}
	if s.CheckpointErr != nil && !slices.Contains(problems, s.CheckpointErr.Error()) {
		problems = append(problems, s.CheckpointErr.Error())
	}
	keys := 0
	for i := range s.Checkpoints {
		p := &s.Checkpoints[i]
		keys += p.Keys
		if p.Err != nil {
			problems = append(problems, fmt.Sprintf("shard %d: %v", p.Shard, p.Err))
			continue
		}
		m, err := restore(x, p.Shard)
		if err != nil {
			problems = append(problems, fmt.Sprintf("shard %d cannot be restored: %v", p.Shard, err))
			continue
		}
		if err := reachOf(x, p.Shard, m, c.logs); err != nil {
			problems = append(problems, fmt.Sprintf("shard %d: what it carries: %v", p.Shard, err))
		}
	}
	if s.Live && len(problems) > 0 && x.Changed() {
		c.warn("checkpoints", "look again, or stop the broker before", "a checkpoint was saved while the file was read")
		return
	}
	if len(problems) == 0 {
		c.ok("checkpoints", "%d shards, %d keys, every page and every checksum right, and every machine can be restored", len(s.Checkpoints), keys)
		return
	}
	for _, p := range problems[:min(len(problems), 5)] {
		c.fail("checkpoints", c.repair(), "%s", p)
	}
	if n := len(problems) - 5; n > 0 {
		c.fail("checkpoints", c.repair(), "and %d problems more", n)
	}
}

func (c *checker) segments() {
	var total, done int64
	for i := range c.s.Segments {
		total += c.s.Segments[i].Bytes
	}
	files, batches, sound := 0, 0, true
	for i := range c.s.Segments {
		l := &c.s.Segments[i]
		if c.ctx.Err() != nil {
			c.warn("segments", "", "interrupted: %d of %d logs were read", i, len(c.s.Segments))
			return
		}
		v := readLog(l, func(n int64) {
			if c.opt.Progress != nil {
				c.opt.Progress(min(done+n, total), total)
			}
		})
		done += l.Bytes
		files += len(l.Files)
		batches += v.batches
		for _, f := range v.findings {
			if f.Level == Fail {
				f.Hint, sound = c.repair(), false
				if c.s.Live {
					f.Level, f.Hint = Warn, "the broker has it open: look again, or stop it before"
				}
			}
			c.tell(f)
		}
		at := c.logs[l.ID]
		if at.holds() && v.end < at.end && sound && !c.s.Live {
			sound = false
			c.fail("segments", "put the missing files back from a copy, or: "+c.repair(),
				"log %d of shard %d (%s) ends at offset %d, and by its checkpoint it holds all before %d: files were removed", l.ID.Log, l.ID.Shard, at.Address, v.end, at.end)
		}
	}
	for id, at := range c.logs {
		if at.carried > 0 {
			c.warn("segments", "start the broker: it writes them, or says in rmq status why not",
				"the segment of log %d of shard %d (%s) was not written: the checkpoint carries %d batches from offset %d on", id.Log, id.Shard, at.name(), at.carried, at.end)
		}
		if !at.holds() {
			continue
		}
		if !slices.ContainsFunc(c.s.Segments, func(l SegmentLog) bool { return l.ID == id }) {
			c.fail("segments", "put its directory back from a copy", "log %d of shard %d (%s) holds offsets %d to %d by its checkpoint, and has no segment", id.Log, id.Shard, at.Address, at.Start, at.Next-1)
		}
	}
	if sound && len(c.s.Segments) > 0 {
		c.ok("segments", "%d logs, %d files, %d batches, every checksum right", len(c.s.Segments), files, batches)
	}
}

// verdict is what the files of one log came to.
type verdict struct {
	findings []Finding
	batches  int
	end      int64 // one past the last offset
	// damaged are the files with gaps or damaged headers; stale those whose index is missing,
	// damaged or wrong, and that are whole.
	damaged, stale []string
	// missing are files before which another was removed.
	missing []string
}

// readLog reads every batch of a log.
func readLog(l *SegmentLog, progress func(n int64)) (v verdict) {
	name := fmt.Sprintf("log %d of shard %d", l.ID.Log, l.ID.Shard)
	say := func(level Level, format string, args ...any) {
		v.findings = append(v.findings, Finding{Check: "segments", Level: level, Text: name + ": " + fmt.Sprintf(format, args...)})
	}
	var read int64
	for i, f := range l.Files {
		base, _ := segment.FileBase(f.Path)
		last := i == len(l.Files)-1
		file := filepath.Base(f.Path)
		if i > 0 && base < v.end && f.Bytes > 0 && !slices.Contains(v.damaged, l.Files[i-1].Path) {
			say(OK, "%s was replaced by the file before it: the next writer removes it", file)
			continue
		}
		if i > 0 && base > v.end && !slices.Contains(v.damaged, l.Files[i-1].Path) {
			v.missing = append(v.missing, f.Path)
			say(Fail, "offsets %d to %d are missing before %s: a file was removed", v.end, base-1, file)
		}
		w, err := readSegment(f, !last, func() { read++; progress(read) })
		if err != nil {
			say(Fail, "%s: %v", file, err)
			v.damaged = append(v.damaged, f.Path)
			continue
		}
		v.batches += w.batches
		v.end = max(v.end, w.end)
		switch {
		case errors.Is(w.header, segment.ErrVersion):
			say(Fail, "%s: %v", file, w.header)
			continue
		case w.header != nil:
			say(Fail, "%s: damaged header", file)
		}
		for _, g := range w.gaps {
			say(Fail, "%s: rot at bytes %d to %d: %s", file, g.From, g.To, lostText(&g))
		}
		switch {
		case w.header != nil || len(w.gaps) > 0:
			v.damaged = append(v.damaged, f.Path)
		case w.torn >= 0:
			say(OK, "%s: torn by a crash at byte %d, behind what was durable: the next open cuts it", file, w.torn)
		case w.indexProblem != "":
			say(Warn, "%s: %s; it is made anew when it is wanted", file, w.indexProblem)
			v.stale = append(v.stale, f.Path)
		}
	}
	return v
}

func lostText(g *segment.Gap) string {
	switch {
	case g.Before < 0:
		return fmt.Sprintf("offsets from %d on are lost in it", g.After)
	case g.Before == g.After:
		return "no offset is lost"
	}
	return fmt.Sprintf("offsets %d to %d are lost", g.After, g.Before-1)
}

// segmentRead is what one file came to.
type segmentRead struct {
	header       error
	gaps         []segment.Gap
	torn         int64
	end          int64
	batches      int
	indexProblem string
}

func readSegment(f File, followed bool, progress func()) (w segmentRead, err error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return w, err
	}
	defer func() { _ = file.Close() }() // only read from
	base, _ := segment.FileBase(f.Path)
	idx, idxErr := readIndex(f.Path)
	durable := int64(0)
	if idxErr == nil {
		durable = idx.Size
	}
	r, err := segment.NewFileReader(file, f.Bytes, base, durable, followed)
	if err != nil {
		return w, err
	}
	entry, wrong := 0, 0
	for r.Next() {
		w.batches++
		if w.batches%1000 == 0 {
			progress()
		}
		for entry < len(idx.Entries) && idx.Entries[entry].Pos <= r.Pos() {
			latest, known := r.LatestBefore()
			if !known {
				latest = math.MinInt64
			}
			if e := idx.Entries[entry]; e.Pos != r.Pos() || e.Offset != r.Batch().BaseOffset() || e.Latest != latest {
				wrong++
			}
			entry++
		}
	}
	w.header, w.gaps, w.torn, w.end = r.HeaderErr(), r.Gaps(), r.Torn(), r.End()
	switch {
	case IsMissing(idxErr) && followed:
		w.indexProblem = "its index is missing"
	case IsMissing(idxErr): // the last file has one only now and then
	case idxErr != nil:
		w.indexProblem = "its index is damaged"
	case wrong+len(idx.Entries)-entry > 0:
		w.indexProblem = fmt.Sprintf("%d entries of its index stand for no batch", wrong+len(idx.Entries)-entry)
	}
	return w, r.Err()
}

func readIndex(seg string) (segment.Index, error) {
	f, err := os.Open(strings.TrimSuffix(seg, ".seg") + ".idx")
	if err != nil {
		return segment.Index{}, err
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	if err != nil {
		return segment.Index{}, err
	}
	return segment.ReadIndex(f, info.Size())
}

func (c *checker) left() {
	if n := len(c.s.Left); n > 0 && !c.s.Live {
		c.ok("leftovers", "%d files or directories of a process that was killed, such as %s: the next start removes what it needs to", n, filepath.Base(c.s.Left[0].Path))
	}
	for _, f := range c.s.Foreign[:min(len(c.s.Foreign), 3)] {
		if c.started() {
			c.warn("other files", "", "%s is not ours; it is left alone", f.Path)
		}
	}
}

func (c *checker) ports() {
	if c.s.Live {
		return
	}
	var taken []string
	for _, at := range c.opt.Listen {
		var lc net.ListenConfig
		l, err := lc.Listen(c.ctx, "tcp", at)
		if err != nil {
			taken = append(taken, at)
			continue
		}
		_ = l.Close() // it was only tried
	}
	switch {
	case len(taken) > 0:
		c.warn("ports", "rmq status --all   or other ports: rmq up --any-port", "in use: %s", strings.Join(taken, ", "))
	case len(c.opt.Listen) > 0:
		c.ok("ports", "%d ports are free", len(c.opt.Listen))
	}
}

func (c *checker) clock() {
	newest := time.UnixMilli(c.s.Newest)
	switch behind := newest.Sub(c.opt.Now); {
	case c.s.Newest == 0:
	case behind > time.Second:
		c.warn("clock", "set the clock right, then start", "%s behind the newest entry of the log (%s): time stands still for expiry, delays and retention until the clock gets there",
			behind.Round(time.Second), newest.UTC().Format(time.RFC3339))
	default:
		c.ok("clock", "%s after the newest entry of the log", (-behind).Round(time.Second))
	}
}

func (c *checker) limits() {
	if soft, hard, known := openFiles(); known {
		if soft < filesWarn {
			c.warn("open files", fmt.Sprintf("ulimit -n %d", min(hard, 65536)), "%d at most for one process (at most %d could be asked for): each client takes one", soft, hard)
		} else {
			c.ok("open files", "%d at most for one process", soft)
		}
	}
	if free, known := memory(); known {
		if free < memoryWarn {
			c.warn("memory", "", "%s are available", size(free))
		} else {
			c.ok("memory", "%s are available", size(free))
		}
	}
}

// memory is what the system can give without swapping.
func memory() (free uint64, known bool) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemAvailable:" {
			kib, err := strconv.ParseUint(f[1], 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}
