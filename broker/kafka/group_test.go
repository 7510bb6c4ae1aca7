package kafka_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kafka"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestGroupOfClients(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 6, nil)
	ctx := within(t)
	producer := b.client(kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	const n = 60
	produce := func(from int) {
		t.Helper()
		for i := from; i < from+n; i++ {
			if err := producer.ProduceSync(ctx, &kgo.Record{Partition: int32(i % 6), Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	produce(0)

	var mu sync.Mutex
	seen := make(map[string]int)
	member := func() *kgo.Client {
		return b.client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Balancers(kgo.CooperativeStickyBalancer()))
	}
	consume := func(cl *kgo.Client, until int) {
		t.Helper()
		for {
			mu.Lock()
			done := len(seen) >= until
			mu.Unlock()
			if done {
				return
			}
			pctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			fs := cl.PollFetches(pctx)
			cancel()
			if ctx.Err() != nil {
				t.Errorf("seen %d of %d", len(seen), until)
				return
			}
			mu.Lock()
			fs.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
			mu.Unlock()
			if err := cl.CommitUncommittedOffsets(ctx); err != nil && fs.NumRecords() > 0 {
				t.Logf("commit: %v", err) // a rebalance may come between
			}
		}
	}
	one := member()
	consume(one, n)
	two := member()
	produce(n)
	var both sync.WaitGroup
	for _, cl := range []*kgo.Client{one, two} {
		both.Go(func() { consume(cl, 2*n) })
	}
	both.Wait()

	adm := b.admin()
	eventually(t, func() bool { // a cooperative group rebalances twice
		d, err := adm.DescribeGroups(ctx, "g")
		return err == nil && d["g"].State == "Stable" && d["g"].ProtocolType == "consumer" && len(d["g"].Members) == 2
	}, "the group of two is stable")
	one.Close()
	two.Close()
	eventually(t, func() bool {
		lag, err := adm.Lag(ctx, "g")
		return err == nil && lag["g"].State == "Empty"
	}, "members that leave are gone at once")
	offsets, err := adm.FetchOffsets(ctx, "g")
	if err != nil || len(offsets["t"]) != 6 {
		t.Errorf("offsets %v: %v", offsets, err)
	}
	if _, err := adm.DeleteGroups(ctx, "g"); err != nil {
		t.Error(err)
	}
	if groups, err := adm.ListGroups(ctx); err != nil || len(groups) != 0 {
		t.Errorf("after deleting it: %v, %v", groups, err)
	}
}

// joinOf asks to join group g, with one protocol and the shortest session.
func joinOf(version int16, member string) *kmsg.JoinGroupRequest {
	q := kmsg.NewPtrJoinGroupRequest()
	q.Version, q.Group, q.MemberID, q.ProtocolType = version, "g", member, "consumer"
	q.SessionTimeoutMillis, q.RebalanceTimeoutMillis = 6000, 60_000
	q.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("about " + member)}}
	return q
}

func syncOf(version int16, member string, generation int32, assign ...string) *kmsg.SyncGroupRequest {
	q := kmsg.NewPtrSyncGroupRequest()
	q.Version, q.Group, q.MemberID, q.Generation = version, "g", member, generation
	kind, protocol := "consumer", "range"
	q.ProtocolType, q.Protocol = &kind, &protocol
	for i := 0; i < len(assign); i += 2 {
		q.GroupAssignment = append(q.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: assign[i], MemberAssignment: []byte(assign[i+1])})
	}
	return q
}

func beat(r *raw, member string, generation int32) int16 {
	q := kmsg.NewPtrHeartbeatRequest()
	q.Group, q.MemberID, q.Generation = "g", member, generation
	return ask[*kmsg.HeartbeatResponse](r, q, 4).ErrorCode
}

