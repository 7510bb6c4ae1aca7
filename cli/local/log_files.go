package local

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/doctor"
	kmeta "github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/segment"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/meta"
	"github.com/robustmq/rmq/cli/env"
)

// What machines get of files: one value a line, of which Type says what it is.

type fileLine struct {
	Type   string `json:"type"` // wal, segment, index or checkpoints
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Number uint64 `json:"number,omitempty"`
	Base   *int64 `json:"base_offset,omitempty"`
	Salt   string `json:"salt,omitempty"`
	ID     string `json:"id,omitempty"`
	Marked int64  `json:"durable,omitempty"`
	Error  string `json:"error,omitempty"`
}

type recordLine struct {
	Type    string         `json:"type"` // record
	At      int64          `json:"at"`
	Bytes   int64          `json:"bytes"`
	Op      string         `json:"op"`
	CRC     string         `json:"crc"`
	Shard   *uint32        `json:"shard,omitempty"`
	Index   uint64         `json:"index,omitempty"`
	Term    uint64         `json:"term,omitempty"`
	Kind    uint8          `json:"kind,omitempty"`
	Vote    uint64         `json:"vote,omitempty"`
	Commit  uint64         `json:"commit,omitempty"`
	Durable int64          `json:"durable,omitempty"`
	Resumed bool           `json:"resumed,omitempty"`
	Entry   *entryLine     `json:"entry,omitempty"`
	Origin  uint64         `json:"origin,omitempty"` // who proposed a command of log 0
	Number  uint64         `json:"number,omitempty"` // which of its commands
	Meta    *kmeta.Command `json:"command,omitempty"`
	Error   string         `json:"error,omitempty"` // what the entry holds does not parse
}

type entryLine struct {
	Time        int64         `json:"time"`
	Incarnation uint64        `json:"incarnation"`
	Link        uint32        `json:"link"`
	Seq         uint64        `json:"seq"`
	Batches     []batchLine   `json:"batches"`
	Commands    []commandLine `json:"commands"`
}

type commandLine struct {
	Op     string         `json:"op"`
	Fields map[string]any `json:"fields,omitempty"`
}

type batchLine struct {
	Type     string     `json:"type,omitempty"` // batch, in a segment
	At       int64      `json:"at,omitempty"`
	Log      *uint64    `json:"log,omitempty"` // in an entry
	Base     int64      `json:"base_offset"`
	Last     int64      `json:"last_offset"`
	Count    int32      `json:"count"`
	Bytes    int        `json:"bytes"`
	Codec    string     `json:"codec"`
	BaseTime int64      `json:"base_time"`
	MaxTime  int64      `json:"max_time"`
	Epoch    int32      `json:"leader_epoch"`
	Producer *int64     `json:"producer,omitempty"`
	Sequence int32      `json:"base_sequence,omitempty"`
	Flags    []string   `json:"flags,omitempty"`
	CRC      string     `json:"crc"`
	Records  []bodyLine `json:"records,omitempty"`
	Error    string     `json:"error,omitempty"`
}

type bodyLine struct {
	Offset  int64    `json:"offset"`
	Time    int64    `json:"time"`
	Key     *string  `json:"key"`
	Value   *string  `json:"value"`
	Bytes   int      `json:"value_bytes"`
	Headers []string `json:"headers,omitempty"`
}

type damageLine struct {
	Type   string `json:"type"` // damage
	From   int64  `json:"from"`
	To     int64  `json:"to,omitempty"`
	Reason string `json:"reason"`
}

type endLine struct {
	Type    string `json:"type"` // end
	At      int64  `json:"at"`
	Kind    string `json:"kind"`
	Records int    `json:"records"`
	Shown   int64  `json:"shown"`
}

// recordsMax bounds the records of one batch that are shown, and previewMax how much of a
// value, in bytes.
const (
	recordsMax = 10_000
	previewMax = 200
)

// ---- log files

var walColumns = []column{{"POSITION", 10, true}, {"BYTES", 8, true}, {"WHAT", 5, false}, {"SHARD", 5, true}, {"INDEX", 9, true}, {"TERM", 5, true}, {"HOLDS", 0, false}}

