package group

import (
	"fmt"
	"testing"
)

// joinReq is a join that any group would take.
func joinReq(token uint64, id string) *JoinRequest {
	return &JoinRequest{Token: token, MemberID: id, NewMemberID: fmt.Sprint("new-", token), SessionTimeout: 10, RebalanceTimeout: 20,
		ProtocolType: "consumer", Protocols: []Protocol{{"range", []byte("x")}}, MinSession: 1, MaxSession: 100}
}

// answers returns the answers among effects, by token.
func answers(eff []Effect) (joins map[uint64]*JoinResult, syncs map[uint64]*SyncResult) {
	joins, syncs = map[uint64]*JoinResult{}, map[uint64]*SyncResult{}
	for _, e := range eff {
		switch e.Kind {
		case JoinAnswer:
			joins[e.Token] = e.Join
		case SyncAnswer:
			syncs[e.Token] = e.Sync
		}
	}
	return joins, syncs
}

// stable returns a stable group of n members new-1 … new-n, and its generation.
func stable(t *testing.T, n int, change func(i int, r *JoinRequest)) *Group {
	t.Helper()
	g := New()
	var eff []Effect
	for i := 1; i <= n; i++ {
		r := joinReq(uint64(i), "")
		r.InitialDelay = 5
		if change != nil {
			change(i, r)
		}
		eff = g.Join(1, r, eff)
	}
	for g.State() == PreparingRebalance {
		eff = g.ExpireJoin(1, g.timer.Step, eff)
	}
	joins, _ := answers(eff)
	if len(joins) != n || joins[1].Error != OK || joins[1].Leader != "new-1" || len(joins[1].Members) != n {
		t.Fatalf("joins: %+v", joins[1])
	}
	for i := n; i >= 1; i-- {
		s := &SyncRequest{Token: 100 + uint64(i), MemberID: fmt.Sprint("new-", i), Generation: 1}
		if i == 1 {
			for j := 1; j <= n; j++ {
				s.Assignments = append(s.Assignments, Assignment{fmt.Sprint("new-", j), []byte{byte(j)}})
			}
		}
		eff = g.Sync(s, eff[:0])
	}
	_, syncs := answers(eff)
	for i := 1; i <= n; i++ {
		if s := syncs[100+uint64(i)]; s == nil || s.Error != OK || string(s.Assignment) != string(rune(i)) {
			t.Fatalf("sync %d: %+v", i, s)
		}
	}
	if g.State() != Stable || g.timer.Step != 0 {
		t.Fatalf("%v %+v", g.State(), g.timer)
	}
	return g
}

func one(t *testing.T, eff []Effect, token uint64) *JoinResult {
	t.Helper()
	joins, _ := answers(eff)
	if joins[token] == nil {
		t.Fatalf("join %d is not answered: %+v", token, eff)
	}
	return joins[token]
}

func TestJoinRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*JoinRequest)
		want   Error
	}{
		{"session too short", func(r *JoinRequest) { r.SessionTimeout = 0 }, InvalidSessionTimeout},
		{"session too long", func(r *JoinRequest) { r.SessionTimeout = 101 }, InvalidSessionTimeout},
		{"unknown id", func(r *JoinRequest) { r.MemberID = "who" }, UnknownMemberID},
		{"other type", func(r *JoinRequest) { r.ProtocolType = "connect" }, InconsistentGroupProtocol},
		{"nothing in common", func(r *JoinRequest) { r.Protocols = []Protocol{{"other", nil}} }, InconsistentGroupProtocol},
		{"group full", func(r *JoinRequest) { r.MaxSize = 2 }, GroupMaxSizeReached},
		{"fenced", func(r *JoinRequest) { r.MemberID, r.InstanceID = "new-1", "two" }, FencedInstanceID},
		{"unknown instance", func(r *JoinRequest) { r.MemberID, r.InstanceID = "new-1", "three" }, UnknownMemberID},
		{"id first", func(r *JoinRequest) { r.RequireKnown = true }, MemberIDRequired},
	}
	for _, tt := range tests {
		g := stable(t, 2, func(i int, r *JoinRequest) {
			if i == 2 {
				r.InstanceID = "two"
			}
		})
		r := joinReq(9, "")
		tt.change(r)
		res := one(t, g.Join(2, r, nil), 9)
		if res.Error != tt.want || res.Generation != -1 {
			t.Errorf("%s: %+v, want %v", tt.name, res, tt.want)
		}
		if g.State() != Stable {
			t.Errorf("%s: disturbed the group", tt.name)
		}
	}
	g := New()
	if res := one(t, g.Join(1, joinReq(1, "somebody"), nil), 1); res.Error != UnknownMemberID || !g.Vacant() {
		t.Errorf("a member of a group that is not there: %+v", res)
	}
	r := joinReq(1, "")
	r.Protocols = nil
	if res := one(t, g.Join(1, r, nil), 1); res.Error != InconsistentGroupProtocol {
		t.Errorf("no protocols: %+v", res)
	}
}

