package shard

import (
	"testing"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/group"
)

// What a coordinator has proposed, and another one's term brings, does not take an offset back.
func TestCommitOfAnEarlierTerm(t *testing.T) {
	m := New()
	var out Outcome
	seq := uint64(0)
	commit := func(at int64, proposed uint64, applied int32) error {
		seq++
		out.Reset()
		data := sample(seq, 1, func(b *Builder) {
			b.Group(&GroupCommand{Key: "/\x00g", Commit: &GroupCommit{
				Generation: -1, Term: proposed, Offsets: []GroupOffset{{Topic: "t", Offset: group.Offset{Offset: at, LeaderEpoch: -1}}},
			}})
		})
		if _, err := m.Apply(data, applied, &out); err != nil {
			t.Fatal(err)
		}
		return out.Ops[0].Err
	}
	for _, c := range []struct {
		at       int64
		proposed uint64
		applied  int32
		refused  bool
	}{{5, 3, 3, false}, {6, 4, 4, false}, {5, 3, 4, true}, {7, 0, 5, false}} {
		if err := commit(c.at, c.proposed, c.applied); fault.Is(err, fault.Unavailable) != c.refused {
			t.Errorf("offset %d of term %d in term %d: %v", c.at, c.proposed, c.applied, err)
		}
		g, _ := m.Group("/\x00g")
		if got, _, _ := g.Fetch("t", 0, true); got.Offset != c.at && !c.refused || got.Offset == 5 && c.refused {
			t.Errorf("after offset %d of term %d in term %d it is %d", c.at, c.proposed, c.applied, got.Offset)
		}
	}
}
