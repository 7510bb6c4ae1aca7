package kernel

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/kernel/compact"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

// Upkeep looks after segments: it has files ended that are old or full
// (segment.ms, segment.bytes), has those dropped that nobody wants, compacts by key what
// cleanup.policy says, and rewrites files of which less than half is referred to. One goroutine does all of it,
// one log after another: rewriting is never in a hurry, and is to leave the device to others.
//
// Only what the last checkpoint speaks of is rewritten, by what that checkpoint says of
// references. So a log that ends after a crash where the checkpoint does has lost nothing:
// no record was dropped because of one that the crash took. References to a batch are made
// by the entry that brings it, and later ones only end them; so what the checkpoint does
// not refer to, nothing will.

// upkeepPeriod is how long after a change, in broker time, segments are looked at.
const upkeepPeriod = time.Second

// compactKeysMax bounds what a pass of compaction remembers: at some 50 bytes a key, 50
// MiB. A log with more keys takes several passes.
const compactKeysMax = 1 << 20

// compactReadBytes is how much of a segment is read at a time to note keys, or to see what
// is referred to.
const compactReadBytes = 1 << 20

// checkpointWait bounds how long upkeep waits for a checkpoint that it has asked for; it
// is written all the same.
const checkpointWait = 30 * time.Second

// defaultFileBytes is the size of a segment file where segment.bytes does not say.
const defaultFileBytes = 64 << 20

// resting is what upkeep knows of one log. The zero value knows nothing: then all of the
// log counts as not compacted.
//
// Ownership: kept and roll are for anyone; the rest is upkeep's goroutine's.
type resting struct {
	kept atomic.Pointer[shard.Log] // the log as the last checkpoint has it
	roll atomic.Bool               // the next flush ends the file

	fileBytes int64 // as the segment was told; 0: it was not
	from      int64 // where the file begins that is written
	since     int64 // when there was first something in it, ms; 0: nothing is

	cleaned int64 // compacted up to here
	redo    int64 // keys are to be noted again from here on; see compact.Pass
	due     int64 // when a deletion may go, ms

	seen     *shard.Log    // the checkpoint by which references were last looked at
	examined map[int64]int // files, by where they begin: batches referred to when they were read
}

// lookAfter says that something was appended, trimmed, saved or configured.
func (k *Kernel) lookAfter() {
	k.retention.wake(k)
	k.upkeep.wake(k)
}

// keepUp looks after every segment.
func (k *Kernel) keepUp() (next int64) {
	streams := make(map[uint32]map[uint64]*meta.Stream)
	for st := range k.meta.view.Load().AllStreams() {
		for _, p := range st.Logs {
			if streams[p.Shard] == nil {
				streams[p.Shard] = make(map[uint64]*meta.Stream)
			}
			streams[p.Shard][p.Log] = st
		}
	}
	ids := make([]uint32, 0, len(k.shards))
	for id, s := range k.shards {
		if s.class.logged() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		earlier(&next, k.shards[id].keepUp(streams[id]))
	}
	return next
}

// keepUp looks after the segments of a shard. streams are those whose partitions it has,
// by log. next is when something will be due, as a chore says it.
func (s *shardRun) keepUp(streams map[uint64]*meta.Stream) (next int64) {
	if s.away.Load() != nil || s.offered.Load() > 0 {
		return 0 // whoever ends that has it looked at again
	}
	tails := s.sortedTails()
	wanted := false
	for _, t := range tails {
		wanted = s.wantsCheckpoint(t, streams[t.id.Log], &next) || wanted
	}
	if wanted && s.checkpoint() != nil {
		return 1 // the next look asks again
	}
	for _, t := range tails {
		if s.k.closing.Load() || s.away.Load() != nil || s.offered.Load() > 0 {
			return 0
		}
		at, err := s.rewrite(t, streams[t.id.Log])
		earlier(&next, at)
		if err != nil && !t.ended() && !s.k.closing.Load() {
			s.k.log.Warn("segment not rewritten", "shard", s.id, "log", t.id.Log, "address", t.address, "err", err)
		}
	}
	return next
}

func (s *shardRun) sortedTails() []*tail {
	s.tailsMu.RLock()
	defer s.tailsMu.RUnlock()
	tails := make([]*tail, 0, len(s.tails))
	for _, t := range s.tails {
		tails = append(tails, t)
	}
	slices.SortFunc(tails, func(a, b *tail) int { return cmp.Compare(a.id.Log, b.id.Log) })
	return tails
}