// A follower that joins again as it was is told what it knows; a leader that does, or
// anybody with news, makes a rebalance (KIP-134 and the protocol's usage by clients).
func TestRejoin(t *testing.T) {
	g := stable(t, 2, nil)
	if res := one(t, g.Join(2, joinReq(9, "new-2"), nil), 9); res.Error != OK || res.Generation != 1 || len(res.Members) != 0 || g.State() != Stable {
		t.Fatalf("%+v", res)
	}
	if joins, _ := answers(g.Join(2, joinReq(10, "new-1"), nil)); len(joins) != 0 || g.State() != PreparingRebalance {
		t.Fatalf("%+v", joins)
	}
	if e := g.Heartbeat("new-2", "", 1); e != RebalanceInProgress {
		t.Fatal(e)
	}
	joins, _ := answers(g.Join(2, joinReq(11, "new-2"), nil))
	if len(joins) != 2 || joins[10].Generation != 2 || len(joins[10].Members) != 2 || g.State() != CompletingRebalance {
		t.Fatalf("%+v", joins)
	}
	// The answer to the leader was lost: it asks again, and gets it.
	if res := one(t, g.Join(2, joinReq(12, "new-1"), nil), 12); res.Generation != 2 || len(res.Members) != 2 {
		t.Fatalf("%+v", res)
	}
	if e := g.Heartbeat("new-2", "", 1); e != IllegalGeneration {
		t.Fatal(e)
	}
	if e := g.Heartbeat("new-2", "", 2); e != OK {
		t.Fatal(e)
	}
}

// A static member that restarts gets its assignment back without a rebalance, and its
// former id is fenced (KIP-345; KIP-814 for a leader).
func TestStaticRestart(t *testing.T) {
	static := func(i int, r *JoinRequest) { r.InstanceID = fmt.Sprint("i", i) }
	for _, tt := range []struct {
		member  int
		skip    bool
		leader  string
		members int
	}{
		{2, false, "new-1", 0},
		{2, true, "new-1", 0},
		{1, false, "new-1", 0}, // told that its former id leads, so that it does not assign
		{1, true, "new-9", 2},
	} {
		g := stable(t, 2, static)
		r := joinReq(9, "")
		r.InstanceID, r.SkipAssignment = fmt.Sprint("i", tt.member), tt.skip
		res := one(t, g.Join(2, r, nil), 9)
		if res.Error != OK || res.MemberID != "new-9" || res.Generation != 1 || res.Leader != tt.leader || len(res.Members) != tt.members ||
			res.SkipAssignment != (tt.members > 0) || g.State() != Stable {
			t.Fatalf("%+v: %+v", tt, res)
		}
		_, syncs := answers(g.Sync(&SyncRequest{Token: 10, MemberID: "new-9", InstanceID: r.InstanceID, Generation: 1}, nil))
		if string(syncs[10].Assignment) != string(rune(tt.member)) {
			t.Fatalf("%+v", syncs[10])
		}
		if e := g.Heartbeat(fmt.Sprint("new-", tt.member), r.InstanceID, 1); e != FencedInstanceID {
			t.Fatal(e)
		}
	}
	// While others are still to hear of their assignment, it does make a rebalance.
	g := stable(t, 2, static)
	r := joinReq(9, "new-1")
	r.InstanceID = "i1"
	g.Join(2, r, nil)
	r = joinReq(10, "new-2")
	r.InstanceID = "i2"
	g.Join(2, r, nil)
	if g.State() != CompletingRebalance {
		t.Fatal(g.State())
	}
	g.Sync(&SyncRequest{Token: 11, MemberID: "new-2", InstanceID: "i2", Generation: 2}, nil)
	r = joinReq(12, "")
	r.InstanceID = "i2"
	_, syncs := answers(g.Join(2, r, nil))
	if syncs[11] == nil || syncs[11].Error != FencedInstanceID || g.State() != PreparingRebalance {
		t.Fatalf("%+v %v", syncs[11], g.State())
	}
}