func (x *inspection) wal(f *os.File, path string, size int64, followed bool) error {
	number, _ := filelog.WALNumber(path)
	r, err := filelog.NewWALReader(f, size, number, followed)
	if err != nil {
		return err
	}
	h := r.Header()
	line := fileLine{Type: "wal", Path: path, Size: size, Number: h.Number, Salt: fmt.Sprintf("%016x", h.Salt)}
	if err := r.HeaderErr(); err != nil {
		line.Error = err.Error()
	}
	if err := x.opening(line, "%s: log file %d, %s, salt %s", path, h.Number, env.Bytes(size), line.Salt); err != nil {
		return err
	}
	if err := r.HeaderErr(); err != nil {
		if err := x.bad(damageLine{"damage", 0, 40, err.Error()}, "header: %v", err); err != nil {
			return err
		}
	}
	if err := x.head(walColumns); err != nil {
		return err
	}
	n, gaps := 0, 0
	for r.Next() {
		n++
		if gaps, err = x.walGaps(r, gaps); err != nil {
			return err
		}
		rec := r.Record()
		if x.full() {
			continue // damage behind is still told
		}
		if err := x.walRecord(&rec); err != nil {
			return err
		}
	}
	if _, err := x.walGaps(r, gaps); err != nil {
		return err
	}
	if r.Err() != nil {
		if err := x.bad(damageLine{"damage", r.End().At, 0, r.Err().Error()}, "byte %d: %v", r.End().At, r.Err()); err != nil {
			return err
		}
	}
	return x.walEnd(r, n, size)
}

// opening says what the file is.
func (x *inspection) opening(line fileLine, format string, args ...any) error {
	switch x.e.Format() {
	case env.FormatJSON:
		return x.e.PrintLine(line)
	case env.FormatYAML:
		return x.e.PrintDocument(line)
	}
	return x.note(format, args...)
}

func (x *inspection) walRecord(rec *filelog.WALRecord) error {
	id := uint32(rec.Shard)
	line := recordLine{Type: "record", At: rec.At, Bytes: rec.Bytes, Op: rec.Op, CRC: fmt.Sprintf("%08x", rec.CRC), Resumed: rec.Resumed}
	cells := []any{rec.At, rec.Bytes, rec.Op, "", "", ""}
	holds := ""
	switch rec.Op {
	case "entry":
		if !x.wants(rec.Shard, int64(rec.Index)) {
			return nil
		}
		line.Shard, line.Index, line.Term, line.Kind = &id, rec.Index, rec.Term, rec.Kind
		cells[3], cells[4], cells[5] = id, rec.Index, rec.Term
		holds = x.entry(rec, &line)
	case "hard":
		if !x.wantsShard(rec.Shard) || x.ranged() {
			return nil
		}
		line.Shard, line.Term, line.Vote, line.Commit = &id, rec.Term, rec.Vote, rec.Commit
		cells[3], cells[5] = id, rec.Term
		holds = fmt.Sprintf("committed up to %d, vote for %d", rec.Commit, rec.Vote)
	case "mark":
		line.Durable = rec.Durable
		holds = fmt.Sprintf("durable up to byte %d, by process %08x", rec.Durable, rec.Process)
	case "base":
		holds = "the hard state of every shard stands before this"
		for id, last := range rec.Lasts {
			holds += fmt.Sprintf("; shard %d ended at %d", id, last)
		}
	case "end":
		holds = "another file follows"
	}
	if x.filtered() && rec.Op != "entry" && rec.Op != "hard" {
		return nil
	}
	x.shown++
	if err := x.row(walColumns, line, append(cells, holds)...); err != nil {
		return err
	}
	if !x.deep {
		return nil
	}
	if line.Entry != nil {
		for _, b := range line.Entry.Batches {
			if err := x.batchDetail(&b); err != nil {
				return err
			}
		}
		d, _ := shard.Describe(rec.Data) // what parsed before
		for _, c := range d.Commands {
			if err := x.detail("%s", c); err != nil {
				return err
			}
		}
	}
	return nil
}