// wantsCheckpoint tells whether a checkpoint would let the log's files be ended, dropped or
// compacted, or else when one will be wanted.
func (s *shardRun) wantsCheckpoint(t *tail, st *meta.Stream, at *int64) bool {
	seg := t.opened()
	var bounds []int64
	if seg != nil {
		bounds = seg.Bounds()
	}
	keep, referred := s.wanted(t.id.Log)
	kept := t.resting.kept.Load()
	switch {
	case len(bounds) < 2:
	case keep >= bounds[1]:
		return true // files that nobody wants
	case kept != nil && kept.Referred() >= referredMin && 2*referred < kept.Referred():
		return true // files of which nobody wants the most
	}
	if st == nil {
		return false
	}
	compacted := policyHas(st, "compact")
	if compacted && len(bounds) > 1 && kept == nil {
		return true // the first since the start
	}
	r := &t.resting
	bytes := number(st.Config, "segment.bytes", defaultFileBytes)
	if seg != nil && bytes != cmp.Or(r.fileBytes, defaultFileBytes) {
		r.fileBytes = bytes
		seg.SetFileBytes(bytes)
	}
	from := int64(0)
	if len(bounds) > 0 {
		from = bounds[len(bounds)-1]
	}
	start, next := t.bounds()
	now := s.k.nowMs()
	if from != r.from || next <= max(from, start) {
		r.from, r.since = from, 0
	}
	if next <= max(from, start) {
		return false // nothing to be ended
	}
	if r.since == 0 {
		r.since = now
	}
	age := number(st.Config, "segment.ms", defaultRetentionMs)
	if compacted {
		age = min(age, number(st.Config, "max.compaction.lag.ms", math.MaxInt64))
	}
	if now-r.since < age && (!compacted || t.unflushed() < bytes) {
		if age < math.MaxInt64-r.since {
			earlier(at, r.since+age)
		}
		return false
	}
	r.roll.Store(true)
	return true
}

// referredMin is how many batches a log must have had in use for half of them to be worth
// a checkpoint.
const referredMin = 64

// wanted is the lowest offset of a log that must stay on the device, and how many of its
// batches something refers to.
func (s *shardRun) wanted(log uint64) (keep int64, referred int) {
	s.readMu.RLock()
	defer s.readMu.RUnlock()
	return s.m.Keep(log), s.m.Referred(log)
}

// checkpoint has a checkpoint written of what is applied here by now, and waits until it is. It needs
// nobody: a quorum may be waiting for the state that it makes.
func (s *shardRun) checkpoint() error {
	ctx, cancel := context.WithTimeout(s.k.ctx, checkpointWait)
	defer cancel()
	wanted := s.saving.next()
	s.saveAsked.Store(true)
	s.group.Nudge()
	return s.saving.wait(ctx, wanted)
}

// rewrite does what is due to the files at rest of one log, and tells when more will be.
func (s *shardRun) rewrite(t *tail, st *meta.Stream) (next int64, err error) {
	kept := t.resting.kept.Load()
	if kept == nil {
		return 0, nil
	}
	seg, err := t.open()
	if err != nil {
		return 0, err
	}
	w := &rewriter{s: s, t: t, seg: seg, kept: kept, fileBytes: cmp.Or(t.resting.fileBytes, defaultFileBytes)}
	if st != nil && policyHas(st, "compact") {
		if err := w.compact(st); err != nil {
			return 0, err
		}
		earlier(&w.next, t.resting.due)
	}
	if t.resting.seen == kept {
		return w.next, nil // nothing has been let go of since
	}
	t.resting.seen = kept
	return w.next, w.dropDead()
}

// rewriter rewrites files of one log.
type rewriter struct {
	s         *shardRun
	t         *tail
	seg       storage.Segment
	kept      *shard.Log
	fileBytes int64
	next      int64 // when there is more to do, ms; 0: not for time's sake
}

var errClosing = errors.New("the broker is closing")

// rewrite rewrites files between two bounds, unless they have changed: then done is false.
func (w *rewriter) rewrite(from, to int64, edit func([]byte) ([]byte, error)) (done bool, err error) {
	return w.seg.Rewrite(from, to, func(b []byte) ([]byte, error) {
		if w.s.k.closing.Load() {
			return nil, errClosing
		}
		return edit(b)
	})
}

// walk calls fn with the batches from one offset on that begin before another, until it
// says no.
func (w *rewriter) walk(from, to int64, fn func(record.Batch) (bool, error)) error {
	for from < to {
		if w.s.k.closing.Load() {
			return errClosing
		}
		raw, err := w.seg.Read(from, compactReadBytes)
		if err != nil || len(raw) == 0 {
			return err
		}
		for len(raw) > 0 {
			b, rest, err := record.Next(raw)
			if err != nil {
				return err
			}
			if b.BaseOffset() >= to {
				return nil
			}
			if ok, err := fn(b); err != nil || !ok {
				return err
			}
			raw, from = rest, b.NextOffset()
		}
	}
	return nil
}