// Static members that did not join in time stay; while none has joined, the group waits
// for their sessions to end.
func TestStaticAbsent(t *testing.T) {
	g := stable(t, 3, func(i int, r *JoinRequest) {
		if i < 3 {
			r.InstanceID = fmt.Sprint("i", i)
		}
	})
	eff := g.ExpireMember(2, "new-3", nil)
	if g.State() != PreparingRebalance {
		t.Fatal(g.State())
	}
	step := g.timer.Step
	g.ExpireJoin(3, step, eff)
	if g.State() != PreparingRebalance || g.timer.Step == step || g.members.Len() != 2 {
		t.Fatalf("%v %+v", g.State(), g.timer)
	}
	r := joinReq(9, "new-2")
	r.InstanceID = "i2"
	g.Join(4, r, nil)
	eff = g.ExpireJoin(5, g.timer.Step, nil)
	if res := one(t, eff, 9); res.Leader != "new-2" || len(res.Members) != 2 {
		t.Fatalf("%+v", res)
	}
	// It did not sync either.
	g.Sync(&SyncRequest{Token: 10, MemberID: "new-2", InstanceID: "i2", Generation: 2}, nil)
	g.ExpireSync(6, g.timer.Step, nil)
	if g.State() != PreparingRebalance || g.members.Len() != 1 {
		t.Fatalf("%v %d", g.State(), g.members.Len())
	}
}

// The first rebalance is put off while members keep coming, within the rebalance timeout.
func TestInitialDelay(t *testing.T) {
	g := New()
	join := func(token uint64) []Effect {
		r := joinReq(token, "")
		r.InitialDelay, r.RebalanceTimeout = 8, 20
		return g.Join(1, r, nil)
	}
	join(1)
	var waits []int64
	for i := uint64(2); g.State() == PreparingRebalance; i++ {
		waits = append(waits, g.timer.After)
		join(i)
		g.ExpireJoin(1, g.timer.Step, nil)
	}
	if fmt.Sprint(waits) != "[8 8 4]" {
		t.Fatal(waits)
	}
	g = New()
	if res := one(t, g.Join(1, joinReq(1, ""), nil), 1); res.Error != OK || res.Generation != 1 {
		t.Fatalf("no delay: %+v", res)
	}
}

func TestVotes(t *testing.T) {
	g := New()
	for i, names := range []string{"abc", "bac", "cb"} {
		r := joinReq(uint64(i+1), "")
		r.InitialDelay, r.Protocols = 5, nil
		for _, n := range names {
			r.Protocols = append(r.Protocols, Protocol{string(n), []byte{byte(i)}})
		}
		g.Join(1, r, nil)
	}
	// a is not known to all; of b and c, two members prefer b.
	g.ExpireJoin(1, g.timer.Step, nil)
	res := one(t, g.ExpireJoin(1, g.timer.Step, nil), 1)
	if res.Protocol != "b" || string(res.Members[2].Metadata) != "\x02" {
		t.Fatalf("%+v", res)
	}
}