// entry says in a line what an entry holds, and fills in what machines get.
func (x *inspection) entry(rec *filelog.WALRecord, line *recordLine) string {
	switch {
	case rec.Kind == storage.KindMembers:
		return "a change of the members"
	case rec.Kind != 0:
		return fmt.Sprintf("raft's own, kind %d, %d bytes", rec.Kind, len(rec.Data))
	case len(rec.Data) == 0:
		return "empty: a leader's first"
	case rec.Shard == 0:
		origin, number, c, err := kmeta.Describe(rec.Data)
		if err != nil {
			line.Error = err.Error()
			return "does not parse: " + line.Error
		}
		line.Origin, line.Number, line.Meta = origin, number, &c
		return millis(c.Time) + " " + metaText(&c)
	}
	d, err := shard.Describe(rec.Data)
	if err != nil {
		line.Error = err.Error()
	}
	e := entryLine{Time: d.Time, Incarnation: d.Incarnation, Link: d.Link, Seq: d.Seq, Batches: []batchLine{}, Commands: []commandLine{}}
	var parts []string
	for i := range d.Batches {
		b := &d.Batches[i]
		l := x.batch(b.Batch)
		l.Log = &b.Log
		if x.deep {
			l.Records, l.Error = bodies(b.Batch)
		}
		e.Batches = append(e.Batches, l)
		parts = append(parts, fmt.Sprintf("log %d: %d records, %s", b.Log, b.Batch.Count(), env.Bytes(len(b.Batch))))
	}
	var names []string
	counts := map[string]int{}
	for _, c := range d.Commands {
		if counts[c.Op]++; counts[c.Op] == 1 {
			names = append(names, c.Op)
		}
		l := commandLine{Op: c.Op, Fields: map[string]any{}}
		for _, f := range c.Fields {
			l.Fields[f.Name] = f.Value
		}
		e.Commands = append(e.Commands, l)
	}
	for i, n := range names {
		if counts[n] > 1 {
			names[i] = fmt.Sprintf("%d×%s", counts[n], n)
		}
	}
	line.Entry = &e
	text := fmt.Sprintf("%s #%d.%d.%d", millis(d.Time), d.Incarnation, d.Link, d.Seq)
	if len(parts) > 0 {
		text += "; " + strings.Join(parts, "; ")
	}
	if len(names) > 0 {
		text += "; " + strings.Join(names, " ")
	}
	if err != nil {
		text += "; the rest does not parse: " + err.Error()
	}
	return text
}

func metaText(c *kmeta.Command) string {
	text := c.Op.String()
	switch {
	case c.Stream != nil:
		text += fmt.Sprintf(" %q, %d partitions", c.Stream.Address, c.Stream.Partitions)
	case c.Queue != nil:
		text += fmt.Sprintf(" %q", c.Queue.Name)
	case c.Exchange != nil:
		text += fmt.Sprintf(" %q", c.Exchange.Name)
	case c.Binding != nil:
		text += fmt.Sprintf(" %q to %q by %q", c.Binding.Source, c.Binding.Destination, c.Binding.Key)
	case c.User != nil:
		text += fmt.Sprintf(" %q", c.User.Name)
	case c.Name != "":
		text += fmt.Sprintf(" %q", c.Name)
	case c.Namespace != "":
		text += fmt.Sprintf(" %q", c.Namespace)
	}
	return text
}

// walGaps tells the damage that was met since the last call.
func (x *inspection) walGaps(r *filelog.WALReader, told int) (int, error) {
	for _, g := range r.Gaps()[told:] {
		what := "what stood there is not known"
		if g.Entry {
			what = fmt.Sprintf("an entry stood there, by its damaged head: %d of shard %d", g.Index, g.Shard)
		}
		err := x.bad(damageLine{"damage", g.From, g.To, "bytes that were once durable are not whole: " + what},
			"bytes %d to %d were once durable and are not whole now; %s", g.From, g.To, what)
		if err != nil {
			return told, err
		}
	}
	return len(r.Gaps()), nil
}

