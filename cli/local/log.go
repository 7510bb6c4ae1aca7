package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/doctor"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/cli/env"
)

// NewLog returns `rmq log`.
func NewLog(e *env.Env) *cobra.Command {
	return env.Noun("log", "Look into the files of a data directory", newInspect(e))
}

// inspection is one call of `rmq log inspect`.
type inspection struct {
	e      *env.Env
	ctx    context.Context
	shards []uint
	from   int64
	to     int64
	n      int64
	deep   bool // --records
	keys   bool
	shown  int64 // rows, of n

	damaged bool
}

func newInspect(e *env.Env) *cobra.Command {
	x := &inspection{e: e}
	var from, to string
	cmd := &cobra.Command{
		Use:   "inspect PATH...",
		Short: "Show what a data directory or one of its files holds, and what is damaged in it",
		Long: "Show what a data directory holds: its files, what pins them, its checkpoints. Or what one of its files does,\n" +
			"record by record: a log file (.wal, .spare), a segment (.seg) or its index (.idx), checkpoints.db.\n\n" +
			"Nothing is written and no lock is taken, so a directory may be looked at while a broker runs on it; what is\n" +
			"shown may then be a moment old. Damage is shown where it lies, and reading goes on behind it where that is\n" +
			"possible. The exit code is 9 when something is damaged.",
		Example: "  rmq log inspect /var/lib/rmq\n  rmq log inspect /var/lib/rmq/wal/0000000000000001.wal --shard 1 --from 1000 -n 20\n" +
			"  rmq log inspect /var/lib/rmq/segments/00000001/0000000000000005 --records -o json\n  rmq log inspect /var/lib/rmq/checkpoints.db --keys",
		Args: env.AtLeast("PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			x.ctx = cmd.Context()
			var err error
			if x.from, err = position("from", from, 0); err != nil {
				return err
			}
			if x.to, err = position("to", to, math.MaxInt64); err != nil {
				return err
			}
			for i, path := range args {
				if i > 0 && e.Format() == env.FormatTable {
					fmt.Fprintln(e.Out)
				}
				if err := x.path(path); err != nil {
					return err
				}
			}
			if x.damaged {
				f := env.Failf(env.Negative, "damaged")
				f.Hint = "rmq doctor DIR says what to do"
				return f
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.UintSliceVar(&x.shards, "shard", nil, "only what is of these shards")
	f.StringVar(&from, "from", "", "only from this index (log) or offset (segment) on")
	f.StringVar(&to, "to", "", "only up to this index or offset")
	f.Int64VarP(&x.n, "count", "n", 0, "at most so many rows; 0: all")
	f.BoolVar(&x.deep, "records", false, "show the commands of entries and the records of batches too")
	f.BoolVar(&x.keys, "keys", false, "list the keys of checkpoints")
	return cmd
}

// position reads an index or an offset.
func position(flag, s string, otherwise int64) (int64, error) {
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		f := env.Failf(env.Usage, "--%s %s is neither an index nor an offset", flag, env.Quote(s))
		f.Hint = "a number from 0 on"
		return 0, f
	}
	return n, nil
}

// path shows what lies there.
func (x *inspection) path(path string) error {
	path = filepath.Clean(path)
	info, err := os.Stat(path)
	if err != nil {
		return missing(err)
	}
	if !info.IsDir() {
		return x.file(path, info.Size(), false)
	}
	if _, err := os.Stat(filepath.Join(path, filelog.VersionFile)); err == nil {
		return x.directory(path)
	}
	if _, err := os.Stat(filepath.Join(path, filelog.WALDir)); err == nil {
		return x.directory(path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	shown := 0
	for _, e := range entries {
		name := filepath.Join(path, e.Name())
		if e.IsDir() || !strings.HasSuffix(name, ".wal") && !strings.HasSuffix(name, ".seg") {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // it went meanwhile
		}
		if err := x.file(name, info.Size(), hasLater(entries, e.Name())); err != nil {
			return err
		}
		shown++
	}
	if shown == 0 {
		return notOurs(path)
	}
	return nil
}

// hasLater tells whether a file of the same kind follows.
func hasLater(entries []os.DirEntry, name string) bool {
	later := false
	for _, e := range entries {
		later = later || filepath.Ext(e.Name()) == filepath.Ext(name) && len(e.Name()) == len(name) && e.Name() > name
	}
	return later
}

// missing is a path that cannot be looked at.
func missing(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &env.Failure{Exit: env.NotFound, What: err.Error(), Hint: "rmq status shows the directory of a broker that runs", Err: err}
	case errors.Is(err, os.ErrPermission):
		return &env.Failure{Exit: env.Auth, What: err.Error(), Hint: "be the user that the broker runs as", Err: err}
	}
	return err
}

func notOurs(path string) error {
	f := env.Failf(env.Usage, "%s is neither a data directory nor a file of one", env.Quote(path))
	f.Hint = "rmq log inspect DIR, or DIR/wal/*.wal, DIR/segments/*/*/*.seg, DIR/checkpoints.db"
	return f
}

// file shows a file by what it begins with, or else by its name.
func (x *inspection) file(path string, size int64, followed bool) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return missing(err)
	}
	defer func() { _ = f.Close() }() // only read from
	head := make([]byte, 64)
	n, _ := f.ReadAt(head, 0) // a short one is what it is
	head = head[:n]
	if !followed {
		if entries, err := os.ReadDir(filepath.Dir(path)); err == nil {
			followed = hasLater(entries, filepath.Base(path))
		}
	}
	switch ext := filepath.Ext(path); {
	case bytes.HasPrefix(head, []byte("rmq-wal\n")), ext == ".wal", ext == ".spare":
		return x.wal(f, path, size, followed && ext == ".wal")
	case bytes.HasPrefix(head, []byte("rmq-seg\n")), ext == ".seg":
		return x.segment(f, path, size, followed)
	case bytes.HasPrefix(head, []byte("rmq-idx\n")), ext == ".idx":
		return x.index(f, path, size)
	case len(head) >= 20 && bytes.Equal(head[16:20], []byte{0xED, 0xDA, 0x0C, 0xED}), filepath.Base(path) == filelog.CheckpointFile:
		return x.checkpoints(f, path, size)
	}
	return notOurs(path)
}

// wants tells whether something of a shard and at a position was asked for.
func (x *inspection) wants(shard storage.ShardID, at int64) bool {
	if at < x.from || at > x.to {
		return false
	}
	return x.wantsShard(shard)
}

func (x *inspection) wantsShard(shard storage.ShardID) bool {
	for _, s := range x.shards {
		if uint64(s) == uint64(shard) {
			return true
		}
	}
	return len(x.shards) == 0
}

// filtered tells whether only some was asked for.
func (x *inspection) filtered() bool { return len(x.shards) > 0 || x.ranged() }

// ranged tells whether only a range was asked for.
func (x *inspection) ranged() bool { return x.from > 0 || x.to < math.MaxInt64 }

// full tells whether as many rows were shown as were asked for.
func (x *inspection) full() bool { return x.n > 0 && x.shown >= x.n }

// ---- rows that are written as they come: files may be larger than memory

type column struct {
	name  string
	width int // 0: as it comes; the last one
	right bool
}

// head begins a table.
func (x *inspection) head(cols []column) error {
	if x.e.Format() != env.FormatTable {
		return nil
	}
	cells := make([]any, len(cols))
	for i := range cols {
		cells[i] = cols[i].name
	}
	return x.row(cols, nil, cells...)
}

// row writes one row; data is what machines get.
func (x *inspection) row(cols []column, data any, cells ...any) error {
	if err := context.Cause(x.ctx); err != nil {
		return err
	}
	switch x.e.Format() {
	case env.FormatJSON:
		return x.e.PrintLine(data)
	case env.FormatYAML:
		return x.e.PrintDocument(data)
	case env.FormatText:
		texts := make([]string, len(cells))
		for i := range cells {
			texts[i] = env.Clean(fmt.Sprint(cells[i]))
		}
		_, err := fmt.Fprintln(x.e.Out, strings.Join(texts, "\t"))
		return err
	}
	var b strings.Builder
	for i, c := range cells {
		s := env.Clean(fmt.Sprint(c))
		if i > 0 {
			b.WriteString("  ")
		}
		gap := strings.Repeat(" ", max(0, cols[i].width-env.Width(s)))
		switch {
		case cols[i].right:
			b.WriteString(gap + s)
		case i == len(cells)-1:
			b.WriteString(s)
		default:
			b.WriteString(s + gap)
		}
	}
	_, err := fmt.Fprintln(x.e.Out, b.String())
	return err
}

// detail writes a line that belongs to the row before it; machines have it in the row.
func (x *inspection) detail(format string, args ...any) error {
	f := x.e.Format()
	if f == env.FormatJSON || f == env.FormatYAML {
		return nil
	}
	_, err := fmt.Fprintln(x.e.Out, "    "+env.Clean(fmt.Sprintf(format, args...)))
	return err
}

// note writes a line about the file as a whole: for people only.
func (x *inspection) note(format string, args ...any) error {
	if x.e.Format() != env.FormatTable {
		return nil
	}
	_, err := fmt.Fprintln(x.e.Out, env.Clean(fmt.Sprintf(format, args...)))
	return err
}

// bad notes damage, which is shown whatever was filtered.
func (x *inspection) bad(data any, format string, args ...any) error {
	x.damaged = true
	text := fmt.Sprintf(format, args...)
	switch x.e.Format() {
	case env.FormatJSON:
		return x.e.PrintLine(data)
	case env.FormatYAML:
		return x.e.PrintDocument(data)
	case env.FormatText:
		_, err := fmt.Fprintln(x.e.Out, "damaged\t"+env.Clean(text))
		return err
	}
	_, err := fmt.Fprintln(x.e.Out, "! "+env.Clean(text))
	return err
}

func millis(ms int64) string {
	if ms <= 0 || ms > 1<<52 {
		return fmt.Sprint(ms)
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// ---- the directory

func (x *inspection) directory(dir string) error {
	s, err := doctor.Look(dir)
	if err != nil {
		return missing(err)
	}
	now := x.e.Now()
	v := env.View{Schema: "rmq.log/1", Data: s}
	add := func(name string, value any) { v.Fields = append(v.Fields, env.Field{Name: name, Value: value}) }
	add("directory", dir)
	add("format", s.Format)
	add("store", s.Store)
	live := "no"
	if s.Live {
		live = "yes"
		if s.PID > 0 {
			live = fmt.Sprintf("in process %d; what follows may be a moment old", s.PID)
		}
	}
	add("open", live)
	add("size", env.Bytes(s.Bytes))
	if s.Newest > 0 {
		add("newest entry", env.Ago{At: time.UnixMilli(s.Newest).UTC(), Now: now})
	}
	wal := env.Table{Title: "wal", Head: []string{"LOG FILE", "SIZE", "USED", "RECORDS", "ENTRIES BY SHARD", "PINNED BY SHARD", "STATE"}}
	for i := range s.WAL {
		f := &s.WAL[i]
		var spans []string
		for _, p := range f.Shards {
			spans = append(spans, fmt.Sprintf("%d: %d-%d", p.Shard, p.First, p.Last))
		}
		pins := strings.Trim(fmt.Sprint(f.PinnedBy), "[]")
		if pins == "" && i < len(s.WAL)-1 {
			pins = "-"
		}
		wal.Rows = append(wal.Rows, []any{filepath.Base(f.Path), env.Bytes(f.Bytes), env.Bytes(f.EndAt), f.Records, strings.Join(spans, ", "), pins, walState(f)})
		if f.Damaged() {
			x.damaged = true
			v.Warnings = append(v.Warnings, filepath.Base(f.Path)+": "+walState(f))
		}
	}
	for _, f := range s.Spares {
		wal.Rows = append(wal.Rows, []any{filepath.Base(f.Path), env.Bytes(f.Bytes), env.Bytes(0), 0, "", "", "spare"})
	}
	points := env.Table{Title: "checkpoint", Head: []string{"CHECKPOINT OF", "INDEX", "TERM", "KEYS", "SIZE", "HOLDS", "SAVED"}}
	for i := range s.Checkpoints {
		c := &s.Checkpoints[i]
		var kinds []string
		for _, k := range c.Kinds {
			kinds = append(kinds, fmt.Sprintf("%d %s", k.Keys, k.Kind))
		}
		what := strings.Join(kinds, ", ") + c.After()
		if c.Err != nil {
			what, x.damaged = "damaged: "+c.Err.Error(), true
		}
		points.Rows = append(points.Rows, []any{fmt.Sprintf("shard %d", c.Shard), c.Index, c.Term, c.Keys, env.Bytes(c.Bytes), what, env.Ago{At: s.CheckpointFile.Time, Now: now}})
	}
	if s.CheckpointErr != nil {
		x.damaged = true
		v.Warnings = append(v.Warnings, filelog.CheckpointFile+": "+s.CheckpointErr.Error())
	}
	segs := env.Table{Title: "segments", Head: []string{"SEGMENTS OF SHARD", "LOG", "FILES", "INDEXES", "SIZE", "DIRECTORY"}}
	for i := range s.Segments {
		l := &s.Segments[i]
		if !x.wantsShard(l.ID.Shard) {
			continue
		}
		rel, _ := filepath.Rel(dir, l.Dir) // both are ours
		segs.Rows = append(segs.Rows, []any{uint32(l.ID.Shard), l.ID.Log, len(l.Files), l.Indexes, env.Bytes(l.Bytes), rel})
	}
	rest := env.Table{Title: "other", Head: []string{"OTHER FILE", "SIZE", "WHAT"}}
	for _, f := range s.Left {
		rest.Rows = append(rest.Rows, []any{f.Path, env.Bytes(f.Bytes), "left by a process that was killed"})
	}
	for _, f := range s.Foreign {
		rest.Rows = append(rest.Rows, []any{f.Path, env.Bytes(f.Bytes), "not ours"})
	}
	v.Tables = []env.Table{wal, points, segs, rest}
	return x.e.Print(v)
}

func walState(f *doctor.WALFile) string {
	switch {
	case f.Err != nil:
		return "damaged: " + f.Err.Error()
	case len(f.Gaps) > 0:
		return fmt.Sprintf("damaged at byte %d, and at %d places in all", f.Gaps[0].From, len(f.Gaps))
	case f.End == filelog.EndSuccessor:
		return "ended"
	}
	return "being written"
}