// bounds are those of the files at rest that end where the last checkpoint does, or before. Others
// are left alone: a batch must go on ending there, by which the tail that is opened after a crash
// knows that its segment is whole.
func (w *rewriter) bounds() []int64 {
	bounds := w.seg.Bounds()
	return bounds[:sort.Search(len(bounds), func(i int) bool { return bounds[i] > w.kept.Next })]
}

// sizes are those of the files at rest, by their bounds.
func (w *rewriter) sizes(bounds []int64) ([]int64, error) {
	sizes := make([]int64, len(bounds)-1)
	for i := range sizes {
		n, err := w.t.restSize(bounds[i], bounds[i+1])
		if err != nil {
			return nil, err
		}
		sizes[i] = n
	}
	return sizes, nil
}

// compact runs a pass of compaction if the stream's configuration says that it is due.
func (w *rewriter) compact(st *meta.Stream) error {
	r := &w.t.resting
	bounds := w.bounds()
	if len(bounds) < 2 {
		return nil
	}
	start, _ := w.t.bounds()
	now := w.s.k.nowMs()
	cleaned := max(r.cleaned, start)
	end := max(cleaned, bounds[len(bounds)-1])
	due := r.due != 0 && now >= r.due
	if end == cleaned && !due {
		return nil
	}
	if lag := number(st.Config, "min.compaction.lag.ms", 0); lag > 0 && end > cleaned {
		offset, latest, ok, err := w.seg.OffsetForTime(cleaned, now-lag+1)
		if err != nil {
			return err
		}
		if ok && offset < end {
			end = max(cleaned, offset)
			earlier(&w.next, latest+lag)
		}
	}
	if due = due || w.dirty(st, start, cleaned, end, now); !due {
		return nil
	}
	p := &compact.Pass{
		KeysMax: compactKeysMax, Key: compactionKey(st), Referred: w.kept.Live,
		Now: now, DeleteRetention: number(st.Config, "delete.retention.ms", 24*60*60*1000),
		Redo: math.MaxInt64, Due: math.MaxInt64,
	}
	from := cleaned
	if r.redo != 0 {
		from = min(from, max(r.redo, start))
	}
	for {
		p.Begin(from)
		if err := w.walk(from, end, p.Note); err != nil {
			return err
		}
		stretch := p.End()
		if stretch == from {
			stretch = end // a gap
		}
		if done, err := w.edit(p, stretch); err != nil || !done {
			w.next = 1
			return err // what was done is done; the rest is for the next look
		}
		if from = stretch; from >= end {
			break
		}
	}
	r.cleaned, r.redo, r.due = end, p.Redo, p.Due
	if r.due == math.MaxInt64 {
		r.due = 0
	}
	w.t.rewritten(end)
	return nil
}

// dirty tells whether enough of a log is not compacted, or has not been for too long.
func (w *rewriter) dirty(st *meta.Stream, start, cleaned, end, now int64) bool {
	if cleaned >= end {
		return false
	}
	if lag := number(st.Config, "max.compaction.lag.ms", math.MaxInt64); lag < math.MaxInt64 {
		if _, oldest, ok, err := w.seg.OffsetForTime(cleaned, math.MinInt64); ok && err == nil {
			if now-oldest >= lag {
				return true
			}
			earlier(&w.next, oldest+lag)
		}
	}
	all, err1 := w.t.restSize(start, end)
	fresh, err2 := w.t.restSize(cleaned, end)
	if err := errors.Join(err1, err2); err != nil || all <= 0 {
		return err != nil // reading will tell
	}
	ratio, err := strconv.ParseFloat(st.Config["min.cleanable.dirty.ratio"], 64)
	if err != nil {
		ratio = 0.5
	}
	return float64(fresh)/float64(all) > ratio
}

// edit rewrites the files that have anything before end: adjacent ones as one, as far as
// they fit.
func (w *rewriter) edit(p *compact.Pass, end int64) (done bool, err error) {
	bounds := w.bounds()
	sizes, err := w.sizes(bounds)
	if err != nil {
		return false, err
	}
	for i := 0; i < len(sizes) && bounds[i] < end; {
		j, size := i+1, sizes[i]
		for j < len(sizes) && bounds[j] < end && size+sizes[j] <= w.fileBytes {
			size += sizes[j]
			j++
		}
		if done, err := w.rewrite(bounds[i], bounds[j], p.Edit); err != nil || !done {
			return false, err
		}
		i = j
	}
	return true, nil
}