func TestGroupVersions(t *testing.T) {
	for v := int16(0); v <= 9; v++ {
		b := start(t, kafka.Config{})
		r := b.dial()
		join := r.ask(joinOf(v, "")).(*kmsg.JoinGroupResponse)
		if v >= 4 {
			if join.ErrorCode != 79 || join.MemberID == "" {
				t.Fatalf("version %d: error %d, member %q, want MEMBER_ID_REQUIRED and an id", v, join.ErrorCode, join.MemberID)
			}
			join = r.ask(joinOf(v, join.MemberID)).(*kmsg.JoinGroupResponse)
		}
		if join.ErrorCode != 0 || join.Generation != 1 || join.LeaderID != join.MemberID || len(join.Members) != 1 || *join.Protocol != "range" {
			t.Fatalf("version %d: %+v", v, join)
		}
		if v >= 7 && (join.ProtocolType == nil || *join.ProtocolType != "consumer") {
			t.Errorf("version %d: protocol type %v", v, join.ProtocolType)
		}
		sync := r.ask(syncOf(min(v, 5), join.MemberID, 1, join.MemberID, "all")).(*kmsg.SyncGroupResponse)
		if sync.ErrorCode != 0 || string(sync.MemberAssignment) != "all" {
			t.Errorf("version %d: %+v", v, sync)
		}
		if code := beat(r, join.MemberID, 1); code != 0 {
			t.Errorf("version %d: heartbeat: error %d", v, code)
		}
		if code := beat(r, join.MemberID, 2); code != 22 {
			t.Errorf("version %d: heartbeat of another generation: error %d", v, code)
		}
		for dv := int16(0); dv <= 6; dv++ {
			q := kmsg.NewPtrDescribeGroupsRequest()
			q.Groups = []string{"g", "none"}
			d := ask[*kmsg.DescribeGroupsResponse](r, q, dv).Groups
			if g := d[0]; g.State != "Stable" || g.Protocol != "range" || len(g.Members) != 1 || string(g.Members[0].MemberAssignment) != "all" || g.Members[0].ClientID != "test" || g.Members[0].ClientHost != "/127.0.0.1" {
				t.Errorf("described, version %d: %+v", dv, g)
			}
			if g := d[1]; g.State != "Dead" || (g.ErrorCode == 69) != (dv == 6) {
				t.Errorf("an unknown group, version %d: %+v", dv, g)
			}
		}
		for lv := int16(0); lv <= 5; lv++ {
			q := kmsg.NewPtrListGroupsRequest()
			if got := ask[*kmsg.ListGroupsResponse](r, q, lv).Groups; len(got) != 1 || got[0].Group != "g" || got[0].ProtocolType != "consumer" || lv >= 4 && got[0].GroupState != "Stable" {
				t.Errorf("listed, version %d: %+v", lv, got)
			}
			q.StatesFilter, q.TypesFilter = []string{"empty"}, []string{"Classic"}
			if got := ask[*kmsg.ListGroupsResponse](r, q, lv).Groups; len(got) == 0 != (lv >= 4) {
				t.Errorf("listed if empty, version %d: %+v", lv, got)
			}
		}
		del := kmsg.NewPtrDeleteGroupsRequest()
		del.Groups = []string{"g", "none", ""}
		if got := ask[*kmsg.DeleteGroupsResponse](r, del, 2).Groups; got[0].ErrorCode != 68 || got[1].ErrorCode != 69 || got[2].ErrorCode != 24 {
			t.Errorf("deleting it: %+v", got)
		}
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group, leave.MemberID = "g", join.MemberID
		leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: join.MemberID}, {MemberID: "nobody"}}
		switch lv := min(v, 5); {
		case lv < 3:
			if got := ask[*kmsg.LeaveGroupResponse](r, leave, lv); got.ErrorCode != 0 {
				t.Errorf("leaving, version %d: error %d", lv, got.ErrorCode)
			}
		default:
			if got := ask[*kmsg.LeaveGroupResponse](r, leave, lv); got.ErrorCode != 0 || len(got.Members) != 2 || got.Members[0].ErrorCode != 0 || got.Members[1].ErrorCode != 25 {
				t.Errorf("leaving, version %d: %+v", lv, got)
			}
		}
		if code := beat(r, join.MemberID, 1); code != 25 {
			t.Errorf("version %d: heartbeat of who left: error %d", v, code)
		}
	}
}

