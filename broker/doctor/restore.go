package doctor

import (
	"bytes"
	"encoding/binary"
	"iter"

	kmeta "github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/meta"
)

// restore makes a machine of a shard's checkpoint, as opening it would: nil for log 0,
// which is another machine.
func restore(x *meta.Inspector, id storage.ShardID) (m *shard.Machine, err error) {
	var failed error
	pairs := pairsOf(x, id, &failed)
	if id == 0 {
		err = new(kmeta.State).Restore(pairs)
	} else {
		m = shard.New()
		err = m.Restore(pairs)
	}
	if failed != nil {
		err = failed
	}
	return m, err
}

// reach is how far a log's segment reaches, by its checkpoint: what stands behind that is
// elsewhere.
type reach struct {
	*shard.Log
	end     int64 // one past the last offset that was synced in the segment
	carried int   // batches behind it, which the checkpoint carries
}

// holds tells whether the segment has something that readers may be given.
func (r reach) holds() bool {
	return r.Log != nil && r.Address != "" && !r.Deleted && r.Start < r.end
}

// name is what an operator knows the log by.
func (r reach) name() string {
	if r.Address == "" {
		return "message bodies"
	}
	return r.Address
}

// reachOf reads how far the segments of a shard's logs reach. m is of the same checkpoint.
func reachOf(x *meta.Inspector, id storage.ShardID, m *shard.Machine, into map[storage.LogID]reach) error {
	if m == nil {
		return nil
	}
	for l := range m.Logs() {
		into[storage.LogID{Shard: id, Log: l.ID}] = reach{Log: l, end: l.Next}
	}
	var failed error
	for k := range pairsOf(x, id, &failed) {
		if len(k) != 17 || k[0] != shard.Carried { // or the log and the base offset
			continue
		}
		id := storage.LogID{Shard: id, Log: binary.BigEndian.Uint64(k[1:])}
		if r, known := into[id]; known {
			r.end = min(r.end, int64(binary.BigEndian.Uint64(k[9:])))
			r.carried++
			into[id] = r
		}
	}
	return failed
}

// pairsOf yields a checkpoint with what is staged folded in, in the order of keys.
func pairsOf(x *meta.Inspector, id storage.ShardID, failed *error) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		type change struct{ key, value []byte }
		var staged []change
		*failed = x.Keys(id, func(k meta.Key) bool {
			if k.Staged {
				var v []byte
				if k.Value != nil {
					v = append([]byte{}, k.Value...)
				}
				staged = append(staged, change{bytes.Clone(k.Key), v})
			}
			return true
		})
		if *failed != nil {
			return
		}
		put := func(k, v []byte) bool { return v == nil || yield(k, v) }
		more := true
		*failed = x.Keys(id, func(k meta.Key) bool {
			if k.Staged {
				return false
			}
			for len(staged) > 0 && bytes.Compare(staged[0].key, k.Key) < 0 && more {
				more = put(staged[0].key, staged[0].value)
				staged = staged[1:]
			}
			switch {
			case k.Err != nil:
				*failed, more = k.Err, false
			case !more:
			case len(staged) > 0 && bytes.Equal(staged[0].key, k.Key):
				more = put(staged[0].key, staged[0].value)
				staged = staged[1:]
			default:
				more = put(k.Key, k.Value)
			}
			return more
		})
		for _, c := range staged {
			if more {
				more = put(c.key, c.value)
			}
		}
	}
}
