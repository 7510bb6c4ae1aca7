package sim

import (
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
)

// nodesInBubble runs one seed of nodes in virtual time.
func nodesInBubble(t *testing.T, seed uint64, o NodesOptions) (r NodesReport, err error) {
	synctest.Test(t, func(*testing.T) { r, err = Nodes(seed, o) })
	return r, err
}

// TestNodes runs clusters of kernels for many seeds.
func TestNodes(t *testing.T) {
	var mu sync.Mutex
	var sum NodesReport
	seeds := eachSeed(t, func(seed uint64, say func(string, ...any)) error {
		var said sync.Mutex
		r, err := nodesInBubble(t, seed, NodesOptions{Log: func(format string, args ...any) {
			said.Lock()
			defer said.Unlock()
			say(format, args...)
		}})
		mu.Lock()
		defer mu.Unlock()
		sum.add(r)
		return err
	})
	t.Logf("%+v", sum)
	if t.Failed() || seeds < 20 {
		return
	}
	for what, n := range map[string]int{
		"power losses": sum.PowerLosses / seeds, "kills": sum.Kills, "failed openings": sum.FailedOpens, "pauses": sum.Pauses / seeds, "cuts": sum.Cuts / seeds,
		"full disks": sum.Full, "failed syncs": sum.SyncErrors, "blackouts": sum.Blackouts,
		"nodes that join": sum.Joined, "that are drained": sum.Drained, "that leave": sum.Removed, "leaders that hand over": sum.HandedOver,
		"elections": sum.Leaders / (5 * seeds), "states taken in": sum.CaughtUp / seeds,
		"appends": sum.Appended / (30 * seeds), "sent again": sum.Resent, "publishes": sum.Published / (30 * seeds), "no answers": sum.Unknown,
		"settled": sum.Settled / (5 * seeds), "published once": sum.ExactlyIn / (20 * seeds), "given once": sum.ExactlyOut / (20 * seeds), "takeovers": sum.TakeOvers / (10 * seeds),
		"retained": sum.Retained / (5 * seeds), "offsets": sum.Offsets / (10 * seeds), "reads": sum.Reads / (10 * seeds), "declared": sum.Declared / seeds, "deleted": sum.Deleted / seeds,
	} {
		if n == 0 {
			t.Errorf("the seeds leave little to check: %s: %+v", what, sum)
		}
	}
}

// add adds up all that is counted.
func (r *NodesReport) add(x NodesReport) {
	to, from := reflect.ValueOf(r).Elem(), reflect.ValueOf(x)
	for i := range from.NumField() {
		to.Field(i).SetInt(to.Field(i).Int() + from.Field(i).Int())
	}
}

// TestNodesBugs makes mistakes on purpose: each is seen within some seeds.
func TestNodesBugs(t *testing.T) {
	for _, tt := range []struct {
		what     string
		bug      NodeBug
		outcomes bool // seen without looking inside of nodes
	}{
		{"a vote is given before it is on the disk", NodeBugVoteNotSynced, false},
		{"a follower acknowledges before its sync", NodeBugFollowerEarly, true},
		{"the leader acknowledges alone", NodeBugAckAlone, true},
		{"a read of a leader whose lease has ended", NodeBugStaleRead, true},
		{"the log forgets before the checkpoint is written", NodeBugTornSave, true},
	} {
		seesMistake(t, tt.what, tt.outcomes, func(seed uint64) error {
			_, err := nodesInBubble(t, seed, NodesOptions{Bug: tt.bug, Outcomes: tt.outcomes})
			return err
		})
	}
}
