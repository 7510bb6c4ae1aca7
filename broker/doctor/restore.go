package doctor

import (
	"bytes"
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
