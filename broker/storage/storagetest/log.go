package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/robustmq/rmq/broker/storage"
)

// entries returns consecutive entries from..to of a term, with data that depends on
// both.
func entries(from, to, term uint64) []storage.Entry {
	var es []storage.Entry
	for i := from; i <= to; i++ {
		es = append(es, storage.Entry{Index: i, Term: term, Kind: uint8(i % 3), Data: fmt.Appendf(nil, "entry %d of term %d", i, term)})
	}
	return es
}

// write appends and waits for Done.
func (r *rig) write(w storage.Write) {
	r.Helper()
	done := make(chan error, 1)
	w.Done = func(err error) { done <- err }
	r.ok(r.eng.Log().Append(w))
	r.ok(<-done)
}

func (r *rig) wantLog(shard storage.ShardID, hard storage.HardState, want []storage.Entry) {
	r.Helper()
	got, err := r.eng.Log().Load(shard)
	r.ok(err)
	if got.Hard != hard {
		r.Errorf("shard %d: hard state %+v, want %+v", shard, got.Hard, hard)
	}
	if !slices.EqualFunc(got.Entries, want, sameEntry) {
		r.Errorf("shard %d: loaded %v, want %v", shard, got.Entries, want)
	}
}

func sameEntry(a, b storage.Entry) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Kind == b.Kind && bytes.Equal(a.Data, b.Data)
}

func logOrder(r *rig) {
	const n = 500
	var mu sync.Mutex
	var got []int
	all := make(chan struct{})
	for i := range n {
		r.ok(r.eng.Log().Append(storage.Write{
			Shard: 7, Entries: entries(uint64(i+1), uint64(i+1), 1), Sync: i%3 == 0,
			Done: func(err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					r.Errorf("write %d: %v", i, err)
				}
				if got = append(got, i); len(got) == n {
					close(all)
				}
			},
		}))
	}
	<-all
	if !slices.IsSorted(got) {
		r.Errorf("Done was called in the order %v", got)
	}
}

func logLoad(r *rig) {
	r.wantLog(1, storage.HardState{}, nil)
	hard := storage.HardState{Term: 3, Vote: 9, Commit: 2}
	r.write(storage.Write{Shard: 1, Hard: &hard, Entries: entries(1, 10, 3), Sync: true})
	r.write(storage.Write{Shard: 2, Entries: entries(1, 1, 1), Sync: true})
	r.write(storage.Write{Shard: 1, Entries: entries(11, 12, 4)}) // not synced: kept by an orderly Close
	r.reopen()
	r.wantLog(1, hard, append(entries(1, 10, 3), entries(11, 12, 4)...))
	r.wantLog(2, storage.HardState{}, entries(1, 1, 1))
	r.wantLog(3, storage.HardState{}, nil)

	// Empty and large data are data too.
	odd := []storage.Entry{
		{Index: 13, Term: 4, Data: []byte{}},
		{Index: 14, Term: 4, Data: bytes.Repeat([]byte{0xAB}, 3<<20)},
	}
	r.write(storage.Write{Shard: 1, Entries: odd, Sync: true})
	r.reopen()
	r.wantLog(1, hard, slices.Concat(entries(1, 10, 3), entries(11, 12, 4), odd))
}

func logReplace(r *rig) {
	r.write(storage.Write{Shard: 1, Entries: entries(1, 10, 1), Sync: true})
	r.write(storage.Write{Shard: 1, Entries: entries(6, 7, 2), Sync: true})
	r.reopen()
	r.wantLog(1, storage.HardState{}, append(entries(1, 5, 1), entries(6, 7, 2)...))
	r.write(storage.Write{Shard: 1, Entries: entries(1, 2, 3), Sync: true})
	r.reopen()
	r.wantLog(1, storage.HardState{}, entries(1, 2, 3))
}

// logGap: after a snapshot was installed, the log goes on far behind its end.
func logGap(r *rig) {
	r.write(storage.Write{Shard: 1, Entries: entries(1, 5, 1), Sync: true})
	r.write(storage.Write{Shard: 1, Entries: entries(100, 102, 2), Sync: true})
	r.reopen()
	r.wantLog(1, storage.HardState{}, entries(100, 102, 2))
}

