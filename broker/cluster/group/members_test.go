package group

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
)

// reconfigure has the leader of a shard change the members, and waits until that is over.
func (s *sim) reconfigure(shard int, voters, learners []uint64) {
	s.t.Helper()
	l := s.leader(shard)
	if l == nil {
		s.t.Fatalf("shard %d has no leader", shard)
	}
	if err := l.groups[shard].Reconfigure(voters, learners); err != nil {
		s.t.Fatal(err)
	}
	want := storage.Members{Voters: voters, Learners: learners}
	for range 100 {
		s.run(50*time.Millisecond, nil)
		if l := s.leader(shard); l != nil && fmt.Sprint(l.groups[shard].Status().Members) == fmt.Sprint(want) {
			return
		}
	}
	s.t.Fatalf("shard %d: the members are not %v within 5 s", shard, want)
}

// write has the leader propose something, and waits until nodes have it.
func (s *sim) write(shard int, data string, nodes ...uint64) {
	s.t.Helper()
	l := s.leader(shard)
	if l == nil {
		s.t.Fatalf("shard %d has no leader", shard)
	}
	if err := l.groups[shard].Propose([]byte(data)); err != nil {
		s.t.Fatal(err)
	}
	s.run(time.Second, nil)
	all := s.agreed[shard]
	if last := all[len(all)-1]; string(last.Data) != data {
		s.t.Fatalf("%q is not applied; %q is", data, last.Data)
	}
	for _, id := range nodes {
		if got, want := s.nodes[id-1].ms[shard].applied, all[len(all)-1].Index; got != want {
			s.t.Errorf("node %d has applied %d of %d", id, got, want)
		}
	}
}

// TestGrowAndShrink: a group of one becomes one of three, and one of one again, another one.
func TestGrowAndShrink(t *testing.T) {
	s := newSimOf(t, 1, 1, 3, storage.Members{Voters: []uint64{1}})
	s.run(time.Second, nil)
	l := s.leader(0)
	if l == nil || l.id != 1 || !l.groups[0].alone() {
		t.Fatal("node 1 does not lead alone")
	}
	for i := range 20 {
		s.write(0, fmt.Sprint("alone ", i), 1)
	}
	if s.nodes[1].ms[0].applied != 0 {
		t.Error("node 2 has something before it was added")
	}
	s.reconfigure(0, []uint64{1}, []uint64{2, 3})
	s.write(0, "learners", 1, 2, 3)
	s.reconfigure(0, []uint64{1, 2, 3}, nil)
	s.write(0, "three", 1, 2, 3)
	s.nodes[0].crash()
	s.run(4*time.Second, nil)
	s.write(0, "two", 2, 3)
	s.nodes[0].start(1)
	s.run(time.Second, nil)
	s.reconfigure(0, []uint64{2}, nil)
	s.write(0, "alone again", 2)
	if l := s.leader(0); l.id != 2 || !l.groups[0].alone() || len(l.host.workers[0].timed) != 0 {
		t.Error("node 2 does not lead alone, or its worker minds the time")
	}
	if got := s.nodes[2].ms[0].applied; got == s.nodes[1].ms[0].applied {
		t.Error("node 3 has what came after it was removed")
	}
}

// TestReconfigureRefuses: what cannot be is said at once.
func TestReconfigureRefuses(t *testing.T) {
	s := newSimOf(t, 1, 1, 3, storage.Members{Voters: []uint64{1, 2}})
	s.run(time.Second, nil)
	l := s.leader(0)
	g := l.groups[0]
	for _, tt := range []struct {
		voters, learners []uint64
		want             fault.Kind
	}{
		{nil, []uint64{1}, fault.Invalid},
		{[]uint64{1, 1}, nil, fault.Invalid},
		{[]uint64{0, 1}, nil, fault.Invalid},
		{[]uint64{1, 2}, []uint64{2}, fault.Invalid},
	} {
		if err := g.Reconfigure(tt.voters, tt.learners); fault.KindOf(err) != tt.want {
			t.Errorf("%v and %v: %v", tt.voters, tt.learners, err)
		}
	}
	if err := g.Reconfigure([]uint64{2, 1}, nil); err != nil {
		t.Errorf("as it is: %v", err)
	}
	if err := s.nodes[2-l.id].groups[0].Reconfigure([]uint64{1, 2, 3}, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("who does not lead says %v", err)
	}
	if err := g.Reconfigure([]uint64{1, 2, 3}, nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("a voter that has nothing: %v", err)
	}
	s.reconfigure(0, []uint64{1, 2}, []uint64{3})
	s.run(time.Second, nil)
	if err := g.Reconfigure([]uint64{1, 2, 3}, nil); err != nil {
		t.Fatal(err)
	}
	if err := g.Reconfigure([]uint64{1, 2, 3}, nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("while it is changed: %v", err)
	}
	s.run(time.Second, nil)
	if m := g.Status().Members; !slices.Equal(m.Voters, []uint64{1, 2, 3}) {
		t.Errorf("the members are %v", m)
	}
	if err := g.Reconfigure([]uint64{1, 2, 3}, nil); err != nil {
		t.Errorf("as it has become: %v", err)
	}
}
