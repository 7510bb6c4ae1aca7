package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"

	"github.com/robustmq/rmq/broker/storage"
)

// kv is a checkpoint's content, or changes to it: nil deletes.
type kv map[string][]byte

func (m kv) seq() iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		var key []byte // one buffer: an engine that keeps it without a copy fails
		for _, k := range slices.Sorted(maps.Keys(m)) {
			key = append(key[:0], k...)
			if !yield(key, m[k]) {
				return
			}
		}
	}
}

func (r *rig) wantCheckpoint(shard storage.ShardID, meta storage.CheckpointMeta, want kv) {
	r.Helper()
	gotMeta, all, err := r.eng.Checkpoints().Load(shard)
	r.ok(err)
	if !reflect.DeepEqual(gotMeta, meta) {
		r.Errorf("shard %d: meta %+v, want %+v", shard, gotMeta, meta)
	}
	got, last := make(kv), []byte(nil)
	for k, v := range all {
		if last != nil && bytes.Compare(last, k) >= 0 {
			r.Fatalf("shard %d: key %q after %q", shard, k, last)
		}
		if v == nil {
			r.Errorf("shard %d: key %q has a nil value", shard, k)
		}
		last = k
		got[string(k)] = v
	}
	if !maps.EqualFunc(got, want, bytes.Equal) {
		r.Errorf("shard %d: loaded %d keys, want %d, or other values", shard, len(got), len(want))
	}
}

func checkpointNone(r *rig) { r.wantCheckpoint(1, storage.CheckpointMeta{}, nil) }

func checkpointChanges(r *rig) {
	c := r.eng.Checkpoints()
	meta := storage.CheckpointMeta{Index: 10, Term: 2, Members: storage.Members{Voters: []uint64{1, 2, 3}}}
	r.ok(c.Save(1, meta, false, kv{"a": []byte("1"), "b": []byte("2"), "empty": {}, "\x00": []byte("zero")}.seq()))
	r.reopen()
	r.wantCheckpoint(1, meta, kv{"a": []byte("1"), "b": []byte("2"), "empty": {}, "\x00": []byte("zero")})

	meta = storage.CheckpointMeta{Index: 11, Term: 2, Members: storage.Members{
		Voters: []uint64{1}, Outgoing: []uint64{1, 2, 3}, Learners: []uint64{4, 5}, Next: []uint64{2},
	}}
	r.ok(r.eng.Checkpoints().Save(1, meta, false, kv{"a": nil, "b": []byte("3"), "c": []byte("4"), "never": nil}.seq()))
	r.reopen()
	r.wantCheckpoint(1, meta, kv{"b": []byte("3"), "c": []byte("4"), "empty": {}, "\x00": []byte("zero")})

	meta = storage.CheckpointMeta{Index: 12, Term: 3}
	r.ok(r.eng.Checkpoints().Save(1, meta, false, nil)) // nothing changed
	r.reopen()
	r.wantCheckpoint(1, meta, kv{"b": []byte("3"), "c": []byte("4"), "empty": {}, "\x00": []byte("zero")})

	// A reader may stop early.
	_, all, err := r.eng.Checkpoints().Load(1)
	r.ok(err)
	for range all {
		break
	}
	r.ok(r.eng.Checkpoints().Save(1, meta, false, kv{"d": []byte("5")}.seq()))
}

func checkpointFull(r *rig) {
	c := r.eng.Checkpoints()
	r.ok(c.Save(1, storage.CheckpointMeta{Index: 1, Term: 1}, false, kv{"old": []byte("x"), "both": []byte("y")}.seq()))
	meta := storage.CheckpointMeta{Index: 50, Term: 4, Members: storage.Members{Voters: []uint64{7}}}
	r.ok(c.Save(1, meta, true, kv{"both": []byte("z"), "new": []byte("n"), "gone": nil}.seq()))
	r.wantCheckpoint(1, meta, kv{"both": []byte("z"), "new": []byte("n")})
	r.reopen()
	r.wantCheckpoint(1, meta, kv{"both": []byte("z"), "new": []byte("n")})
	meta.Index++
	r.ok(r.eng.Checkpoints().Save(1, meta, true, nil))
	r.reopen()
	r.wantCheckpoint(1, meta, nil)
}

// checkpointLarge: larger than what an engine would hold in memory for one step.
func checkpointLarge(r *rig) {
	const n, size = 3000, 8 << 10 // 24 MiB
	want := make(kv)
	for i := range n {
		want[fmt.Sprintf("key/%06d", i)] = bytes.Repeat([]byte{byte(i), byte(i >> 8)}, size/2)
	}
	meta := storage.CheckpointMeta{Index: 1, Term: 1}
	r.ok(r.eng.Checkpoints().Save(1, meta, true, want.seq()))
	r.reopen()
	r.wantCheckpoint(1, meta, want)

	changes := make(kv)
	for i := range n {
		k := fmt.Sprintf("key/%06d", i)
		if i%3 == 0 {
			changes[k] = nil
			delete(want, k)
		} else {
			v := bytes.Repeat([]byte{byte(i), 0xFF}, size/2)
			changes[k], want[k] = v, v
		}
	}
	meta.Index++
	r.ok(r.eng.Checkpoints().Save(1, meta, false, changes.seq()))
	r.wantCheckpoint(1, meta, want)
	r.reopen()
	r.wantCheckpoint(1, meta, want)
}

func checkpointRefuse(r *rig) {
	c := r.eng.Checkpoints()
	meta := storage.CheckpointMeta{Index: 1, Term: 1}
	r.ok(c.Save(1, meta, false, kv{"a": []byte("1")}.seq()))
	next := storage.CheckpointMeta{Index: 2, Term: 1}
	r.fails(c.Save(1, next, true, kv{"": []byte("x"), "b": []byte("2")}.seq()), "an empty key")
	r.fails(c.Save(1, next, false, kv{"b": []byte("2"), "c" + string(make([]byte, storage.KeyBytesMax)): []byte("x")}.seq()), "a key too long")
	r.wantCheckpoint(1, meta, kv{"a": []byte("1")}) // all or none
}

func checkpointShards(r *rig) {
	c := r.eng.Checkpoints()
	for s := range storage.ShardID(5) {
		r.ok(c.Save(s, storage.CheckpointMeta{Index: uint64(s) + 1, Term: 1}, false, kv{"k": {byte(s)}}.seq()))
	}
	r.ok(c.Save(3, storage.CheckpointMeta{Index: 9, Term: 1}, true, nil))
	r.reopen()
	for s := range storage.ShardID(5) {
		if s == 3 {
			r.wantCheckpoint(3, storage.CheckpointMeta{Index: 9, Term: 1}, nil)
			continue
		}
		r.wantCheckpoint(s, storage.CheckpointMeta{Index: uint64(s) + 1, Term: 1}, kv{"k": {byte(s)}})
	}
	r.ok(r.eng.Close())
	if err := r.eng.Checkpoints().Save(1, storage.CheckpointMeta{}, false, nil); !errors.Is(err, storage.ErrClosed) {
		r.Errorf("save after Close: %v", err)
	}
	if _, _, err := r.eng.Checkpoints().Load(1); !errors.Is(err, storage.ErrClosed) {
		r.Errorf("load after Close: %v", err)
	}
}