func TestGroupRefuses(t *testing.T) {
	b := start(t, kafka.Config{})
	r := b.dial()
	edit := func(f func(*kmsg.JoinGroupRequest)) int16 {
		q := joinOf(5, "")
		f(q)
		return r.ask(q).(*kmsg.JoinGroupResponse).ErrorCode
	}
	for _, tt := range []struct {
		what string
		got  int16
		want int16
	}{
		{"no group id", edit(func(q *kmsg.JoinGroupRequest) { q.Group = "" }), 24},
		{"a short session", edit(func(q *kmsg.JoinGroupRequest) { q.SessionTimeoutMillis = 5999 }), 26},
		{"a long session", edit(func(q *kmsg.JoinGroupRequest) { q.SessionTimeoutMillis = 1_800_001 }), 26},
		{"an unknown member", edit(func(q *kmsg.JoinGroupRequest) { q.MemberID = "me" }), 25},
		{"no protocol type", edit(func(q *kmsg.JoinGroupRequest) { q.ProtocolType = "" }), 23},
		{"no protocols", edit(func(q *kmsg.JoinGroupRequest) { q.Protocols = nil }), 23},
		{"sync with nothing", r.ask(&kmsg.SyncGroupRequest{Version: 5, Group: "g"}).(*kmsg.SyncGroupResponse).ErrorCode, 23},
		{"sync of nobody", r.ask(syncOf(5, "me", 1)).(*kmsg.SyncGroupResponse).ErrorCode, 25},
		{"a heartbeat of nobody", beat(r, "me", 1), 25},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: error %d, want %d", tt.what, tt.got, tt.want)
		}
	}
}

// A static member that comes back gets its assignment without a rebalance; its former
// process is fenced.
func TestStaticMember(t *testing.T) {
	b := start(t, kafka.Config{})
	r := b.dial()
	instance := "i1"
	join := joinOf(9, "")
	join.InstanceID = &instance
	first := r.ask(join).(*kmsg.JoinGroupResponse)
	if first.ErrorCode != 0 {
		t.Fatalf("%+v", first)
	}
	s := syncOf(5, first.MemberID, 1, first.MemberID, "mine")
	s.InstanceID = &instance
	r.ask(s)
	again := r.ask(join).(*kmsg.JoinGroupResponse)
	if again.ErrorCode != 0 || again.Generation != 1 || again.MemberID == first.MemberID {
		t.Fatalf("come back: %+v", again)
	}
	s.MemberID, s.GroupAssignment = again.MemberID, nil
	if got := r.ask(s).(*kmsg.SyncGroupResponse); got.ErrorCode != 0 || string(got.MemberAssignment) != "mine" {
		t.Errorf("its assignment: %+v", got)
	}
	h := kmsg.NewPtrHeartbeatRequest()
	h.Group, h.MemberID, h.InstanceID, h.Generation = "g", first.MemberID, &instance, 1
	if got := ask[*kmsg.HeartbeatResponse](r, h, 4).ErrorCode; got != 82 {
		t.Errorf("the former process: error %d, want FENCED_INSTANCE_ID", got)
	}
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = "g"
	leave.Members = []kmsg.LeaveGroupRequestMember{{InstanceID: &instance}}
	if got := ask[*kmsg.LeaveGroupResponse](r, leave, 5); got.Members[0].ErrorCode != 0 {
		t.Errorf("removed by an operator: %+v", got)
	}
}

