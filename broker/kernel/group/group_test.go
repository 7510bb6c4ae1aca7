package group

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type pair struct{ k, v []byte }

func save(g *Group) []pair {
	var out []pair
	g.Save(true, 0, func(k, v []byte) { out = append(out, pair{bytes.Clone(k), bytes.Clone(v)}) })
	return out
}

func seq(ps []pair) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for _, p := range ps {
			if !yield(p.k, p.v) {
				return
			}
		}
	}
}

type store map[string]string

func (s store) put(k, v []byte) {
	if v == nil {
		delete(s, string(k))
	} else {
		s[string(k)] = string(v)
	}
}

func (s store) pairs() []pair {
	var out []pair
	for _, k := range slices.Sorted(maps.Keys(s)) {
		out = append(out, pair{[]byte(k), []byte(s[k])})
	}
	return out
}

// client behaves as a Kafka consumer does.
type client struct {
	n          int
	instance   string
	id         string
	generation int32
	leads      []JoinMember // when it is to assign
	wantsSync  bool
	joining    uint64 // token; 0 none
	syncing    uint64
	protocols  []Protocol
	assigned   string
	stable     bool
}

func (c *client) lost() { c.generation, c.wantsSync, c.leads, c.stable = -1, false, nil, false }

// world is a group, its clients and the timers of its leader.
type world struct {
	t       interface{ Fatalf(string, ...any) }
	g       *Group
	now     int64
	clients []*client
	tokens  uint64
	ids     int
	waiting map[uint64]*client
	timers  map[string]Timer // by member; "join", "sync"
	// what each generation is: learnt from answers
	leader, protocol map[int32]string
	given            map[string]string // generation/member → assignment
	top              int32
}

func newWorld(t interface{ Fatalf(string, ...any) }, n int) *world {
	w := &world{t: t, g: New(), now: 1, waiting: map[uint64]*client{}, timers: map[string]Timer{}, leader: map[int32]string{},
		protocol: map[int32]string{}, given: map[string]string{}}
	for i := range n {
		c := &client{n: i, generation: -1, protocols: []Protocol{{"range", []byte("r")}, {"sticky", []byte("s")}}}
		if i%3 == 2 {
			c.instance = fmt.Sprint("static-", i)
		}
		w.clients = append(w.clients, c)
	}
	return w
}

func (w *world) token(c *client) uint64 {
	w.tokens++
	w.waiting[w.tokens] = c
	return w.tokens
}

func timerKey(t Timer) string {
	switch t.Kind {
	case JoinTimer:
		return "join"
	case SyncTimer:
		return "sync"
	}
	return "m" + t.Member
}

// carry carries out effects as a broker and clients would.
func (w *world) carry(eff []Effect) {
	for _, e := range eff {
		switch e.Kind {
		case Arm:
			w.timers[timerKey(e.Timer)] = e.Timer
		case Disarm:
			delete(w.timers, timerKey(e.Timer))
		case JoinAnswer, SyncAnswer:
			c := w.waiting[e.Token]
			if c == nil {
				w.t.Fatalf("token %d is answered twice: %+v", e.Token, e)
			}
			delete(w.waiting, e.Token)
			switch {
			case e.Kind == JoinAnswer && c.joining == e.Token:
				c.joining = 0
				w.joined(c, e.Join)
			case e.Kind == SyncAnswer && c.syncing == e.Token:
				c.syncing = 0
				w.synced(c, e.Sync)
			}
		}
	}
}

func (w *world) joined(c *client, r *JoinResult) {
	switch r.Error {
	case OK:
	case MemberIDRequired:
		c.id = r.MemberID
		return
	case UnknownMemberID, GroupMaxSizeReached:
		c.id = ""
		c.lost()
		return
	case FencedInstanceID:
		c.id = ""
		c.lost()
		return
	default:
		return
	}
	if r.Generation < w.top {
		w.t.Fatalf("generation %d after %d", r.Generation, w.top)
	}
	w.top = r.Generation
	if l, ok := w.leader[r.Generation]; ok && l != r.Leader && c.instance == "" {
		// A static leader that restarts changes its id without a new generation.
		if m, ok := w.g.members.Get(r.Leader); !ok || m.instance == "" {
			w.t.Fatalf("generation %d has leaders %q and %q", r.Generation, l, r.Leader)
		}
	}
	if p, ok := w.protocol[r.Generation]; ok && p != r.Protocol {
		w.t.Fatalf("generation %d has protocols %q and %q", r.Generation, p, r.Protocol)
	}
	w.leader[r.Generation], w.protocol[r.Generation] = r.Leader, r.Protocol
	c.id, c.generation, c.wantsSync, c.stable = r.MemberID, r.Generation, true, false
	c.leads = nil
	if r.Leader == r.MemberID {
		if len(r.Members) == 0 {
			w.t.Fatalf("leader %q is not told the members", r.MemberID)
		}
		if !r.SkipAssignment {
			c.leads = r.Members
		}
	} else if len(r.Members) > 0 {
		w.t.Fatalf("%q does not lead, and is told the members", r.MemberID)
	}
}

