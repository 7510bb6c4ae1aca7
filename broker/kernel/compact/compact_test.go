package compact

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/robustmq/rmq/broker/record"
)

// rec is a record of the model.
type rec struct {
	offset, time int64
	key, value   string
	null         bool // a deletion
}

func keyOf(r *record.Record, _ bool) []byte { return r.Key }

// read flattens batches to their records, and checks that what compaction must not touch
// is as it was.
func read(t *rapid.T, log [][]byte) []rec {
	var out []rec
	for _, raw := range log {
		if _, rest, err := record.Check(raw, len(raw)); err != nil || len(rest) > 0 {
			t.Fatalf("not a whole batch: %v", err)
		}
		err := record.Batch(raw).Each(func(r *record.Record) error {
			out = append(out, rec{r.Offset, r.Time, string(r.Key), string(r.Value), r.Value == nil})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// Whatever the history, the batches, the codecs, what is referred to and how few keys fit
// into memory: after a pass each key has its last record, in its place, and no other one
// unless it is referred to or past the end of the pass; and a deletion is there until its
// time has come, and goes then.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var log [][]byte
		var all []rec
		next, now := int64(0), int64(1_000_000)
		referred := map[int64]bool{}
		seen := map[int64]int64{} // when a deletion was first met by a pass
		cleaned, redo := int64(0), int64(math.MaxInt64)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				var b record.Builder
				b.Reset(nil, now)
				for i := range rapid.IntRange(1, 6).Draw(t, "records") {
					r := rec{next + int64(i), now + int64(i%3), fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "key")), fmt.Sprint("v", next, i), false}
					value := []byte(r.value)
					if rapid.IntRange(0, 3).Draw(t, "null") == 0 {
						value, r.value, r.null = nil, "", true
					}
					b.Add(r.time, []byte(r.key), value)
					all = append(all, r)
				}
				batch := b.Finish()
				batch.SetProducer(7, 1, int32(next))
				if c := record.Codec(rapid.IntRange(0, 4).Draw(t, "codec")); c != record.None {
					var err error
					if batch, err = record.Recompress(nil, batch, c); err != nil {
						t.Fatal(err)
					}
				}
				batch.SetBaseOffset(next)
				batch.SetLeaderEpoch(3)
				if rapid.IntRange(0, 4).Draw(t, "referred") == 0 {
					referred[next] = true
				}
				log, next = append(log, batch), batch.NextOffset()
			},
			"release": func(*rapid.T) { clear(referred) },
			"wait":    func(t *rapid.T) { now += rapid.Int64Range(1, 2000).Draw(t, "ms") },
			"pass": func(t *rapid.T) {
				if len(log) == 0 {
					return
				}
				end := max(cleaned, record.Batch(rapid.SampledFrom(log).Draw(t, "end")).NextOffset())
				p := &Pass{
					KeysMax: rapid.IntRange(1, 7).Draw(t, "keys"), Key: keyOf, Now: now, DeleteRetention: 1000,
					Referred: func(base int64) bool { return referred[base] }, Redo: math.MaxInt64, Due: math.MaxInt64,
				}
				from := min(cleaned, redo, end)
				for first := true; first || from < end; first = false {
					p.Begin(from)
					for _, b := range log {
						if b := record.Batch(b); b.LastOffset() >= from && b.BaseOffset() < end {
							if ok, err := p.Note(b); err != nil {
								t.Fatal(err)
							} else if !ok {
								break
							}
						}
					}
					if p.End() == from && from < end {
						p.end = end // only gaps
					}
					var out [][]byte
					for _, b := range log {
						e, err := p.Edit(b)
						if err != nil {
							t.Fatal(err)
						}
						if e == nil {
							continue
						}
						was, is := record.Batch(b), record.Batch(e)
						if is.BaseOffset() != was.BaseOffset() || is.LastOffset() != was.LastOffset() || is.Codec() != was.Codec() ||
							is.LeaderEpoch() != 3 || is.ProducerID() != 7 || is.ProducerEpoch() != 1 || is.BaseSequence() != was.BaseSequence() {
							t.Fatalf("the header changed from %x to %x", was[:record.HeaderLen], is[:record.HeaderLen])
						}
						out = append(out, bytes.Clone(e))
					}
					log, from = out, p.End()
				}
				redo = p.Redo
				cleaned = max(cleaned, end)

				got := read(t, log)
				left := map[int64]rec{}
				for i, r := range got {
					left[r.offset] = r
					if i > 0 && got[i-1].offset >= r.offset {
						t.Fatalf("offset %d follows %d", r.offset, got[i-1].offset)
					}
					if r != all[r.offset] {
						t.Fatalf("record %d is %v, and was %v", r.offset, r, all[r.offset])
					}
				}
				isReferred := func(offset int64) bool {
					return slices.ContainsFunc(log, func(b []byte) bool {
						b2 := record.Batch(b)
						return referred[b2.BaseOffset()] && b2.BaseOffset() <= offset && offset <= b2.LastOffset()
					})
				}
				last, lastBelow := map[string]rec{}, map[string]rec{}
				for _, r := range all {
					last[r.key] = r
					if r.offset < cleaned {
						lastBelow[r.key] = r
					}
				}
				for key, r := range last {
					_, there := left[r.offset]
					switch {
					case !r.null && !there:
						t.Fatalf("the last value of %s, at %d, is gone", key, r.offset)
					case r.null && !there:
						if at, met := seen[r.offset]; !met || now < at+1000 {
							t.Fatalf("the deletion of %s, at %d, went before its time", key, r.offset)
						}
						for _, g := range got {
							if g.key == key {
								t.Fatalf("the deletion of %s is gone, and %v is there again", key, g)
							}
						}
					}
				}
				for _, r := range got {
					if r.offset >= end {
						continue
					}
					if r.null {
						if _, met := seen[r.offset]; !met && !isReferred(r.offset) {
							seen[r.offset] = now
						}
					}
					if newest := lastBelow[r.key]; newest.offset > r.offset && !isReferred(r.offset) {
						t.Fatalf("record %v is outdated by %d, and still there", r, newest.offset)
					}
				}
			},
		})
	})
}