// A second member makes the first one join again; the group waits for both.
func TestRebalance(t *testing.T) {
	b := start(t, kafka.Config{})
	one, two := b.dial(), b.dial()
	a := one.ask(joinOf(3, "")).(*kmsg.JoinGroupResponse)
	one.ask(syncOf(3, a.MemberID, 1, a.MemberID, "all"))
	join := joinOf(3, "")
	two.send(two.request(join))
	eventually(t, func() bool { return beat(one, a.MemberID, 1) == 27 }, "the first member is told to rebalance")
	again := one.ask(joinOf(3, a.MemberID)).(*kmsg.JoinGroupResponse)
	c := two.read(join).(*kmsg.JoinGroupResponse)
	if again.Generation != 2 || c.Generation != 2 || len(again.Members) != 2 || len(c.Members) != 0 || c.LeaderID != a.MemberID {
		t.Fatalf("first %+v, second %+v", again, c)
	}
	follow := syncOf(3, c.MemberID, 2)
	two.send(two.request(follow))
	one.ask(syncOf(3, a.MemberID, 2, a.MemberID, "one", c.MemberID, "two"))
	if got := two.read(follow).(*kmsg.SyncGroupResponse); string(got.MemberAssignment) != "two" {
		t.Errorf("the follower gets %q", got.MemberAssignment)
	}
}

// Who is not heard of for its session timeout is gone: of link time.
func TestSessionTimeout(t *testing.T) {
	link := clock.NewVirtual(time.Unix(1000, 0))
	k := kerneltest.Open(t, kerneltest.Options{Link: link})
	b := startOn(t, k, kafka.Config{Link: link})
	r := b.dial()
	join := joinOf(3, "")
	r.send(r.request(join))
	var a *kmsg.JoinGroupResponse
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		a = r.read(join).(*kmsg.JoinGroupResponse)
	}()
	for done := false; !done; { // the first rebalance ends with a timer of no time
		select {
		case <-answered:
			done = true
		default:
			link.Advance(0)
		}
	}
	r.ask(syncOf(3, a.MemberID, 1, a.MemberID, "all"))
	link.Advance(5900 * time.Millisecond)
	if code := beat(r, a.MemberID, 1); code != 0 {
		t.Fatalf("in time: error %d", code)
	}
	link.Advance(5900 * time.Millisecond)
	if code := beat(r, a.MemberID, 1); code != 0 {
		t.Fatalf("in time again: error %d", code)
	}
	link.Advance(6100 * time.Millisecond)
	eventually(t, func() bool { return beat(r, a.MemberID, 1) == 25 }, "late: UNKNOWN_MEMBER_ID")
}

