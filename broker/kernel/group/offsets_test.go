package group

import (
	"bytes"
	"encoding/binary"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func meta(topics ...string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 1}, uint32(len(topics)))
	for _, t := range topics {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(t))), t...)
	}
	return append(b, 0, 0, 0, 0)
}

func TestCheckCommit(t *testing.T) {
	tests := []struct {
		name         string
		g            func() *Group
		id, instance string
		generation   int32
		want, txn    Error
	}{
		{"no group, no member", New, "", "", -1, OK, OK},
		{"no group, a member", New, "a", "", 3, IllegalGeneration, IllegalGeneration},
		{"in order", func() *Group { return stable(t, 1, nil) }, "new-1", "", 1, OK, OK},
		{"unknown member", func() *Group { return stable(t, 1, nil) }, "who", "", 1, UnknownMemberID, UnknownMemberID},
		{"old generation", func() *Group { return stable(t, 1, nil) }, "new-1", "", 0, IllegalGeneration, IllegalGeneration},
		{"beside the group", func() *Group { return stable(t, 1, nil) }, "", "", -1, UnknownMemberID, OK},
		{"unknown instance", func() *Group { return stable(t, 1, nil) }, "new-1", "i", 1, UnknownMemberID, UnknownMemberID},
		{"rebalance begins", func() *Group {
			g := stable(t, 2, nil)
			g.Join(1, joinReq(9, "new-1"), nil)
			return g
		}, "new-1", "", 1, OK, OK},
		{"rebalance ends", func() *Group {
			g := stable(t, 1, nil)
			g.Join(1, joinReq(9, "new-1"), nil)
			return g
		}, "new-1", "", 2, RebalanceInProgress, OK},
		{"everybody left", func() *Group {
			g := stable(t, 1, nil)
			g.Leave(1, []LeaveMember{{"new-1", ""}}, nil)
			return g
		}, "new-1", "", 1, UnknownMemberID, UnknownMemberID},
	}
	for _, tt := range tests {
		g := tt.g()
		if e := g.CheckCommit(tt.id, tt.instance, tt.generation); e != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, e, tt.want)
		}
		if e := g.CheckTxnCommit(tt.id, tt.instance, tt.generation); e != tt.txn {
			t.Errorf("%s, in a transaction: %v, want %v", tt.name, e, tt.txn)
		}
	}
}

func TestDeleteOffset(t *testing.T) {
	reads := func(topics ...string) func(int, *JoinRequest) {
		return func(_ int, r *JoinRequest) { r.Protocols[0].Metadata = meta(topics...) }
	}
	for _, tt := range []struct {
		name string
		g    *Group
		want Error
	}{
		{"empty", New(), OK},
		{"not read", stable(t, 1, reads("b")), OK},
		{"read", stable(t, 1, reads("b", "a")), GroupSubscribedToTopic},
		{"not said", stable(t, 1, nil), GroupSubscribedToTopic},
		{"not a consumer", stable(t, 1, func(_ int, r *JoinRequest) { r.ProtocolType = "connect" }), NonEmptyGroup},
	} {
		tt.g.SetOffset(1, "a", 0, Offset{Offset: 5})
		if e := tt.g.DeleteOffset("a", 0); e != tt.want {
			t.Errorf("%s: %v", tt.name, e)
		}
		if _, ok, _ := tt.g.Fetch("a", 0, false); ok == (tt.want == OK) {
			t.Errorf("%s: still there: %v", tt.name, ok)
		}
	}
}