// A deletion whose time has come goes, once nothing older of its key can come back.
func TestDeletionGoes(t *testing.T) {
	build := func(base int64, key string, value []byte) []byte {
		var b record.Builder
		b.Reset(nil, 5)
		b.Add(5, []byte(key), value)
		batch := b.Finish()
		batch.SetBaseOffset(base)
		return batch
	}
	log := [][]byte{build(0, "a", []byte("1")), build(1, "a", nil), build(2, "b", []byte("2"))}
	pass := func(now int64, referred int64) (offsets []int64, p *Pass) {
		p = &Pass{KeysMax: 10, Key: keyOf, Now: now, DeleteRetention: 100, Redo: math.MaxInt64, Due: math.MaxInt64,
			Referred: func(base int64) bool { return base == referred }}
		p.Begin(0)
		for _, b := range log {
			if ok, err := p.Note(b); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		var out [][]byte
		for _, b := range log {
			e, err := p.Edit(b)
			if err != nil {
				t.Fatal(err)
			}
			if e != nil {
				out = append(out, bytes.Clone(e))
				offsets = append(offsets, record.Batch(e).BaseOffset())
			}
		}
		log = out
		return offsets, p
	}
	if got, p := pass(1000, 0); !slices.Equal(got, []int64{0, 1, 2}) || p.Redo != 1 || p.Due != 1100 {
		t.Errorf("with a reference to what is outdated: %v, redo %d, due %d", got, p.Redo, p.Due)
	}
	if got, p := pass(1100, 0); !slices.Equal(got, []int64{0, 1, 2}) || p.Due != math.MaxInt64 {
		t.Errorf("when its time has come, and the reference is there: %v, due %d", got, p.Due)
	}
	if got, _ := pass(1099, -1); !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("without the reference, before its time: %v", got)
	}
	if h, ok := record.Batch(log[0]).DeleteHorizon(); !ok || h != 1100 {
		t.Errorf("delete horizon %d, %v", h, ok)
	}
	if got, _ := pass(1100, -1); !slices.Equal(got, []int64{2}) {
		t.Errorf("at its time: %v", got)
	}
}

// A record without a key in a log that is compacted goes, as in Kafka; and what the codec
// or the kind of time was stays.
func TestKeylessAndAppendTime(t *testing.T) {
	var b record.Builder
	b.Reset(nil, 5)
	b.Add(5, nil, []byte("x"))
	b.Add(6, []byte("k"), []byte("y"))
	batch, err := record.Recompress(nil, b.Finish(), record.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	batch.SetAppendTime(77)
	p := &Pass{KeysMax: 10, Key: keyOf, Redo: math.MaxInt64, Due: math.MaxInt64}
	p.Begin(0)
	if _, err := p.Note(batch); err != nil {
		t.Fatal(err)
	}
	out, err := p.Edit(batch)
	if err != nil {
		t.Fatal(err)
	}
	c := record.Batch(out)
	if c.Count() != 1 || c.Codec() != record.Zstd || !c.AppendTime() || c.MaxTime() != 77 || c.LastOffsetDelta() != 1 {
		t.Errorf("%d records, %s, append time %v at %d", c.Count(), c.Codec(), c.AppendTime(), c.MaxTime())
	}
	_ = c.Each(func(r *record.Record) error {
		if r.Time != 77 || r.Offset != 1 || string(r.Value) != "y" {
			t.Errorf("record %+v", r)
		}
		return nil
	})
}