func (x *inspection) walEnd(r *filelog.WALReader, n int, size int64) error {
	end := r.End()
	var text string
	switch end.Kind {
	case filelog.EndSuccessor:
		text = fmt.Sprintf("%d records; ended in order at byte %d, another file follows", n, end.At)
	case filelog.EndRot:
		text = fmt.Sprintf("%d records; nothing is readable from byte %d on, of %d that were durable", n, end.At, r.Durable())
	default:
		text = fmt.Sprintf("%d records; the log goes on at byte %d of %d, and nothing behind was ever durable", n, end.At, size)
	}
	if x.full() {
		text += fmt.Sprintf("; %d rows shown", x.shown)
	}
	return x.ending(endLine{"end", end.At, string(end.Kind), n, x.shown}, text)
}

func (x *inspection) ending(line endLine, text string) error {
	switch x.e.Format() {
	case env.FormatJSON:
		return x.e.PrintLine(line)
	case env.FormatYAML:
		return x.e.PrintDocument(line)
	}
	return x.note("%s", text)
}

// ---- batches

var batchColumns = []column{{"POSITION", 10, true}, {"BYTES", 8, true}, {"BASE", 9, true}, {"LAST", 9, true}, {"RECORDS", 7, true}, {"CODEC", 6, false}, {"LATEST", 24, false}, {"EPOCH", 5, true}, {"PRODUCER", 0, false}}

func (x *inspection) batch(b record.Batch) batchLine {
	l := batchLine{
		Base: b.BaseOffset(), Last: b.LastOffset(), Count: b.Count(), Bytes: len(b), Codec: b.Codec().String(),
		BaseTime: b.BaseTime(), MaxTime: b.MaxTime(), Epoch: b.LeaderEpoch(), CRC: fmt.Sprintf("%08x", b.CRC()),
	}
	if b.HasProducer() {
		id := b.ProducerID()
		l.Producer, l.Sequence = &id, b.BaseSequence()
	}
	for _, f := range []struct {
		on   bool
		name string
	}{{b.AppendTime(), "append-time"}, {b.Transactional(), "transactional"}, {b.Control(), "control"}, {b.Made(), "made"}} {
		if f.on {
			l.Flags = append(l.Flags, f.name)
		}
	}
	return l
}

// bodies are the records of a batch, at most recordsMax.
func bodies(b record.Batch) (out []bodyLine, problem string) {
	var r record.Reader
	if err := r.Reset(b); err != nil {
		return nil, err.Error()
	}
	for r.Next() {
		if len(out) == recordsMax {
			return out, fmt.Sprintf("only the first %d records are shown", recordsMax)
		}
		rec := r.Record()
		l := bodyLine{Offset: rec.Offset, Time: rec.Time, Key: preview(rec.Key), Value: preview(rec.Value), Bytes: len(rec.Value)}
		for _, h := range rec.Headers {
			l.Headers = append(l.Headers, strings.Clone(h.Name))
		}
		out = append(out, l)
	}
	if r.Err() != nil {
		problem = r.Err().Error()
	}
	return out, problem
}

func preview(b []byte) *string {
	if b == nil {
		return nil
	}
	s := env.Preview(b, previewMax)
	return &s
}

func (x *inspection) batchDetail(l *batchLine) error {
	if l.Log != nil {
		if err := x.detail("batch for log %d: %d records, %d bytes, codec %s", *l.Log, l.Count, l.Bytes, l.Codec); err != nil {
			return err
		}
	}
	null := func(s *string) string {
		if s == nil {
			return "null"
		}
		return strconv.Quote(*s)
	}
	for i := range l.Records {
		r := &l.Records[i]
		text := fmt.Sprintf("record %d at %s: key %s, value %s (%d bytes)", r.Offset, millis(r.Time), null(r.Key), null(r.Value), r.Bytes)
		if len(r.Headers) > 0 {
			text += ", headers " + strings.Join(r.Headers, " ")
		}
		if err := x.detail("%s", text); err != nil {
			return err
		}
	}
	if l.Error != "" {
		return x.detail("%s", l.Error)
	}
	return nil
}

// ---- segments