func (w *world) synced(c *client, r *SyncResult) {
	c.wantsSync = false
	switch r.Error {
	case OK:
		c.assigned, c.stable = string(r.Assignment), true
	case RebalanceInProgress:
		c.lost()
	default:
		c.id = ""
		c.lost()
	}
}

func (w *world) join(c *client) {
	w.ids++
	c.joining = w.token(c)
	c.syncing = 0
	w.carry(w.g.Join(w.now, &JoinRequest{
		Token: c.joining, MemberID: c.id, NewMemberID: fmt.Sprintf("m%04d", w.ids), InstanceID: c.instance, ClientID: fmt.Sprint(c.n),
		SessionTimeout: 10_000 + int32(c.n), RebalanceTimeout: 60_000 + int32(c.n), ProtocolType: "consumer", Protocols: c.protocols,
		RequireKnown: c.n%2 == 0, SkipAssignment: c.n%4 < 2, MinSession: 1, MaxSession: 1 << 30, InitialDelay: int32(c.n%3) * 1000,
	}, nil))
}

func (w *world) sync(c *client) {
	r := &SyncRequest{Token: w.token(c), MemberID: c.id, InstanceID: c.instance, Generation: c.generation, ProtocolType: "consumer"}
	c.syncing = r.Token
	for _, m := range c.leads {
		a := fmt.Sprintf("%d/%s", c.generation, m.ID)
		r.Assignments = append(r.Assignments, Assignment{m.ID, []byte(a)})
	}
	w.carry(w.g.Sync(r, nil))
}

// act lets a client do what a consumer would do next.
func (w *world) act(c *client) {
	switch {
	case c.joining != 0 || c.syncing != 0:
	case c.generation < 0:
		w.join(c)
	case c.wantsSync:
		w.sync(c)
	default:
		switch w.g.Heartbeat(c.id, c.instance, c.generation) {
		case OK:
		case RebalanceInProgress:
			w.join(c)
		case IllegalGeneration:
			c.lost()
		default:
			c.id = ""
			c.lost()
		}
	}
}

// expire lets a deadline pass.
func (w *world) expire(key string) {
	t, ok := w.timers[key]
	if !ok {
		return
	}
	delete(w.timers, key)
	switch t.Kind {
	case JoinTimer:
		w.carry(w.g.ExpireJoin(w.now, t.Step, nil))
	case SyncTimer:
		w.carry(w.g.ExpireSync(w.now, t.Step, nil))
	default:
		w.carry(w.g.ExpireMember(w.now, t.Member, nil))
	}
}

// check compares what the group says with what its effects have told.
func (w *world) check() {
	want := map[string]bool{}
	w.g.Timers(func(t Timer) {
		want[timerKey(t)] = true
		if t.Kind != MemberTimer && w.timers[timerKey(t)] != t {
			w.t.Fatalf("timer %+v, was told of %+v", t, w.timers[timerKey(t)])
		}
		if _, ok := w.timers[timerKey(t)]; !ok {
			w.t.Fatalf("timer %+v was never armed", t)
		}
	})
	for k, t := range w.timers {
		// A member that joins again keeps its timer, which means nothing while it waits.
		if m, ok := w.g.members.Get(t.Member); !want[k] && !(ok && (m.joinWaits || m.syncWaits)) {
			w.t.Fatalf("timer %+v was never disarmed", t)
		}
	}
	joining, unsync := 0, 0
	w.g.members.Scan(func(id string, m *member) bool {
		if m.joinWaits {
			joining++
		}
		if m.syncDue {
			unsync++
		}
		if m.joinWaits && w.waiting[m.joinToken] == nil || m.syncWaits && w.waiting[m.syncToken] == nil {
			w.t.Fatalf("member %+v waits for what was answered", m)
		}
		return true
	})
	if joining != w.g.joining || unsync != w.g.unsync {
		w.t.Fatalf("%d join and %d sync, counted %d and %d", joining, unsync, w.g.joining, w.g.unsync)
	}
	for token := range w.waiting {
		found := false
		w.g.members.Scan(func(_ string, m *member) bool {
			found = m.joinWaits && m.joinToken == token || m.syncWaits && m.syncToken == token
			return !found
		})
		if !found {
			w.t.Fatalf("token %d is forgotten", token)
		}
	}
	ps := save(w.g)
	l, err := Load(1, seq(ps))
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	if !reflect.DeepEqual(save(l), ps) {
		w.t.Fatalf("saved, loaded and saved differs")
	}
}