// A member that was told its id, and does not come back, holds the others up no longer
// than its session timeout.
func TestPendingMember(t *testing.T) {
	g := stable(t, 1, nil)
	r := joinReq(9, "")
	r.RequireKnown = true
	eff := g.Join(2, r, nil)
	if eff[0].Kind != Arm || eff[0].Timer.Member != "new-9" || eff[0].Timer.After != 10 {
		t.Fatalf("%+v", eff)
	}
	if joins, _ := answers(g.Join(2, joinReq(10, "new-1"), nil)); len(joins) != 0 {
		t.Fatalf("%+v", joins[10])
	}
	if res := one(t, g.ExpireMember(3, "new-9", nil), 10); res.Generation != 2 {
		t.Fatalf("%+v", res)
	}
	if res := one(t, g.Join(4, joinReq(11, "new-9"), nil), 11); res.Error != UnknownMemberID {
		t.Fatalf("%+v", res)
	}
}

func TestLeaveEmpties(t *testing.T) {
	g := stable(t, 2, nil)
	eff, errs := g.Leave(7, []LeaveMember{{"new-1", ""}, {"new-2", ""}, {"new-2", ""}}, nil)
	if fmt.Sprint(errs) != "[NONE NONE UNKNOWN_MEMBER_ID]" || g.State() != Empty || g.generation != 2 || g.since != 7 {
		t.Fatalf("%v %v %d", errs, g.State(), g.generation)
	}
	armed := map[string]bool{}
	for _, e := range eff {
		armed[timerKey(e.Timer)] = e.Kind == Arm
	}
	for k, on := range armed {
		if on {
			t.Errorf("%s is left armed", k)
		}
	}
	if !g.Vacant() {
		t.Error("not vacant")
	}
	if e := g.Heartbeat("new-1", "", 2); e != UnknownMemberID {
		t.Error(e)
	}
	_, e := g.Delete(nil)
	if e != OK || g.State() != Dead {
		t.Error(e)
	}
	if _, e = g.Delete(nil); e != GroupIDNotFound {
		t.Error(e)
	}
	if res := one(t, g.Join(1, joinReq(1, ""), nil), 1); res.Error != CoordinatorNotAvailable {
		t.Error(res)
	}
}

func TestSyncRefused(t *testing.T) {
	for _, tt := range []struct {
		r    SyncRequest
		want Error
	}{
		{SyncRequest{MemberID: "who", Generation: 1}, UnknownMemberID},
		{SyncRequest{MemberID: "new-1", Generation: 2}, IllegalGeneration},
		{SyncRequest{MemberID: "new-1", Generation: 1, ProtocolType: "connect"}, InconsistentGroupProtocol},
		{SyncRequest{MemberID: "new-1", Generation: 1, Protocol: "sticky"}, InconsistentGroupProtocol},
		{SyncRequest{MemberID: "new-1", Generation: 1, ProtocolType: "consumer", Protocol: "range"}, OK},
	} {
		g := stable(t, 1, nil)
		tt.r.Token = 5
		_, syncs := answers(g.Sync(&tt.r, nil))
		if syncs[5] == nil || syncs[5].Error != tt.want {
			t.Errorf("%+v: %+v", tt.r, syncs[5])
		}
	}
	if _, syncs := answers(New().Sync(&SyncRequest{Token: 5}, nil)); syncs[5].Error != UnknownMemberID {
		t.Error(syncs[5])
	}
}

func TestDescribe(t *testing.T) {
	g := stable(t, 1, nil)
	if d := g.Describe(); d.Protocol != "range" || string(d.Members[0].Metadata) != "x" || string(d.Members[0].Assignment) != "\x01" {
		t.Errorf("%+v", d)
	}
	g.Join(2, joinReq(9, ""), nil)
	if d := g.Describe(); d.Protocol != "" || len(d.Members) != 2 || d.Members[0].Assignment != nil || d.State.String() != "PreparingRebalance" {
		t.Errorf("%+v", d)
	}
}
