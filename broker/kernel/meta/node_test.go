package meta

import (
	"slices"
	"testing"

	"github.com/robustmq/rmq/broker/fault"
)

// cluster is a state with some nodes that are up.
func cluster(t *testing.T, n int) *State {
	t.Helper()
	s := new(State)
	for id := range uint64(n) {
		if r := s.Apply(&Command{Op: StartNode, N: 2, Name: "c", Node: &Node{ID: id + 1}}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	return s
}

func set(s *State, id uint64, to NodeState) error {
	return s.Apply(&Command{Op: SetNode, Node: &Node{ID: id, State: to}}).Err
}

func TestAddNode(t *testing.T) {
	s := cluster(t, 3)
	add := func(peer string) (uint64, error) {
		r := s.Apply(&Command{Op: AddNode, Node: &Node{Peer: peer, Rack: "r"}})
		return uint64(r.Number), r.Err
	}
	if id, err := add("h:4"); id != 4 || err != nil {
		t.Fatalf("added: %d, %v", id, err)
	}
	if id, err := add("h:4"); id != 4 || err != nil {
		t.Errorf("added once more, before it started: %d, %v; want the same id", id, err)
	}
	s.Apply(&Command{Op: StartNode, Node: &Node{ID: 4, Rack: "r"}})
	if n, _ := s.Node(4); n.State != NodeJoining || n.Peer != "h:4" || n.Incarnation != 4 {
		t.Errorf("started: %+v", n)
	}
	if _, err := add("h:4"); !fault.Is(err, fault.Exists) {
		t.Errorf("added once more, after it started: %v", err)
	}
	if _, err := add(""); !fault.Is(err, fault.Invalid) {
		t.Errorf("added without an address: %v", err)
	}
	for _, to := range []NodeState{NodeUp, NodeLeaving, NodeRemoved} {
		if err := set(s, 4, to); err != nil {
			t.Fatalf("%s: %v", to, err)
		}
	}
	if s.Alive(4) {
		t.Error("a node that was removed is alive")
	}
	if err := s.Apply(&Command{Op: StartNode, Node: &Node{ID: 4}}).Err; !fault.Is(err, fault.Conflict) {
		t.Errorf("a node that was removed starts: %v", err)
	}
	if id, err := add("h:4"); id != 5 || err != nil {
		t.Errorf("added at the address of one that was removed: %d, %v; want an id that nobody has had", id, err)
	}
}

func TestNodeStates(t *testing.T) {
	all := []NodeState{NodeJoining, NodeUp, NodeDraining, NodeLeaving, NodeRemoved}
	may := map[NodeState][]NodeState{
		NodeJoining:  {NodeUp, NodeLeaving},
		NodeUp:       {NodeDraining, NodeLeaving},
		NodeDraining: {NodeUp, NodeLeaving},
		NodeLeaving:  {NodeUp, NodeRemoved},
	}
	for _, from := range all {
		for _, to := range all {
			s := cluster(t, 2)
			s.putNode(&Node{ID: 9, State: from})
			err := set(s, 9, to)
			switch {
			case from == to || slices.Contains(may[from], to):
				if n, _ := s.Node(9); err != nil || n.State != to {
					t.Errorf("%s to %s: %v", from, to, err)
				}
			case !fault.Is(err, fault.Conflict):
				t.Errorf("%s to %s: %v, want a conflict", from, to, err)
			}
		}
	}
	if err := set(cluster(t, 2), 7, NodeUp); !fault.Is(err, fault.NotFound) {
		t.Errorf("a node that there is not: %v", err)
	}
}

// A node that joins is up once it says where clients find it, unless it is to leave by then.
func TestAnnounceNode(t *testing.T) {
	for _, tt := range []struct{ from, want NodeState }{
		{NodeJoining, NodeUp}, {NodeUp, NodeUp}, {NodeDraining, NodeDraining}, {NodeLeaving, NodeLeaving}, {NodeRemoved, NodeRemoved},
	} {
		s := cluster(t, 2)
		s.putNode(&Node{ID: 9, State: tt.from, Incarnation: 7})
		for _, life := range []uint64{6, 7} {
			err := s.Apply(&Command{Op: AnnounceNode, Node: &Node{ID: 9, Incarnation: life, Addresses: map[string]string{"mqtt": "mqtt://h:1"}}}).Err
			n, _ := s.Node(9)
			switch {
			case life == 6 && (!fault.Is(err, fault.NotFound) || n.State != tt.from || n.Addresses != nil):
				t.Errorf("%s, announced by an earlier life: %v, %+v", tt.from, err, n)
			case life == 7 && (err != nil || n.State != tt.want || n.Addresses["mqtt"] != "mqtt://h:1"):
				t.Errorf("%s, announced: %v, %+v", tt.from, err, n)
			}
		}
	}
}

// The last node that keeps everything cannot go.
func TestLastNode(t *testing.T) {
	for _, to := range []NodeState{NodeDraining, NodeLeaving} {
		s := cluster(t, 2)
		if err := set(s, 1, to); err != nil {
			t.Fatal(err)
		}
		if err := set(s, 2, to); !fault.Is(err, fault.Conflict) {
			t.Errorf("the last one %s: %v", to, err)
		}
	}
}

// What is known of nodes and placements is in a checkpoint.
func TestNodesInCheckpoint(t *testing.T) {
	s := cluster(t, 2)
	s.Apply(&Command{Op: AddNode, Node: &Node{Peer: "h:1"}})
	s.Apply(&Command{Op: PlaceShards, Placements: []Placement{{Shard: 3, Voters: []uint64{1, 2}, Leader: 2}}})
	again := new(State)
	if err := again.Restore(s.Encode(nil)); err != nil {
		t.Fatal(err)
	}
	if n, ok := again.Node(3); !ok || n.State != NodeJoining || n.Peer != "h:1" {
		t.Errorf("node: %+v", n)
	}
	if p, ok := again.Placement(3); !ok || p.Leader != 2 || !slices.Equal(p.Voters, []uint64{1, 2}) {
		t.Errorf("placement: %+v", p)
	}
}

// A node may be found elsewhere, where nobody else is.
func TestMoveNode(t *testing.T) {
	s := cluster(t, 3)
	move := func(id uint64, to string) error {
		return s.Apply(&Command{Op: MoveNode, Node: &Node{ID: id, Peer: to}}).Err
	}
	for _, to := range []string{"h:2", "h:2", "h:20"} {
		if err := move(2, to); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := s.Node(2); n.Peer != "h:20" || n.Incarnation != 2 || n.State != NodeUp {
		t.Errorf("moved: %+v", n)
	}
	if err := move(1, "h:2"); err != nil {
		t.Errorf("to where node 2 was: %v", err)
	}
	if err := move(3, "h:20"); !fault.Is(err, fault.Exists) {
		t.Errorf("to where node 2 is: %v", err)
	}
	if err := move(3, ""); !fault.Is(err, fault.Invalid) {
		t.Errorf("to nowhere: %v", err)
	}
	if err := move(9, "h:9"); !fault.Is(err, fault.NotFound) {
		t.Errorf("nobody: %v", err)
	}
	for _, to := range []NodeState{NodeLeaving, NodeRemoved} {
		if err := set(s, 2, to); err != nil {
			t.Fatal(err)
		}
	}
	if err := move(2, "h:7"); !fault.Is(err, fault.Conflict) {
		t.Errorf("one that was removed: %v", err)
	}
	if err := move(3, "h:20"); err != nil {
		t.Errorf("to where one was that was removed: %v", err)
	}
}