// settle lets everybody behave, and time pass when nobody can act, until all is quiet.
func (w *world) settle() {
	for range 200 {
		w.now += 10
		before := w.tokens
		for _, c := range w.clients {
			w.act(c)
		}
		if w.g.State() == Stable && !slices.ContainsFunc(w.clients, func(c *client) bool { return !c.stable || c.generation != w.g.generation }) {
			for _, c := range w.clients {
				// Who restarted as a static member was given its assignment under its old id.
				if c.instance == "" && c.assigned != fmt.Sprintf("%d/%s", c.generation, c.id) {
					w.t.Fatalf("client %d of generation %d has assignment %q", c.n, c.generation, c.assigned)
				}
			}
			return
		}
		if w.tokens != before {
			continue
		}
		if _, ok := w.timers["join"]; ok {
			w.expire("join")
			continue
		}
		w.expire("sync")
		for _, k := range slices.Sorted(maps.Keys(w.timers)) {
			t := w.timers[k]
			// The sessions of those that nobody plays any more.
			m, ok := w.g.members.Get(t.Member)
			if t.Kind == MemberTimer && !slices.ContainsFunc(w.clients, func(c *client) bool {
				return c.id == t.Member || ok && m.joinWaits && c.joining == m.joinToken
			}) {
				w.expire(k)
			}
		}
	}
	w.t.Fatalf("the group does not settle: %+v", w.g.Describe())
}

func TestClients(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.IntRange(1, 7).Draw(t, "clients"))
		w.g.gen = 1
		st, saved := store{}, uint64(0)
		var frozen *Group
		var frozenBytes []pair
		pick := func(t *rapid.T) *client { return w.clients[rapid.IntRange(0, len(w.clients)-1).Draw(t, "client")] }
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				w.now++
				w.check()
				if frozen != nil && !reflect.DeepEqual(save(frozen), frozenBytes) {
					t.Fatalf("a fork changed what it was forked from")
				}
			},
			"act": func(t *rapid.T) { w.act(pick(t)) },
			"all": func(t *rapid.T) {
				for _, c := range w.clients {
					w.act(c)
				}
			},
			"restart": func(t *rapid.T) { // forgets who it was
				c := pick(t)
				c.id, c.joining, c.syncing = "", 0, 0
				c.lost()
			},
			"retry": func(t *rapid.T) { // lost its connection while it waited
				c := pick(t)
				c.joining, c.syncing = 0, 0
			},
			"rejoin": func(t *rapid.T) { w.join(pick(t)) },
			"news": func(t *rapid.T) {
				c := pick(t)
				c.protocols = []Protocol{{"range", fmt.Append(nil, w.now)}}
				if rapid.Bool().Draw(t, "both") {
					c.protocols = append([]Protocol{{"sticky", nil}}, c.protocols...)
				}
			},
			"leave": func(t *rapid.T) {
				c := pick(t)
				id := c.id
				if c.instance != "" && rapid.Bool().Draw(t, "byInstance") {
					id = ""
				}
				eff, errs := w.g.Leave(w.now, []LeaveMember{{id, c.instance}, {"nobody", ""}}, nil)
				if errs[1] != UnknownMemberID {
					t.Fatalf("nobody left: %v", errs)
				}
				w.carry(eff)
			},
			"expire": func(t *rapid.T) {
				keys := slices.Sorted(maps.Keys(w.timers))
				if len(keys) > 0 {
					w.expire(rapid.SampledFrom(keys).Draw(t, "timer"))
				}
			},
			"stale": func(t *rapid.T) {
				s := rapid.Uint64Range(0, 3).Draw(t, "step")
				if w.g.timer.Step != s {
					if eff := append(w.g.ExpireJoin(w.now, s, nil), w.g.ExpireSync(w.now, s, nil)...); len(eff) > 0 {
						t.Fatalf("a stale deadline did %+v", eff)
					}
				}
			},
			"fork": func(t *rapid.T) {
				f := w.g.Fork(w.g.gen, 0)
				frozen, frozenBytes = w.g, save(w.g)
				if rapid.Bool().Draw(t, "side") {
					frozen, f = f, frozen
				}
				w.g = f
			},
			"checkpoint": func(t *rapid.T) {
				f := w.g
				w.g = f.Fork(f.gen+1, saved)
				f.Save(len(st) == 0, saved, st.put)
				saved = f.gen
				if !reflect.DeepEqual(st.pairs(), save(f)) {
					t.Fatalf("incremental and full differ")
				}
				if rapid.Bool().Draw(t, "restart") {
					l, err := Load(saved, seq(st.pairs()))
					if err != nil {
						t.Fatalf("%v", err)
					}
					w.g = l
				}
			},
			"settle": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "rarely") == 0 {
					w.settle()
				}
			},
		})
		w.settle()
		w.check()
	})
}
