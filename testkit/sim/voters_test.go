package sim

import (
	"reflect"
	"sync"
	"testing"
)

// TestVoters runs voters for many seeds.
func TestVoters(t *testing.T) {
	var mu sync.Mutex
	var sum VotersReport
	seeds := eachSeed(t, func(seed uint64, say func(string, ...any)) error {
		o := VotersOptions{}
		if *seedsFlag == 1 {
			o.Log = say
		}
		r, err := Voters(seed, o)
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
		"power losses": sum.PowerLosses / seeds, "kills": sum.Kills / seeds, "pauses": sum.Pauses / seeds, "cuts": sum.Cuts / seeds,
		"full disks": sum.Full, "failed syncs": sum.SyncErrors, "nodes lost": sum.Destroyed, "blackouts": sum.Blackouts,
		"elections": sum.Leaders / (3 * seeds), "answers": sum.Answered / (50 * seeds), "no answers": sum.Unknown,
		"checkpoints": sum.Checkpoints / seeds, "dropped log files": sum.Recycled, "histories": sum.Histories / (5 * seeds),
		"states taken in": sum.CaughtUp / (seeds / 2), "changes of members": sum.Changes / seeds, "joint ones": sum.Joint / (seeds / 4),
		"leaders that leave": sum.Handed / (seeds / 4), "nodes emptied": sum.Emptied,
	} {
		if n == 0 {
			t.Errorf("the seeds leave little to check: %s: %+v", what, sum)
		}
	}
	if sum.Undecided > sum.Histories/100 {
		t.Errorf("%d of %d histories took too long to check", sum.Undecided, sum.Histories)
	}
}

// add adds up all that is counted.
func (r *VotersReport) add(x VotersReport) {
	to, from := reflect.ValueOf(r).Elem(), reflect.ValueOf(x)
	for i := range from.NumField() {
		if f := to.Field(i); f.CanInt() {
			f.SetInt(f.Int() + from.Field(i).Int())
		}
	}
}

// TestVotersReplay: a seed decides everything, to the size of each frame.
func TestVotersReplay(t *testing.T) {
	seen := make(map[uint64]bool)
	for seed := range uint64(8) {
		first, err := Voters(seed, VotersOptions{})
		if err != nil {
			t.Fatal(err)
		}
		again, err := Voters(seed, VotersOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if first != again {
			t.Errorf("seed %d gave\n%+v and\n%+v", seed, first, again)
		}
		t.Logf("seed %d: trace %016x, and again %016x", seed, first.Trace, again.Trace)
		if seen[first.Trace] {
			t.Errorf("seed %d has the trace of another", seed)
		}
		seen[first.Trace] = true
	}
}

// TestVotersBugs makes mistakes on purpose: each is seen within a few seeds.
func TestVotersBugs(t *testing.T) {
	for _, tt := range []struct {
		what     string
		bug      Bug
		outcomes bool // seen without looking inside of nodes
	}{
		{"a vote is given before it is on the disk", BugVoteNotSynced, false},
		{"the leader acknowledges alone", BugAckAlone, false},
		{"the leader acknowledges alone", BugAckAlone, true},
		{"a follower acknowledges before its sync", BugFollowerEarly, false},
		{"a follower acknowledges before its sync", BugFollowerEarly, true},
		{"a log that ends before what was committed is believed", BugCommitBeyond, true},
		{"a read that is not the leader's", BugStaleRead, true},
		{"a read of a leader whose lease has ended", BugLeaseIgnored, true},
		{"a checkpoint names the members that there were at first", BugMembersStale, false},
		{"learners count as voters", BugLearnersVote, false},
		{"one quorum of a joint group is enough", BugOneQuorum, false},
		{"the log forgets before the checkpoint is written", BugTornCheckpoint, true},
	} {
		seesMistake(t, tt.what, tt.outcomes, func(seed uint64) error {
			_, err := Voters(seed, VotersOptions{Bug: tt.bug, Outcomes: tt.outcomes, Forget: tt.bug == BugCommitBeyond})
			return err
		})
	}
}

// TestForgetfulVoter: a node whose disk has lost what was committed says so and is out; the
// others go on, and nothing is lost.
func TestForgetfulVoter(t *testing.T) {
	out := 0
	for seed := range uint64(20) {
		r, err := Voters(seed, VotersOptions{Forget: true})
		if err != nil {
			t.Fatal(err)
		}
		out += r.Fenced
	}
	if out == 0 {
		t.Error("no node has forgotten anything")
	}
	t.Logf("%d nodes were out", out)
}