func (x *inspection) segment(f *os.File, path string, size int64, followed bool) error {
	base, ok := segment.FileBase(path)
	if !ok {
		base = -1
	}
	idx, idxErr := readIndex(strings.TrimSuffix(path, ".seg") + ".idx")
	durable := int64(0)
	if idxErr == nil {
		durable = idx.Size
	}
	r, err := segment.NewFileReader(f, size, base, durable, followed)
	if err != nil {
		return err
	}
	h := r.Header()
	line := fileLine{Type: "segment", Path: path, Size: size, Base: &h.Base, ID: fmt.Sprintf("%016x", h.ID), Marked: h.Durable}
	if err := x.opening(line, "%s: segment from offset %d, %s, %d bytes known to be durable", path, h.Base, env.Bytes(size), h.Durable); err != nil {
		return err
	}
	if err := r.HeaderErr(); err != nil {
		if err := x.bad(damageLine{"damage", 0, 64, err.Error()}, "header: %v", err); err != nil {
			return err
		}
	}
	if err := x.head(batchColumns); err != nil {
		return err
	}
	n, gaps := 0, 0
	agree := agreement{entries: idx.Entries}
	for r.Next() {
		n++
		if gaps, err = x.segmentGaps(r, gaps); err != nil {
			return err
		}
		b := r.Batch()
		latest, _ := r.LatestBefore()
		agree.batch(b.BaseOffset(), r.Pos(), latest)
		if x.full() || b.LastOffset() < x.from || b.BaseOffset() > x.to {
			continue
		}
		x.shown++
		l := x.batch(b)
		l.Type, l.At = "batch", r.Pos()
		if x.deep {
			l.Records, l.Error = bodies(b)
		}
		producer := ""
		if l.Producer != nil {
			producer = fmt.Sprintf("%d, epoch %d, sequence %d", *l.Producer, b.ProducerEpoch(), l.Sequence)
		}
		if len(l.Flags) > 0 {
			producer = strings.TrimPrefix(producer+" ("+strings.Join(l.Flags, ", ")+")", " ")
		}
		if err := x.row(batchColumns, l, l.At, l.Bytes, l.Base, l.Last, l.Count, l.Codec, millis(l.MaxTime), l.Epoch, producer); err != nil {
			return err
		}
		if err := x.batchDetail(&l); err != nil {
			return err
		}
	}
	if _, err := x.segmentGaps(r, gaps); err != nil {
		return err
	}
	if r.Err() != nil {
		return r.Err()
	}
	kind, text := "whole", fmt.Sprintf("%d batches, up to offset %d", n, r.End())
	if r.Torn() >= 0 {
		kind = "torn"
		text += fmt.Sprintf("; torn at byte %d by a crash, behind what was ever durable: the next open cuts it", r.Torn())
	}
	switch {
	case doctor.IsMissing(idxErr):
		text += "; no index: the next open makes it"
	case idxErr != nil:
		text += "; the index is damaged, and is made anew by the next open: " + idxErr.Error()
	default:
		text += "; " + agree.text(&idx, h.ID)
	}
	return x.ending(endLine{"end", size, kind, n, x.shown}, text)
}

