package broker

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
)

func said(at map[uint64]string) (nodes []kernel.Node) {
	for id, peer := range at {
		nodes = append(nodes, kernel.Node{ID: id, Peer: peer, State: kernel.NodeUp})
	}
	return nodes
}

// Of what a node is started with, and what log 0 says, what is newer is believed, also by the next
// life.
func TestMemberBelievesWhatIsNew(t *testing.T) {
	dir := t.TempDir()
	m := NewMember(dir, 1, map[uint64]string{1: "a:1", 2: "a:2", 3: "a:3"})
	learn := func(at map[uint64]string) {
		t.Helper()
		if err := m.learn("c", said(at)); err != nil {
			t.Fatal(err)
		}
	}
	restart := func(given map[uint64]string) {
		t.Helper()
		var ok bool
		var err error
		if m, ok, err = ReadMember(dir); err != nil || !ok {
			t.Fatal(ok, err)
		}
		m.Give(given)
	}
	want := func(what string, want map[uint64]string) {
		t.Helper()
		if got := m.Nodes(); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	learn(map[uint64]string{1: "a:1", 2: ""})
	want("log 0 knows little yet", map[uint64]string{1: "a:1", 2: "a:2", 3: "a:3"})
	learn(map[uint64]string{1: "a:1", 2: "a:2", 3: "a:3", 4: "a:4"})
	want("a node was added", map[uint64]string{1: "a:1", 2: "a:2", 3: "a:3", 4: "a:4"})

	restart(map[uint64]string{1: "a:1", 2: "a:2", 3: "a:3"})
	want("started with what is old", map[uint64]string{1: "a:1", 2: "a:2", 3: "a:3", 4: "a:4"})
	learn(map[uint64]string{1: "a:1", 2: "b:2", 3: "a:3", 4: "a:4"})
	restart(map[uint64]string{1: "a:1", 2: "a:2", 3: "a:3"})
	want("a node has moved, and what it is started with has not", map[uint64]string{1: "a:1", 2: "b:2", 3: "a:3", 4: "a:4"})
	restart(nil)
	want("started with nothing", map[uint64]string{1: "a:1", 2: "b:2", 3: "a:3", 4: "a:4"})

	given := map[uint64]string{1: "c:1", 2: "c:2", 3: "c:3"}
	restart(given)
	want("started with what is new", map[uint64]string{1: "c:1", 2: "c:2", 3: "c:3", 4: "a:4"})
	learn(map[uint64]string{1: "a:1", 2: "b:2", 3: "a:3", 4: "a:4"})
	want("log 0 says nothing new", map[uint64]string{1: "c:1", 2: "c:2", 3: "c:3", 4: "a:4"})
	learn(map[uint64]string{1: "c:1", 2: "c:2", 4: "a:4"})
	want("a node was removed", map[uint64]string{1: "c:1", 2: "c:2", 4: "a:4"})
	if at := m.reach()[3]; at != "c:3" {
		t.Errorf("the node that was removed cannot be told so: it is at %q", at)
	}
	restart(given)
	want("and stays so", map[uint64]string{1: "c:1", 2: "c:2", 4: "a:4"})
	if m.Self() != 1 || len(m.Began()) != 3 || m.Cluster() != "c" || m.Removed() {
		t.Errorf("it is node %d of %s, which began with %v; removed: %v", m.Self(), m.Cluster(), m.Began(), m.Removed())
	}
	learn(map[uint64]string{2: "c:2", 4: "a:4"})
	restart(nil)
	if !m.Removed() {
		t.Error("it was removed, and does not know")
	}
}

func TestMemberJoinsWithAnEmptyDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	m := NewMember("", 4, map[uint64]string{1: "a:1", 4: "a:4"})
	if err := m.Keep(dir); err != nil {
		t.Fatal(err)
	}
	if err := m.Keep(dir); !fault.Is(err, fault.Conflict) {
		t.Errorf("into what it has left already: %v", err)
	}
	for _, text := range []string{"", "{}", `{"node": 4}`, `{"node": 4, "began": [1`} {
		if err := os.WriteFile(memberPath(dir), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ReadMember(dir); !fault.Is(err, fault.Damaged) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