// dropDead rewrites files without the batches that nobody wants: of those of which less
// than half is wanted, and small ones beside them. In the shard's own log that is what is
// not referred to; in a partition's, what is not and lies before its start.
func (w *rewriter) dropDead() error {
	bounds := w.bounds()
	if len(bounds) < 2 {
		return nil
	}
	sizes, err := w.sizes(bounds)
	if err != nil {
		return err
	}
	start := w.kept.Start
	if w.kept.ID == shard.Bodies {
		start = w.kept.Next
	}
	r := &w.t.resting
	known := r.examined
	r.examined = make(map[int64]int)
	wanted := func(b record.Batch) bool { return b.NextOffset() > start || w.kept.Live(b.BaseOffset()) }

	var group []int // files to be rewritten as one
	var live int64  // bytes of them that stay
	dead := false   // one of them is more than half dead
	flush := func() error {
		defer func() { group, live, dead = nil, 0, false }()
		if !dead && len(group) < mergeMin {
			return nil
		}
		first, last := group[0], group[len(group)-1]
		done, err := w.rewrite(bounds[first], bounds[last+1], func(b []byte) ([]byte, error) {
			if wanted(b) {
				return b, nil
			}
			return nil, nil
		})
		if err == nil && done {
			n := 0
			for _, i := range group {
				n += r.examined[bounds[i]]
				delete(r.examined, bounds[i])
			}
			r.examined[bounds[first]] = n
			w.t.rewritten(0)
		}
		return err
	}
	for i, size := range sizes {
		if bounds[i+1] > start {
			break
		}
		n := w.kept.LiveIn(bounds[i], bounds[i+1])
		was, looked := known[bounds[i]]
		r.examined[bounds[i]] = was
		stays := size
		if !looked || 2*n < was { // it may be half dead by now
			r.examined[bounds[i]] = n
			if n == 0 {
				stays = 0
			} else {
				stays = 0
				err := w.walk(bounds[i], bounds[i+1], func(b record.Batch) (bool, error) {
					if wanted(b) {
						stays += int64(len(b))
					}
					return true, nil
				})
				if err != nil {
					return err
				}
			}
		}
		half := 2*stays < size
		if !half && size > w.fileBytes/4 || live+stays > w.fileBytes || len(group) > 0 && group[len(group)-1] != i-1 {
			if err := flush(); err != nil {
				return err
			}
		}
		if half || size <= w.fileBytes/4 {
			group, live, dead = append(group, i), live+stays, dead || half && size > recordsMin
		}
	}
	return flush()
}

const (
	// mergeMin is how many small files beside each other are worth rewriting as one.
	mergeMin = 8
	// recordsMin is the size below which a file is not worth rewriting for itself: it has
	// little more than the empty batch that stands for its end.
	recordsMin = 4 << 10
)

// rewritten says that the segment has other batches than before: what was compacted, up to
// an offset, is from now on read there.
func (t *tail) rewritten(compacted int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total = -1
	t.edits++
	n := 0
	for n < len(t.batches) && t.batches[n].next <= min(compacted, t.flushed) {
		t.bytes -= len(t.batches[n].data)
		n++
	}
	if n > 0 {
		t.shiftLocked(n)
	}
}

// unflushed is the bytes of what is in memory alone.
func (t *tail) unflushed() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var n int64
	for i := t.find(t.flushed); i < len(t.batches); i++ {
		n += int64(len(t.batches[i].data))
	}
	return n
}

// policyHas tells whether a stream's cleanup.policy names a way of cleaning up.
func policyHas(st *meta.Stream, name string) bool {
	policy, set := st.Config["cleanup.policy"]
	if !set {
		policy = "delete"
	}
	for p := range strings.SplitSeq(policy, ",") {
		if strings.TrimSpace(p) == name {
			return true
		}
	}
	return false
}

// compactionKey says by what the records of a stream are compacted: by their key, or, where
// the broker made the record and gave it none, by the message's address. Streams that the
// capture rule made are compacted by address in any case; what a Kafka client has put into
// one keeps its keys apart from addresses.
func compactionKey(st *meta.Stream) func(r *record.Record, made bool) []byte {
	var kafka []byte
	return func(r *record.Record, made bool) []byte {
		switch {
		case !made && !st.Captured || made && !st.Captured && r.Key != nil:
			return r.Key
		case !made && r.Key == nil:
			return nil
		case !made:
			kafka = append(append(kafka[:0], 0), r.Key...)
			return kafka
		}
		m := message.FromRecord(r.Key, r.Value, slices.Clone(r.Headers), r.Time, st.Address, true)
		return []byte(m.Address)
	}
}