func TestExpireOffsets(t *testing.T) {
	const retention = 100
	run := func(g *Group) (gone []int64) { // times at which something expired, as ticks would find
		for ticks := 0; ; ticks++ {
			at := g.NextExpiry(retention)
			if at == 0 || ticks == 20 {
				return gone
			}
			if g.ExpireOffsets(at-1, retention) > 0 {
				t.Errorf("something expired before %d", at)
			}
			if g.ExpireOffsets(at, retention) > 0 {
				gone = append(gone, at)
			}
		}
	}
	simple := New()
	simple.SetOffset(10, "a", 0, Offset{})
	simple.SetOffset(30, "a", 1, Offset{})
	simple.SetOffset(30, "b", 0, Offset{ExpiresAt: 50})
	if got := run(simple); !slices.Equal(got, []int64{50, 110, 130}) || !simple.Vacant() {
		t.Errorf("without members: %v", got)
	}

	g := stable(t, 1, func(_ int, r *JoinRequest) { r.Protocols[0].Metadata = meta("a") })
	g.SetOffset(10, "a", 0, Offset{})
	g.SetOffset(10, "b", 0, Offset{})
	if got := run(g); !slices.Equal(got, []int64{110}) || g.offsets != 1 {
		t.Errorf("with a member: %v", got)
	}
	g.Leave(500, []LeaveMember{{"new-1", ""}}, nil)
	g.SetTxnOffset(500, 7, "a", 0, Offset{Offset: 9})
	if got := run(g); len(got) != 0 {
		t.Errorf("in a transaction: %v", got)
	}
	g.EndTxn(7, false)
	if got := run(g); !slices.Equal(got, []int64{600}) || !g.Vacant() {
		t.Errorf("once empty: %v", got)
	}
}

// TestOffsetModel compares offsets with plain maps, while the group is saved, loaded and
// forked under way.
func TestOffsetModel(t *testing.T) {
	type tp struct {
		topic string
		part  int32
	}
	rapid.Check(t, func(t *rapid.T) {
		g := New()
		g.gen = 1
		want := map[tp]Offset{}
		open := map[int64]map[tp]Offset{}
		st, saved := store{}, uint64(0)
		var frozen *Group
		var frozenBytes []pair
		now := int64(1)
		key := func(t *rapid.T) tp {
			return tp{rapid.SampledFrom([]string{"a", "ab", "b", ""}).Draw(t, "topic"), rapid.Int32Range(0, 4).Draw(t, "partition")}
		}
		value := func(t *rapid.T) Offset {
			return Offset{Offset: rapid.Int64().Draw(t, "offset"), LeaderEpoch: rapid.Int32().Draw(t, "epoch"), Metadata: rapid.StringN(0, 3, 8).Draw(t, "meta"), CommittedAt: now}
		}
		producer := rapid.SampledFrom([]int64{-1, 0, 7})
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				now++
				got := map[tp]Offset{}
				g.Offsets(func(topic string, p int32, o Offset) bool { got[tp{topic, p}] = o; return true })
				if !maps.Equal(got, want) || g.offsets != len(want) {
					t.Fatalf("offsets %v (%d), want %v", got, g.offsets, want)
				}
				if g.Vacant() != (len(want) == 0 && len(open) == 0) {
					t.Fatal("vacant")
				}
				if frozen != nil && !reflect.DeepEqual(save(frozen), frozenBytes) {
					t.Fatal("a fork changed what it was forked from")
				}
			},
			"set": func(t *rapid.T) {
				k, o := key(t), value(t)
				if e := g.SetOffset(now, k.topic, k.part, o); e != OK {
					t.Fatal(e)
				}
				want[k] = o
			},
			"txn": func(t *rapid.T) {
				k, o, p := key(t), value(t), producer.Draw(t, "producer")
				if e := g.SetTxnOffset(now, p, k.topic, k.part, o); e != OK {
					t.Fatal(e)
				}
				if open[p] == nil {
					open[p] = map[tp]Offset{}
				}
				open[p][k] = o
			},
			"end": func(t *rapid.T) {
				p, commit := producer.Draw(t, "producer"), rapid.Bool().Draw(t, "commit")
				g.EndTxn(p, commit)
				if commit {
					maps.Copy(want, open[p])
				}
				delete(open, p)
			},
			"fetch": func(t *rapid.T) {
				k, stable := key(t), rapid.Bool().Draw(t, "stable")
				o, ok, e := g.Fetch(k.topic, k.part, stable)
				unstable := false
				for _, m := range open {
					_, in := m[k]
					unstable = unstable || in && stable
				}
				w, wok := want[k]
				if unstable {
					if e != UnstableOffsetCommit {
						t.Fatal(e)
					}
				} else if ok != wok || o != w || e != OK {
					t.Fatal(o, ok, e)
				}
			},
			"delete": func(t *rapid.T) {
				k := key(t)
				if e := g.DeleteOffset(k.topic, k.part); e != OK {
					t.Fatal(e)
				}
				delete(want, k)
				for p, m := range open {
					delete(m, k)
					if len(m) == 0 {
						delete(open, p)
					}
				}
			},
			"drop": func(t *rapid.T) {
				k := key(t)
				g.DropTopic(k.topic)
				maps.DeleteFunc(want, func(x tp, _ Offset) bool { return x.topic == k.topic })
				for p, m := range open {
					maps.DeleteFunc(m, func(x tp, _ Offset) bool { return x.topic == k.topic })
					if len(m) == 0 {
						delete(open, p)
					}
				}
			},
			"fork": func(t *rapid.T) {
				f := g.Fork(g.gen, 0)
				frozen, frozenBytes = g, save(g)
				if rapid.Bool().Draw(t, "side") {
					frozen, f = f, frozen
				}
				g = f
			},
			"checkpoint": func(t *rapid.T) {
				f := g
				g = f.Fork(f.gen+1, saved)
				f.Save(len(st) == 0, saved, st.put)
				saved = f.gen
				if !reflect.DeepEqual(st.pairs(), save(f)) {
					t.Fatal("incremental and full differ")
				}
				if rapid.Bool().Draw(t, "restart") {
					l, err := Load(saved, seq(st.pairs()))
					if err != nil {
						t.Fatal(err)
					}
					if !reflect.DeepEqual(save(l), save(f)) {
						t.Fatal("saved, loaded and saved differs")
					}
					g = l
				}
			},
		})
	})
}