func TestOffsets(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 3, nil)
	b.topic("u", 1, nil)
	st, _ := b.k.Stream("/", "t")
	r := b.dial()
	commit := func(version int16, topic string, partition int32, offset int64, note string) int16 {
		q := kmsg.NewPtrOffsetCommitRequest()
		q.Group, q.Generation = "g", -1
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = partition, offset, 5, &note
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic, rt.Partitions = topic, []kmsg.OffsetCommitRequestTopicPartition{p}
		if version >= 10 {
			rt.TopicID = [16]byte{1}
			if topic == "t" {
				rt.TopicID = st.ID
			}
		}
		q.Topics = append(q.Topics, rt)
		return ask[*kmsg.OffsetCommitResponse](r, q, version).Topics[0].Partitions[0].ErrorCode
	}
	for v := int16(2); v <= 10; v++ {
		if code := commit(v, "t", 1, int64(v)*10, "note"); code != 0 {
			t.Errorf("commit, version %d: error %d", v, code)
		}
		want := int16(3)
		if v >= 10 {
			want = 100
		}
		if code := commit(v, "none", 0, 1, ""); code != want {
			t.Errorf("commit for an unknown topic, version %d: error %d, want %d", v, code, want)
		}
	}
	if code := commit(8, "t", 1, 1, string(make([]byte, 4097))); code != 12 {
		t.Errorf("a long note: error %d, want OFFSET_METADATA_TOO_LARGE", code)
	}
	commit(8, "u", 0, 7, "")

	for v := int16(1); v <= 10; v++ {
		fetch := func(all bool) []string {
			q := kmsg.NewPtrOffsetFetchRequest()
			q.Group = "g"
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group = "g"
			if !all {
				q.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0, 1}}}
				g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", TopicID: st.ID, Partitions: []int32{0, 1}}}
			}
			q.Groups = []kmsg.OffsetFetchRequestGroup{g}
			resp := ask[*kmsg.OffsetFetchResponse](r, q, v)
			var out []string
			for _, rt := range resp.Topics {
				for _, p := range rt.Partitions {
					out = append(out, fmt.Sprintf("%s%d=%d%s", rt.Topic, p.Partition, p.Offset, *p.Metadata))
				}
			}
			for _, rg := range resp.Groups {
				for _, rt := range rg.Topics {
					name := rt.Topic
					if rt.TopicID == st.ID {
						name = "t"
					} else if v >= 10 {
						name = "u"
					}
					for _, p := range rt.Partitions {
						out = append(out, fmt.Sprintf("%s%d=%d%s", name, p.Partition, p.Offset, *p.Metadata))
					}
				}
			}
			slices.Sort(out)
			return out
		}
		if got := fmt.Sprint(fetch(false)); got != "[t0=-1 t1=100note]" {
			t.Errorf("fetch, version %d: %s", v, got)
		}
		if got := fmt.Sprint(fetch(true)); v >= 2 && got != "[t1=100note u0=7]" {
			t.Errorf("fetch all, version %d: %s", v, got)
		}
	}

	del := kmsg.NewPtrOffsetDeleteRequest()
	del.Group = "g"
	del.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 1}}}, {Topic: "none", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{}}}}
	resp := ask[*kmsg.OffsetDeleteResponse](r, del, 0)
	if resp.ErrorCode != 0 || resp.Topics[0].Partitions[0].ErrorCode != 0 || resp.Topics[1].Partitions[0].ErrorCode != 3 {
		t.Errorf("delete: %+v", resp)
	}
	del.Group = "none"
	if resp := ask[*kmsg.OffsetDeleteResponse](r, del, 0); resp.ErrorCode != 69 {
		t.Errorf("delete of an unknown group: error %d", resp.ErrorCode)
	}
	offsets, err := b.admin().FetchOffsets(within(t), "g")
	if _, left := offsets.Lookup("t", 1); err != nil || left {
		t.Errorf("after deleting: %v, %v", offsets, err)
	}
}

// Deleting a topic deletes what was committed for it: a new one of that name begins anew.
func TestOffsetsGoWithTheirTopic(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 1, nil)
	adm := b.admin()
	ctx := within(t)
	var os kadm.Offsets
	os.AddOffset("t", 0, 5, -1)
	if err := adm.CommitAllOffsets(ctx, "g", os); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.DeleteTopics(ctx, "t"); err != nil {
		t.Fatal(err)
	}
	b.topic("t", 1, nil)
	offsets, err := adm.FetchOffsets(ctx, "g")
	if _, left := offsets.Lookup("t", 0); err != nil || left {
		t.Errorf("left: %v, %v", offsets, err)
	}
}

func TestFindCoordinator(t *testing.T) {
	b := start(t, kafka.Config{NodeID: 5})
	r := b.dial()
	for v := int16(0); v <= 6; v++ {
		for kind, want := range map[int8]int16{0: 0, 1: 53, 2: 42, 9: 42} {
			if v == 0 && kind != 0 {
				continue
			}
			q := kmsg.NewPtrFindCoordinatorRequest()
			q.CoordinatorKey, q.CoordinatorType, q.CoordinatorKeys = "g", kind, []string{"g", "h"}
			resp := ask[*kmsg.FindCoordinatorResponse](r, q, v)
			code, node, port := resp.ErrorCode, resp.NodeID, resp.Port
			if v >= 4 {
				if len(resp.Coordinators) != 2 || resp.Coordinators[1].Key != "h" {
					t.Fatalf("version %d: %+v", v, resp)
				}
				code, node, port = resp.Coordinators[0].ErrorCode, resp.Coordinators[0].NodeID, resp.Coordinators[0].Port
			}
			if code != want || (want == 0) != (node == 5 && port > 0) {
				t.Errorf("version %d, type %d: node %d, port %d, error %d, want %d", v, kind, node, port, code, want)
			}
		}
	}
}
