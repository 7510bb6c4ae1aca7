package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// cluster is what a test places on: all nodes may keep voters.
func cluster(perRack ...int) (nodes []Node) {
	for r, count := range perRack {
		for range count {
			nodes = append(nodes, Node{ID: uint64(len(nodes) + 1), Rack: fmt.Sprintf("rack %d", r), Keeps: true})
		}
	}
	return nodes
}

func empty(count int) []Shard {
	shards := make([]Shard, count)
	for i := range shards {
		shards[i].ID = uint64(i)
	}
	return shards
}

// follow returns shards as they are once an assignment is carried out.
func follow(shards []Shard, to []Assignment) []Shard {
	out := slices.Clone(shards)
	for i, a := range to {
		out[i].Voters, out[i].Leader = a.Voters, a.Leader
	}
	return out
}

func TestPlace(t *testing.T) {
	three := []uint64{1, 2, 3}
	drained := cluster(4)
	drained[1].Keeps = false
	joining := cluster(4)
	joining[3].Keeps = false
	none := cluster(3)
	for i := range none {
		none[i].Keeps = false
	}
	for _, tt := range []struct {
		name   string
		nodes  []Node
		shards []Shard
		want   []Assignment
	}{
		{"fewer nodes than replicas", cluster(2), empty(1), []Assignment{{Voters: []uint64{1, 2}, Leader: 1}}},
		{"nothing wrong", cluster(3), []Shard{{ID: 7, Voters: three, Leader: 3}}, []Assignment{{three, 3}}},
		{"voters in any order, and twice", cluster(3), []Shard{{ID: 7, Voters: []uint64{3, 1, 1, 2}, Leader: 2}}, []Assignment{{three, 2}}},
		{"a node that joins keeps nothing", joining, []Shard{{ID: 7, Voters: three, Leader: 1}}, []Assignment{{three, 1}}},
		{"drained", drained, []Shard{{ID: 7, Voters: three, Leader: 3}}, []Assignment{{[]uint64{1, 3, 4}, 3}}},
		{"gone", cluster(3), []Shard{{ID: 7, Voters: []uint64{1, 2, 9}, Leader: 1}}, []Assignment{{three, 1}}},
		{"too many", cluster(3), []Shard{{ID: 1, Load: 5, Voters: []uint64{1}}, {ID: 2, Voters: []uint64{1, 2, 3}, Leader: 2}}, nil},
		{"a rack of its own", cluster(2, 1, 1), []Shard{{ID: 7, Voters: three, Leader: 1}}, []Assignment{{[]uint64{1, 3, 4}, 1}}},
		{"no node may", none, []Shard{{ID: 7, Voters: []uint64{2, 1}, Leader: 1}}, []Assignment{{[]uint64{1, 2}, 1}}},
		{"no shards", cluster(3), nil, []Assignment{}},
	} {
		got := Place(tt.nodes, tt.shards, 3)
		if tt.want != nil && fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := Place(cluster(3), []Shard{{ID: 1, Voters: three, Leader: 2}, {ID: 2, Voters: three, Leader: 3}}, 2); len(got[0].Voters) != 2 || len(got[1].Voters) != 2 {
		t.Errorf("of three voters, with two wanted: %v", got)
	}
}

// A tie between nodes falls another way for each shard: what a node leaves behind is taken
// over by all others, and not by its neighbours.
func TestNeighboursDiffer(t *testing.T) {
	nodes, shards := cluster(20), empty(400)
	with := make(map[uint64]bool)
	for _, a := range Place(nodes, shards, 3) {
		if slices.Contains(a.Voters, 1) {
			for _, n := range a.Voters {
				with[n] = true
			}
		}
	}
	if len(with) < 15 {
		t.Errorf("node 1 shares its 60 shards with %d of 19 others", len(with)-1)
	}
}

// Whatever is given, the result has the voters, the racks and the fixed point that were promised.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, shards, replicas := drawNodes(t), drawShards(t), rapid.IntRange(1, 5).Draw(t, "replicas")
		got := Place(nodes, shards, replicas)
		check(t, nodes, shards, replicas, got)

		after := follow(shards, got)
		if again := Place(nodes, after, replicas); fmt.Sprint(again) != fmt.Sprint(got) {
			t.Fatalf("a second step moves something:\n%v\n%v", got, again)
		}

		order := rapid.Permutation(indices(len(shards))).Draw(t, "order of shards")
		mixed := make([]Shard, len(shards))
		for i, at := range order {
			mixed[i] = shards[at]
			mixed[i].Voters = rapid.Permutation(mixed[i].Voters).Draw(t, "order of voters")
		}
		other := Place(rapid.Permutation(nodes).Draw(t, "order of nodes"), mixed, replicas)
		for i, at := range order {
			if fmt.Sprint(other[i]) != fmt.Sprint(got[at]) {
				t.Fatalf("in another order, shard %d is %v, not %v", mixed[i].ID, other[i], got[at])
			}
		}

		// Nodes come, go, and are drained.
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			nodes = drawChange(t, nodes)
			got = Place(nodes, after, replicas)
			check(t, nodes, after, replicas, got)
			after = follow(after, got)
			if again := Place(nodes, after, replicas); fmt.Sprint(again) != fmt.Sprint(got) {
				t.Fatalf("a second step after a change moves something:\n%v\n%v", got, again)
			}
		}
	})
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func drawNodes(t *rapid.T) (nodes []Node) {
	even := rapid.Bool().Draw(t, "even weights")
	racks := rapid.IntRange(1, 5).Draw(t, "racks")
	for id := range rapid.IntRange(0, 12).Draw(t, "nodes") {
		n := Node{ID: uint64(id + 1), Rack: fmt.Sprint(rapid.IntRange(1, racks).Draw(t, "rack")), Keeps: rapid.IntRange(0, 5).Draw(t, "keeps") > 0}
		if !even {
			n.Weight = rapid.IntRange(-1, 4).Draw(t, "weight")
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func drawShards(t *rapid.T) (shards []Shard) {
	even := rapid.Bool().Draw(t, "even loads")
	for id := range rapid.IntRange(0, 60).Draw(t, "shards") {
		s := Shard{ID: uint64(id), Voters: rapid.SliceOfN(rapid.Uint64Range(1, 14), 0, 6).Draw(t, "voters"), Leader: rapid.Uint64Range(0, 14).Draw(t, "leader")}
		if !even {
			s.Load = rapid.IntRange(-1, 20).Draw(t, "load")
		}
		shards = append(shards, s)
	}
	return shards
}

func drawChange(t *rapid.T, nodes []Node) []Node {
	out := slices.Clone(nodes)
	kind := rapid.IntRange(0, 2).Draw(t, "change")
	if len(out) == 0 {
		kind = 0
	}
	switch kind {
	case 0:
		id := uint64(1)
		for _, n := range out {
			id = max(id, n.ID+1)
		}
		return append(out, Node{ID: id, Rack: fmt.Sprint(rapid.IntRange(1, 5).Draw(t, "rack")), Keeps: true})
	case 1:
		i := rapid.IntRange(0, len(out)-1).Draw(t, "gone")
		return slices.Delete(out, i, i+1)
	default:
		i := rapid.IntRange(0, len(out)-1).Draw(t, "drained or back")
		out[i].Keeps = !out[i].Keeps
		return out
	}
}

// check wants all that the package promises of one result.
func check(t *rapid.T, nodes []Node, shards []Shard, replicas int, got []Assignment) {
	may := make(map[uint64]Node)
	rackSize := make(map[string]int)
	evenWeights, evenLoads := true, true
	for _, n := range nodes {
		if n.Keeps {
			may[n.ID] = n
			rackSize[n.Rack]++
			evenWeights = evenWeights && max(1, n.Weight) == 1
		}
	}
	want := min(replicas, len(may))
	if len(got) != len(shards) {
		t.Fatalf("%d assignments of %d shards", len(got), len(shards))
	}
	if want == 0 {
		return
	}
	type sums struct{ load, led, weight int }
	full := make(map[uint64]*sums)
	for id, n := range may {
		full[id] = &sums{weight: max(1, n.Weight)}
	}
	for i, a := range got {
		load := max(1, shards[i].Load)
		evenLoads = evenLoads && load == 1
		if len(a.Voters) != want || !slices.IsSorted(a.Voters) || len(slices.Compact(slices.Clone(a.Voters))) != want || !slices.Contains(a.Voters, a.Leader) {
			t.Fatalf("shard %d: %v, want %d voters, and a leader of them", shards[i].ID, a, want)
		}
		for _, v := range a.Voters {
			n, ok := may[v]
			if !ok {
				t.Fatalf("shard %d: node %d may not keep it", shards[i].ID, v)
			}
			full[n.ID].load += load
		}
		full[a.Leader].led += load
		in := inRacks(may, a.Voters)
		for x, most := range in {
			for y, size := range rackSize {
				if most >= in[y]+2 && in[y] < size {
					t.Fatalf("shard %d: %d voters in rack %s, %d in rack %s of %d", shards[i].ID, most, x, in[y], y, size)
				}
			}
		}
	}

	// No voter could go where it is better.
	slack, mean := 0, 0
	for _, s := range shards {
		mean += max(1, s.Load)
	}
	mean /= max(1, len(shards))
	if !evenLoads && !evenWeights {
		for _, s := range shards {
			slack = max(slack, s.Load)
		}
	}
	for i, a := range got {
		in := inRacks(may, a.Voters)
		for _, from := range a.Voters {
			for to, n := range may {
				x, y := full[from], full[to]
				free := n.Rack == may[from].Rack || in[n.Rack] < in[may[from].Rack]
				if load := max(mean, shards[i].Load); free && !slices.Contains(a.Voters, to) && (y.load+load+slack*y.weight)*x.weight < x.load*y.weight {
					t.Fatalf("shard %d should go from node %d (%+v) to node %d (%+v)", shards[i].ID, from, *x, to, *y)
				}
			}
		}
	}
	if !evenLoads || !evenWeights {
		return
	}
	sizes := make(map[int]bool)
	for rack, size := range rackSize {
		sizes[size] = true
		within := func(id uint64) bool { return may[id].Rack == rack }
		if least, most := bounds(full, within, func(s *sums) int { return s.load }); most > least+1 {
			t.Fatalf("nodes of rack %s keep between %d and %d", rack, least, most)
		}
	}
	all := func(uint64) bool { return true }
	least, most := bounds(full, all, func(s *sums) int { return s.load })
	if len(sizes) == 1 && most > least+1 {
		t.Fatalf("nodes of equal racks keep between %d and %d", least, most)
	}
	if most <= least+1 {
		if least, most := bounds(full, all, func(s *sums) int { return s.led }); most > least+1 {
			t.Fatalf("nodes that keep equally much lead between %d and %d", least, most)
		}
	}
}

func inRacks(may map[uint64]Node, voters []uint64) map[string]int {
	in := make(map[string]int)
	for _, v := range voters {
		in[may[v].Rack]++
	}
	return in
}

func bounds[S any](full map[uint64]*S, of func(uint64) bool, what func(*S) int) (least, most int) {
	least = 1 << 30
	for id, s := range full {
		if of(id) {
			least, most = min(least, what(s)), max(most, what(s))
		}
	}
	return least, most
}

// moves counts voters that are new, and their load.
func moves(before []Shard, after []Assignment) (count, load int) {
	for i, a := range after {
		for _, v := range a.Voters {
			if !slices.Contains(before[i].Voters, v) {
				count++
				load += max(1, before[i].Load)
			}
		}
	}
	return count, load
}

func leads(before []Shard, after []Assignment) (count int) {
	for i, a := range after {
		if before[i].Leader != a.Leader {
			count++
		}
	}
	return count
}

// kept counts the voters on a node.
func kept(id uint64, of []Shard) (count int) {
	for _, s := range of {
		if slices.Contains(s.Voters, id) {
			count++
		}
	}
	return count
}

// A node that comes gets what it lacks, and one that goes leaves what it had: in a rack nothing
// else moves, and with racks little else.
func TestMoves(t *testing.T) {
	for _, perRack := range [][]int{{3}, {10}, {50}, {5, 5, 5}, {4, 4, 4, 4}, {20, 12, 9}, {1, 1, 1, 1, 1, 1, 1}} {
		nodes := cluster(perRack...)
		shards := empty(len(nodes) * 20)
		shards = follow(shards, Place(nodes, shards, 3))
		name := fmt.Sprint(perRack)

		grown := append(slices.Clone(nodes), Node{ID: 1000, Rack: nodes[0].Rack, Keeps: true})
		after := Place(grown, shards, 3)
		got, _ := moves(shards, after)
		must := kept(1000, follow(shards, after))
		if must == 0 || got > must+must/4 || len(perRack) == 1 && got != must {
			t.Errorf("%s: a node came: %d voters moved, it got %d", name, got, must)
		}
		if l := leads(shards, after); l > 2*must {
			t.Errorf("%s: a node came: %d leaders changed, it got %d voters", name, l, must)
		}

		gone := slices.Clone(nodes[1:])
		after = Place(gone, shards, 3)
		if len(gone) < 3 {
			continue
		}
		got, _ = moves(shards, after)
		must = kept(nodes[0].ID, shards)
		if got < must || got > must+must/4 {
			t.Errorf("%s: a node went: %d voters moved, it had %d", name, got, must)
		}
	}
}

// benchmark measures one change, and tells what has come of it.
func benchmark(b *testing.B, nodes []Node, before []Shard) {
	var after []Assignment
	for b.Loop() {
		after = Place(nodes, before, 3)
	}
	apart(b, nodes, follow(before, after))
	count, load := moves(before, after)
	b.ReportMetric(float64(count), "moves")
	b.ReportMetric(float64(load), "load-moved")
	b.ReportMetric(float64(leads(before, after)), "leaders-changed")
}

// apart tells how far the fullest and the emptiest node are apart.
func apart(b *testing.B, nodes []Node, shards []Shard) {
	voters, led := make(map[uint64]*int), make(map[uint64]*int)
	for _, n := range nodes {
		voters[n.ID], led[n.ID] = new(int), new(int)
	}
	for _, s := range shards {
		for _, v := range s.Voters {
			*voters[v] += max(1, s.Load)
		}
		*led[s.Leader] += max(1, s.Load)
	}
	all := func(uint64) bool { return true }
	least, most := bounds(voters, all, func(n *int) int { return *n })
	b.ReportMetric(float64(most-least), "voters-apart")
	least, most = bounds(led, all, func(n *int) int { return *n })
	b.ReportMetric(float64(most-least), "leaders-apart")
}

func BenchmarkPlace(b *testing.B) {
	thousand := cluster(334, 333, 333)
	flat := cluster(1000)
	uneven := empty(100_000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range uneven {
		uneven[i].Load = 1 + int(r.ExpFloat64()*20)
	}
	for _, size := range []struct {
		name  string
		nodes []Node
		fresh []Shard
	}{
		{"1000x100000", flat, empty(100_000)},
		{"1000x100000/racks=3", thousand, empty(100_000)},
		{"1000x100000/racks=500,300,200", cluster(500, 300, 200), empty(100_000)},
		{"1000x100000/loads", flat, uneven},
		{"3x10000", cluster(3), empty(10_000)},
	} {
		placed := follow(size.fresh, Place(size.nodes, size.fresh, 3))
		b.Run(size.name+"/new", func(b *testing.B) { benchmark(b, size.nodes, size.fresh) })
		b.Run(size.name+"/same", func(b *testing.B) { benchmark(b, size.nodes, placed) })
		b.Run(size.name+"/came", func(b *testing.B) {
			benchmark(b, append(slices.Clone(size.nodes), Node{ID: 5000, Rack: size.nodes[0].Rack, Keeps: true}), placed)
		})
		if len(size.nodes) > 3 {
			b.Run(size.name+"/went", func(b *testing.B) { benchmark(b, size.nodes[1:], placed) })
		}
	}
}