func TestMetadataMax(t *testing.T) {
	g := New()
	o := Offset{Metadata: strings.Repeat("x", MetadataMax+1)}
	if e := g.SetOffset(1, "a", 0, o); e != OffsetMetadataTooLarge {
		t.Error(e)
	}
	if e := g.SetTxnOffset(1, 1, "a", 0, o); e != OffsetMetadataTooLarge || !g.Vacant() {
		t.Error(e)
	}
}

func TestCommitAllocatesNothing(t *testing.T) {
	g := New()
	for p := range int32(100) {
		g.SetOffset(1, "orders", p, Offset{})
	}
	n := int64(0)
	if a := testing.AllocsPerRun(1000, func() {
		n++
		g.SetOffset(n, "orders", int32(n%100), Offset{Offset: n})
		g.Fetch("orders", int32(n%100), true)
	}); a != 0 {
		t.Error(a)
	}
}

func FuzzLoad(f *testing.F) {
	add := func(g *Group) {
		var buf []byte
		for _, p := range save(g) {
			buf = append(append(buf, byte(len(p.k))), p.k...)
			buf = append(binary.BigEndian.AppendUint16(buf, uint16(len(p.v))), p.v...)
		}
		f.Add(buf)
	}
	g := New()
	add(g)
	g.SetOffset(1, "t", 3, Offset{Offset: 9, Metadata: "m"})
	g.SetTxnOffset(1, 5, "t", 3, Offset{Offset: 9})
	r := joinReq(1, "")
	r.InitialDelay = 5
	g.Join(1, r, nil)
	r = joinReq(2, "")
	r.InitialDelay, r.InstanceID = 5, "i"
	g.Join(1, r, nil)
	r = joinReq(3, "")
	r.RequireKnown = true
	g.Join(1, r, nil)
	add(g)
	g.ExpireJoin(1, g.timer.Step, nil)
	g.ExpireJoin(1, g.timer.Step, nil)
	g.Sync(&SyncRequest{Token: 4, MemberID: "new-2", InstanceID: "i", Generation: 1}, nil)
	add(g)
	g.Sync(&SyncRequest{Token: 5, MemberID: "new-1", Generation: 1, Assignments: []Assignment{{"new-2", []byte("a")}}}, nil)
	add(g)
	f.Fuzz(func(t *testing.T, b []byte) {
		var ps []pair
		for len(b) > 0 {
			n := int(b[0])
			if len(b) < n+3 {
				return
			}
			k := b[1 : 1+n]
			m := int(binary.BigEndian.Uint16(b[1+n:]))
			if b = b[n+3:]; len(b) < m {
				return
			}
			ps = append(ps, pair{k, b[:m]})
			b = b[m:]
		}
		g, err := Load(1, seq(ps))
		if err != nil {
			return
		}
		got := save(g)
		if !slices.EqualFunc(got, ps, func(a, b pair) bool { return bytes.Equal(a.k, b.k) && bytes.Equal(a.v, b.v) }) {
			t.Fatalf("%x\n%x", got, ps)
		}
		// It works.
		g.ExpireOffsets(1<<50, 1)
		g.NextExpiry(5)
		g.Join(5, joinReq(1<<60, ""), nil)
		g.Sync(&SyncRequest{Token: 6, MemberID: g.leader, Generation: g.generation}, nil)
		for range 3 {
			g.ExpireJoin(6, g.timer.Step, nil)
			g.ExpireSync(6, g.timer.Step, nil)
		}
		g.Describe()
		for _, id := range g.members.Keys() {
			g.ExpireMember(7, id, nil)
		}
		if _, err := Load(1, seq(save(g))); err != nil {
			t.Fatalf("what was loaded and used cannot be loaded: %v", err)
		}
	})
}

