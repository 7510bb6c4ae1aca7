// Package compact decides what compaction takes out of a log: of the records of each key,
// all but the last.
//
// A pass has two parts. First the keys of a stretch of the log that was not compacted yet
// are noted, each with its last offset (Pass.Note). Then every batch before the end of
// that stretch is edited (Pass.Edit): a record whose key was noted with a higher offset is
// outdated, and goes. When there are more keys than a pass may hold, the stretch ends
// early, and another pass goes on from there.
//
// Nothing here reads or writes: whoever calls brings batches in offset order, and stores
// what Edit makes of them, in the same order, each before the next.
//
// # What stays
//
//   - The last record of each key, and the order and offsets of all that stay.
//   - Every record of a batch that something refers to. What of it is outdated goes in a
//     later pass, which has to note keys again from Redo on.
//   - A deletion (a record of null value), until its time has come: the first pass that
//     meets it gives its batch a delete horizon, as Kafka does (KIP-534). It also stays
//     while an outdated record of its key might: or that would seem to come back.
package compact

import (
	"crypto/sha256"
	"math"

	"github.com/robustmq/rmq/broker/record"
)

// Pass is one pass over a log. The zero values of what is not set mean none.
type Pass struct {
	KeysMax int // keys that may be noted, unless one batch alone has more
	// Key is what a record is compacted by; nil: it has no key, and is dropped.
	Key func(r *record.Record, made bool) []byte
	// Referred tells whether something refers to the batch that begins at an offset.
	Referred func(base int64) bool
	// Now and DeleteRetention, in ms, say when a deletion met first now may go.
	Now, DeleteRetention int64

	// Redo is the lowest offset of a record that makes another one outdated that had to
	// stay; MaxInt64 while there is none. A later pass begins with the batch that holds it.
	Redo int64
	// Due is when the first of the deletions that were met may go; MaxInt64: there is none.
	Due int64

	last map[sum]int64
	end  int64 // every batch before it was noted
	r    record.Reader
	keep []bool
	out  []byte
}

// sum stands for a key: half of its SHA-256, so that nobody can make two keys meet.
type sum [16]byte

func sumOf(key []byte) sum {
	full := sha256.Sum256(key)
	return sum(full[:])
}

// Begin forgets what was noted, and begins a stretch at an offset.
func (p *Pass) Begin(from int64) {
	if p.last == nil {
		p.last = make(map[sum]int64)
	}
	clear(p.last)
	p.end = from
}

// End is where the stretch ends that was noted.
func (p *Pass) End() int64 { return p.end }

// Note notes the keys of the batch at the end of the stretch. false: there are as many as
// may be, and the stretch has ended before this batch.
func (p *Pass) Note(b record.Batch) (bool, error) {
	if b.Control() {
		p.end = b.NextOffset()
		return true, nil
	}
	first := len(p.last) == 0
	for err := p.r.Reset(b); err == nil && p.r.Next(); {
		rec := p.r.Record()
		key := p.Key(rec, b.Made())
		if key == nil {
			continue
		}
		s := sumOf(key)
		if _, known := p.last[s]; !known && len(p.last) >= p.KeysMax && !first {
			return false, nil // what of the batch was noted is true all the same
		}
		p.last[s] = rec.Offset
	}
	if err := p.r.Err(); err != nil {
		return false, err
	}
	p.end = b.NextOffset()
	return true, nil
}

// Edit returns what is to stand in a batch's place: the batch itself, one with fewer
// records, or nil. It is valid until the next call.
func (p *Pass) Edit(raw []byte) ([]byte, error) {
	b := record.Batch(raw)
	if b.BaseOffset() >= p.end || b.Control() {
		return raw, nil
	}
	if b.Count() == 0 {
		return nil, nil
	}
	horizon, has := b.DeleteHorizon()
	kept, deletions, err := p.judge(b, has && horizon <= p.Now)
	switch {
	case err != nil:
		return nil, err
	case p.Referred != nil && p.Referred(b.BaseOffset()):
		return raw, nil
	case kept == 0:
		return nil, nil
	}
	set := int64(-1)
	if deletions > 0 {
		if !has {
			horizon = p.Now + p.DeleteRetention
			if horizon < p.Now {
				horizon = math.MaxInt64
			}
			set = horizon
		}
		if horizon > p.Now { // else an outdated record keeps them, and a later pass meets both
			p.Due = min(p.Due, horizon)
		}
	}
	if kept == len(p.keep) && set < 0 {
		return raw, nil
	}
	out, err := record.Retain(p.out[:0], b, &p.r, p.keep, set)
	if err != nil {
		return nil, err
	}
	if b.Codec() == record.None {
		p.out = out
	}
	return out, nil
}

// judge fills keep with the fate of each record of a batch. over: the time of the batch's
// deletions has come.
func (p *Pass) judge(b record.Batch, over bool) (kept, deletions int, err error) {
	referred := p.Referred != nil && p.Referred(b.BaseOffset())
	p.keep = p.keep[:0]
	for err := p.r.Reset(b); err == nil && p.r.Next(); {
		rec := p.r.Record()
		key := p.Key(rec, b.Made())
		stays := key != nil
		if stays {
			if last, noted := p.last[sumOf(key)]; noted && last > rec.Offset {
				stays = false
				if referred {
					p.Redo = min(p.Redo, last)
				}
			}
		}
		if stays && rec.Value == nil && over && rec.Offset < p.Redo {
			stays = false
		}
		if stays {
			kept++
			if rec.Value == nil {
				deletions++
			}
		}
		p.keep = append(p.keep, stays)
	}
	return kept, deletions, p.r.Err()
}