func logHardOnly(r *rig) {
	for i := range uint64(5) {
		r.write(storage.Write{Shard: 1, Hard: &storage.HardState{Term: i, Vote: i + 1}, Sync: true})
	}
	r.write(storage.Write{Shard: 1, Sync: true}) // an empty write is a barrier
	r.reopen()
	r.wantLog(1, storage.HardState{Term: 4, Vote: 5}, nil)
}

func logRelease(r *rig) {
	r.write(storage.Write{Shard: 1, Entries: entries(1, 10, 1), Sync: true})
	r.eng.Log().Release(1, 4)
	r.eng.Log().Release(1, 3) // backwards: nothing
	r.eng.Log().Release(5, 8) // a shard that never wrote
	if r.eng.Durable() {
		r.reopen()
		// A file engine may hand out released entries again; the rest must follow.
		loaded, err := r.eng.Log().Load(1)
		r.ok(err)
		got := loaded.Entries
		if len(got) < 6 || !slices.EqualFunc(got[len(got)-6:], entries(5, 10, 1), sameEntry) {
			r.Errorf("after release of 4: %v", got)
		}
	} else {
		r.wantLog(1, storage.HardState{}, entries(5, 10, 1))
	}
	r.eng.Log().Release(1, 100)
	r.write(storage.Write{Shard: 1, Entries: entries(11, 11, 2), Sync: true})
}

func logRefuse(r *rig) {
	l := r.eng.Log()
	never := func(error) { r.Error("Done was called for a refused write") }
	r.fails(l.Append(storage.Write{Shard: 1, Done: never, Entries: []storage.Entry{{Index: 0}}}), "index 0")
	r.fails(l.Append(storage.Write{Shard: 1, Done: never, Entries: []storage.Entry{{Index: 1}, {Index: 3}}}), "a gap within a write")
	r.fails(l.Append(storage.Write{Shard: 1, Done: never, Entries: []storage.Entry{{Index: 1, Data: make([]byte, storage.EntryBytesMax+1)}}}), "an entry too long")
	r.ok(l.Err())
	r.write(storage.Write{Shard: 1, Entries: entries(1, 1, 1)}) // and the log goes on
}

func logConcurrent(r *rig) {
	const shards, each = 8, 100
	var all sync.WaitGroup
	for s := range storage.ShardID(shards) {
		all.Go(func() {
			var pending sync.WaitGroup
			for i := range uint64(each) {
				pending.Add(1)
				err := r.eng.Log().Append(storage.Write{
					Shard: s, Entries: entries(i+1, i+1, uint64(s)), Sync: s%2 == 0,
					Done: func(err error) {
						if err != nil {
							r.Errorf("shard %d entry %d: %v", s, i+1, err)
						}
						pending.Done()
					},
				})
				if err != nil {
					r.Errorf("append: %v", err)
					return
				}
			}
			pending.Wait()
		})
	}
	all.Wait()
	r.reopen()
	for s := range storage.ShardID(shards) {
		r.wantLog(s, storage.HardState{}, entries(1, each, uint64(s)))
	}
}

func logStats(r *rig) {
	before := r.eng.Log().Stats()
	r.write(storage.Write{Shard: 1, Entries: entries(1, 10, 1), Sync: true})
	after := r.eng.Log().Stats()
	if after.Bytes <= before.Bytes || after.Groups <= before.Groups {
		r.Errorf("stats went from %+v to %+v", before, after)
	}
	if r.eng.Durable() && (after.Syncs <= before.Syncs || after.Files < 1) {
		r.Errorf("stats went from %+v to %+v", before, after)
	}
}

func logClosed(r *rig) {
	done := make(chan error, 1)
	r.ok(r.eng.Log().Append(storage.Write{Shard: 1, Entries: entries(1, 1, 1), Sync: true, Done: func(err error) { done <- err }}))
	r.ok(r.eng.Close()) // finishes what was queued
	r.ok(<-done)
	err := r.eng.Log().Append(storage.Write{Shard: 1, Done: func(error) { r.Error("Done after Close") }})
	if !errors.Is(err, storage.ErrClosed) {
		r.Errorf("append after Close: %v", err)
	}
	if _, err := r.eng.Log().Load(1); !errors.Is(err, storage.ErrClosed) {
		r.Errorf("load after Close: %v", err)
	}
	r.eng.Log().Release(1, 1) // harmless
}