func BenchmarkCommit(b *testing.B) {
	g := New()
	for p := range int32(1000) {
		g.SetOffset(1, "orders", p, Offset{})
	}
	n := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		g.SetOffset(n, "orders", int32(n%1000), Offset{Offset: n})
	}
}

// BenchmarkRebalance is one whole rebalance of a group of 100.
func BenchmarkRebalance(b *testing.B) {
	g := New()
	const n = 100
	ids := make([]string, n)
	var eff []Effect
	token := uint64(0)
	for i := range ids {
		token++
		r := joinReq(token, "")
		r.InitialDelay = 5
		ids[i] = r.NewMemberID
		eff = g.Join(1, r, eff[:0])
	}
	g.ExpireJoin(1, g.timer.Step, nil)
	eff = g.ExpireJoin(1, g.timer.Step, eff[:0])
	b.ReportAllocs()
	for b.Loop() {
		for i := range ids {
			eff = g.Sync(&SyncRequest{Token: uint64(i), MemberID: ids[n-1-i], Generation: g.generation}, eff[:0])
		}
		r := joinReq(0, "")
		for i := range ids {
			r.MemberID, r.Token = ids[i], uint64(i)
			eff = g.Join(1, r, eff[:0])
		}
		if g.State() != CompletingRebalance {
			b.Fatal(g.State())
		}
	}
}

// A checkpoint reads the side of a fork that stands still while the other goes on. Means
// something under the race detector.
func TestForkWhileSaving(t *testing.T) {
	g := stable(t, 3, nil)
	for p := range int32(500) {
		g.SetOffset(1, "orders", p, Offset{})
	}
	for gen := uint64(1); gen < 20; gen++ {
		frozen := g
		done := make(chan []pair)
		go func() { done <- save(frozen) }()
		g = frozen.Fork(gen, gen-1)
		for p := range int32(300) {
			g.SetOffset(2, "orders", p, Offset{Offset: int64(gen)})
		}
		g.SetTxnOffset(3, int64(gen), "orders", 1, Offset{})
		g.Join(3, joinReq(gen+1000, "new-1"), nil)
		g.ExpireMember(4, "new-3", nil)
		if !reflect.DeepEqual(<-done, save(frozen)) {
			t.Fatal("a fork changed what it was forked from")
		}
	}
}