func readIndex(path string) (segment.Index, error) {
	f, err := os.Open(path)
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

// agreement compares the entries of an index with the batches that they stand for.
type agreement struct {
	entries []segment.IndexEntry
	seen    int // entries whose batch came
	wrong   int
}

func (a *agreement) batch(base, pos, latest int64) {
	for a.seen < len(a.entries) && a.entries[a.seen].Pos < pos {
		a.seen++
		a.wrong++
	}
	if a.seen < len(a.entries) && a.entries[a.seen].Pos == pos {
		if e := a.entries[a.seen]; e.Offset != base || e.Latest != latest {
			a.wrong++
		}
		a.seen++
	}
}

func (a *agreement) text(idx *segment.Index, id uint64) string {
	switch wrong := a.wrong + len(a.entries) - a.seen; {
	case idx.ID != id:
		return "the index belongs to another file of this name"
	case wrong > 0:
		return fmt.Sprintf("%d of %d index entries stand for no batch", wrong, len(a.entries))
	}
	return fmt.Sprintf("the index agrees, %d entries over %d bytes", len(a.entries), idx.Size)
}

func (x *inspection) segmentGaps(r *segment.FileReader, told int) (int, error) {
	for _, g := range r.Gaps()[told:] {
		lost := fmt.Sprintf("offsets from %d on are lost in it", g.After)
		if g.Before >= 0 {
			lost = fmt.Sprintf("offsets %d to %d are lost", g.After, g.Before-1)
			if g.Before == g.After {
				lost = "no offset is lost"
			}
		}
		if err := x.bad(damageLine{"damage", g.From, g.To, fmt.Sprintf("%v; %s", g.Why, lost)}, "bytes %d to %d: %v; %s", g.From, g.To, g.Why, lost); err != nil {
			return told, err
		}
	}
	return len(r.Gaps()), nil
}

// ---- indexes

var indexColumns = []column{{"OFFSET", 10, true}, {"POSITION", 10, true}, {"LATEST BEFORE", 0, false}}

func (x *inspection) index(f io.ReaderAt, path string, size int64) error {
	idx, err := segment.ReadIndex(f, size)
	line := fileLine{Type: "index", Path: path, Size: size, Base: &idx.Base, ID: fmt.Sprintf("%016x", idx.ID), Marked: idx.Size}
	if err := x.opening(line, "%s: index of the segment from offset %d, over %d bytes with offsets %d to %d, latest time %s", path, idx.Base, idx.Size, idx.First, idx.Last, millis(idx.Latest)); err != nil {
		return err
	}
	if err != nil {
		return x.bad(damageLine{"damage", 0, size, err.Error()}, "%v: the next open of its segment makes it anew", err)
	}
	if err := x.head(indexColumns); err != nil {
		return err
	}
	type entry struct {
		Type   string `json:"type"`
		Offset int64  `json:"offset"`
		Pos    int64  `json:"position"`
		Latest *int64 `json:"latest_before"`
	}
	for _, en := range idx.Entries {
		if x.full() || en.Offset < x.from || en.Offset > x.to {
			continue
		}
		x.shown++
		l, text := entry{Type: "entry", Offset: en.Offset, Pos: en.Pos}, "-"
		if en.Latest > 0 {
			l.Latest, text = &en.Latest, millis(en.Latest)
		}
		if err := x.row(indexColumns, l, en.Offset, en.Pos, text); err != nil {
			return err
		}
	}
	return x.ending(endLine{"end", size, "whole", len(idx.Entries), x.shown}, fmt.Sprintf("%d entries", len(idx.Entries)))
}

// ---- checkpoints

var keyColumns = []column{{"SHARD", 5, true}, {"KIND", 9, false}, {"OF", 24, false}, {"PART", 14, false}, {"BYTES", 8, true}, {"SAYS", 0, false}}

func (x *inspection) checkpoints(f io.ReaderAt, path string, size int64) error {
	c, err := meta.Inspect(f, size)
	if err != nil {
		return err
	}
	if err := x.opening(fileLine{Type: "checkpoints", Path: path, Size: size}, "%s: %s, %d pages of %d bytes, transaction %d", path, env.Bytes(size), c.Pages(), c.PageSize(), c.Transaction()); err != nil {
		return err
	}
	problems := 0
	err = c.Check(func(problem error) {
		problems++
		err = errors.Join(err, x.bad(damageLine{Type: "damage", Reason: problem.Error()}, "%v", problem))
	})
	if err != nil {
		return err
	}
	list, err := c.Checkpoints()
	if err != nil {
		if err := x.bad(damageLine{Type: "damage", Reason: err.Error()}, "%v", err); err != nil {
			return err
		}
	}
	keys := 0
	for i := range list {
		if !x.wantsShard(list[i].Shard) {
			continue
		}
		if err := x.checkpoint(c, &list[i]); err != nil {
			return err
		}
		keys += int(list[i].Keys)
	}
	if c.Changed() {
		x.e.Say("a checkpoint was saved meanwhile: what was shown may be of both sides of it")
	}
	return x.ending(endLine{"end", size, "whole", keys, x.shown}, fmt.Sprintf("%d checkpoints, %d keys", len(list), keys))
}

func (x *inspection) checkpoint(c *meta.Inspector, at *meta.Checkpoint) error {
	type line struct {
		Type  string `json:"type"` // checkpoint
		Shard uint32 `json:"shard"`
		Index uint64 `json:"index"`
		Term  uint64 `json:"term"`
		doctor.Members
		Keys   uint32        `json:"keys"`
		Staged bool          `json:"staged,omitempty"`
		Kinds  []doctor.Kind `json:"kinds"`
		Error  string        `json:"error,omitempty"`
	}
	l := line{Type: "checkpoint", Shard: uint32(at.Shard), Index: at.Index, Term: at.Term, Members: doctor.MembersOf(at.Members), Keys: at.Keys, Staged: at.Staged, Kinds: []doctor.Kind{}}
	err := at.Err
	if err == nil {
		err = c.Keys(at.Shard, func(k meta.Key) bool {
			kind := doctor.KeyKind(at.Shard, k.Key, k.Value)
			i := slices.IndexFunc(l.Kinds, func(c doctor.Kind) bool { return c.Kind == kind })
			if i < 0 {
				i = len(l.Kinds)
				l.Kinds = append(l.Kinds, doctor.Kind{Kind: kind})
			}
			l.Kinds[i].Keys++
			l.Kinds[i].Bytes += int64(len(k.Key) + len(k.Value))
			return true
		})
	}
	if err != nil {
		l.Error = err.Error()
		if err := x.bad(damageLine{Type: "damage", Reason: l.Error}, "shard %d: %v", at.Shard, err); err != nil {
			return err
		}
	}
	switch x.e.Format() {
	case env.FormatJSON:
		err = x.e.PrintLine(l)
	case env.FormatYAML:
		err = x.e.PrintDocument(l)
	case env.FormatText:
		if who := strings.TrimPrefix(l.Members.After(), ", "); who != "" {
			fmt.Fprintf(x.e.Out, "members\t%d\t%d\t%d\t%s\n", l.Shard, l.Index, l.Term, who)
		}
		for _, k := range l.Kinds {
			fmt.Fprintf(x.e.Out, "checkpoint\t%d\t%d\t%d\t%s\t%d\t%d\n", l.Shard, l.Index, l.Term, k.Kind, k.Keys, k.Bytes)
		}
		err = nil
	default:
		err = x.note("shard %d: at entry %d of term %d, %d keys%s", l.Shard, l.Index, l.Term, l.Keys, l.Members.After())
		for _, k := range l.Kinds {
			err = errors.Join(err, x.note("  %8d  %-10s %s", k.Keys, k.Kind, env.Bytes(k.Bytes)))
		}
	}
	if err != nil || !x.keys || at.Err != nil {
		return err
	}
	if err := x.head(keyColumns); err != nil {
		return err
	}
	type keyLine struct {
		Type   string `json:"type"` // key
		Shard  uint32 `json:"shard"`
		Kind   string `json:"kind"`
		Of     string `json:"of,omitempty"`
		Part   string `json:"part,omitempty"`
		Bytes  int    `json:"value_bytes"`
		Text   string `json:"says,omitempty"`
		Staged bool   `json:"staged,omitempty"`
		Key    string `json:"key"` // hexadecimal
		Error  string `json:"error,omitempty"`
	}
	var failed error
	_ = c.Keys(at.Shard, func(k meta.Key) bool { // its error was told above
		if x.full() {
			return false
		}
		x.shown++
		kind, of, part, text := doctor.DescribeKey(at.Shard, k.Key, k.Value)
		l := keyLine{Type: "key", Shard: uint32(at.Shard), Kind: kind, Of: of, Part: part, Bytes: len(k.Value), Text: text, Staged: k.Staged, Key: fmt.Sprintf("%x", k.Key)}
		if k.Err != nil {
			l.Error, text = k.Err.Error(), "damaged: "+k.Err.Error()
		}
		failed = x.row(keyColumns, l, l.Shard, kind, of, part, l.Bytes, text)
		return failed == nil
	})
	return failed
}
