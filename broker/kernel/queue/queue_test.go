package queue

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type pair struct{ k, v []byte }

func save(q *Queue) []pair {
	var out []pair
	q.Save(true, 0, func(k, v []byte) { out = append(out, pair{bytes.Clone(k), bytes.Clone(v)}) })
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

func equalPairs(a, b []pair) error {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return fmt.Errorf("key %x only in the second", b[i].k)
		case i >= len(b):
			return fmt.Errorf("key %x only in the first", a[i].k)
		case !bytes.Equal(a[i].k, b[i].k), !bytes.Equal(a[i].v, b[i].v):
			return fmt.Errorf("%x=%x, %x=%x", a[i].k, a[i].v, b[i].k, b[i].v)
		}
	}
	return nil
}

// store is a checkpoint that is saved to incrementally.
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

func genLimits(t *rapid.T) Limits {
	lim := NoLimits()
	if rapid.IntRange(0, 2).Draw(t, "ttl") == 0 {
		lim.MessageTTL = rapid.Int64Range(0, 20).Draw(t, "ms")
	}
	if rapid.IntRange(0, 2).Draw(t, "len") == 0 {
		lim.MaxLength = rapid.Int64Range(0, 1500).Draw(t, "max")
	}
	if rapid.IntRange(0, 3).Draw(t, "bytes") == 0 {
		lim.MaxBytes = rapid.Int64Range(0, 20000).Draw(t, "maxBytes")
	}
	if rapid.Bool().Draw(t, "limited") {
		lim.DeliveryLimit = rapid.Int64Range(0, 3).Draw(t, "limit")
	}
	lim.Overflow = Overflow(rapid.IntRange(0, 2).Draw(t, "overflow"))
	lim.MaxPriority = rapid.SampledFrom([]uint8{0, 0, 3, 255}).Draw(t, "prio")
	lim.DeadLetter = rapid.Bool().Draw(t, "dlx")
	lim.SingleActive = rapid.IntRange(0, 3).Draw(t, "sac") == 0
	lim.Dispatch = Dispatch(rapid.IntRange(0, int(dispatches)-1).Draw(t, "dispatch"))
	return lim
}

// TestModel gives the queue and a model the same commands and compares effects and
// state, while the queue is saved, loaded and forked under way.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lim := genLimits(t)
		q, m := New(lim), &model{lim: lim}
		q.gen = 1
		now := int64(1000)
		st, saved := store{}, uint64(0)
		var frozen *Queue
		var frozenBytes []pair
		body := int64(0)
		ids := rapid.Uint64Range(1, 5)
		check := func(what string, got, want []Effect) {
			t.Helper()
			if !slices.Equal(got, want) {
				for i := range max(len(got), len(want)) {
					if i >= len(got) || i >= len(want) || got[i] != want[i] {
						t.Fatalf("%s: effect %d of %d, want %d:\n%+v\n%+v", what, i, len(got), len(want), got[min(i, len(got)):min(i+1, len(got))], want[min(i, len(want)):min(i+1, len(want))])
					}
				}
			}
		}
		var held []uint64
		note := func(eff []Effect) {
			for _, e := range eff {
				if e.Kind == DeadLetter {
					held = append(held, e.Seq)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if err := m.differs(q); err != nil {
					t.Fatal(err)
				}
				if frozen != nil {
					if err := equalPairs(save(frozen), frozenBytes); err != nil {
						t.Fatalf("a fork changed what it was forked from: %v", err)
					}
				}
			},
			"push": func(t *rapid.T) {
				n := rapid.SampledFrom([]int{1, 1, 2, 5, 40, 1100}).Draw(t, "n")
				now += rapid.Int64Range(0, 3).Draw(t, "dt")
				log := rapid.Uint64Range(0, 2).Draw(t, "log")
				pr := rapid.SampledFrom([]uint8{0, 1, 2, 200}).Draw(t, "p")
				ttl := rapid.SampledFrom([]int64{-1, -1, 0, 5, 50}).Draw(t, "ttl")
				for i := range n {
					body++
					msg := Message{Ref: Ref{log, body}, Size: uint32(i % 50), Tag: uint32(i%7)<<KeyShift | uint32(i/100&1), Priority: pr, QoS: uint8(i % 3)}
					if ttl >= 0 {
						msg.ExpiresAt = now + ttl
					}
					got, ok := q.Push(now, &msg, nil)
					want, ok2 := m.push(now, msg)
					check("push", got, want)
					if ok != ok2 {
						t.Fatalf("push accepted: %v, want %v", ok, ok2)
					}
					note(got)
				}
			},
			"attach": func(t *rapid.T) {
				s := AttachSpec{ID: ids.Draw(t, "id"), Credit: rapid.SampledFrom([]int64{0, 1, 10, 2000}).Draw(t, "credit"),
					Priority: rapid.Int32Range(0, 1).Draw(t, "p"), NoAck: rapid.IntRange(0, 3).Draw(t, "noack") == 0,
					Exclusive: rapid.IntRange(0, 9).Draw(t, "x") == 0, Pull: rapid.IntRange(0, 5).Draw(t, "pull") == 0,
					Refill: rapid.Bool().Draw(t, "refill")}
				got, err := q.Attach(now, s, nil)
				want, ok := m.attach(now, s)
				check("attach", got, want)
				if ok != (err == nil) {
					t.Fatalf("attach: %v, want %v", err, ok)
				}
				note(got)
			},
			"credit": func(t *rapid.T) {
				id, n := ids.Draw(t, "id"), rapid.SampledFrom([]int64{-5, 1, 3, 1500}).Draw(t, "n")
				var want []Effect
				if a := m.att(id); a != nil {
					want = m.credit(now, id, a.Credit+n)
				}
				got := q.Credit(now, id, n, nil)
				check("credit", got, want)
				note(got)
			},
			"setCredit": func(t *rapid.T) {
				id, n := ids.Draw(t, "id"), rapid.SampledFrom([]int64{0, 7}).Draw(t, "n")
				got := q.SetCredit(now, id, n, nil)
				check("setCredit", got, m.credit(now, id, n))
				note(got)
			},
			"get": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				got, ok, _ := q.Get(now, id, nil)
				want, ok2 := m.get(now, id)
				check("get", got, want)
				if ok != ok2 {
					t.Fatalf("get: %v, want %v", ok, ok2)
				}
				note(got)
			},
			"settle": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				no := uint64(1)
				if a := m.att(id); a != nil && len(a.win) > 0 {
					no = a.win[rapid.IntRange(0, len(a.win)-1).Draw(t, "i")].no
				}
				mult := rapid.Bool().Draw(t, "multiple")
				o := Outcome(rapid.IntRange(0, 3).Draw(t, "outcome"))
				got, n := q.Settle(now, id, no, mult, o, nil)
				want, n2 := m.settle(now, id, no, mult, o)
				check("settle", got, want)
				if n != n2 {
					t.Fatalf("settled %d, want %d", n, n2)
				}
				note(got)
			},
			"detach": func(t *rapid.T) {
				id, o := ids.Draw(t, "id"), rapid.SampledFrom([]Outcome{Requeue, Release}).Draw(t, "o")
				got := q.Detach(now, id, o, nil)
				check("detach", got, m.detach(now, id, o))
				note(got)
			},
			"cancel": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				got := q.Cancel(now, id, nil)
				check("cancel", got, m.cancel(now, id))
				note(got)
			},
			"resume": func(t *rapid.T) {
				id, last := ids.Draw(t, "id"), rapid.Uint64Range(0, 5).Draw(t, "last")
				got, err := q.Resume(id, last, nil)
				a := m.att(id)
				if (err == nil) != (a != nil) {
					t.Fatalf("resume: %v", err)
				}
				if a == nil {
					return
				}
				var want []Effect
				ready, _ := m.ready()
				for _, d := range a.win {
					if d.no > last {
						x := m.msg(d.seq)
						e := m.effect(Deliver, x, 0)
						e.Attachment, e.No, e.Ready = id, d.no, ready
						e.Count--
						e.Redelivered = e.Count > 0
						want = append(want, e)
					}
				}
				check("resume", got, want)
			},
			"tick": func(t *rapid.T) {
				now += rapid.Int64Range(0, 30).Draw(t, "dt")
				got := q.Tick(now, StepMax, nil)
				check("tick", got, append(m.expire(now), m.run(now, nil)...))
				note(got)
				if at := q.NextExpiry(); at != 0 && at <= now {
					t.Fatalf("expiry at %d is due at %d", at, now)
				}
				if q.Busy() {
					t.Fatal("busy")
				}
			},
			"purge": func(t *rapid.T) {
				got, n := q.Purge(now, nil)
				want := m.purge()
				for q.Busy() {
					got = q.Tick(now, StepMax, got)
				}
				if n != int64(len(want)) || len(got) != len(want) {
					t.Fatalf("purged %d with %d drops, want %d", n, len(got), len(want))
				}
				for _, e := range got {
					if e.Kind != Drop || e.Reason != Purged {
						t.Fatalf("purge: %+v", e)
					}
				}
				check("after purge", q.Tick(now, StepMax, nil), append(m.expire(now), m.run(now, nil)...))
			},
			"limits": func(t *rapid.T) {
				lim := genLimits(t)
				m.lim = lim
				want := m.choose()
				want = append(want, m.run(now, nil)...)
				got := q.SetLimits(now, lim, nil)
				check("limits", got, want)
				note(got)
			},
			"confirm": func(t *rapid.T) {
				if len(held) == 0 {
					return
				}
				i := rapid.IntRange(0, len(held)-1).Draw(t, "i")
				s := held[i]
				held = slices.Delete(held, i, i+1)
				check("confirm", q.Confirmed(now, s, nil), m.confirmed(s))
				check("confirm again", q.Confirmed(now, s, nil), nil)
				var want []Effect
				for _, x := range m.msgs {
					if x.state == stateHeld {
						want = append(want, m.effect(DeadLetter, x, x.reason))
					}
				}
				check("dead letters", q.DeadLetters(nil), want)
			},
			"load": func(t *rapid.T) {
				ps := save(q)
				l, err := Load(q.gen-1, seq(ps))
				if err != nil {
					t.Fatal(err)
				}
				if err := equalPairs(save(l), ps); err != nil {
					t.Fatal(err)
				}
				if q.Busy() != l.Busy() || q.NextExpiry() != l.NextExpiry() {
					t.Fatal("busy or next expiry differ after load")
				}
				if _, ok := st["h"]; ok {
					return // the store's stamps would not be the queue's
				}
				q = l
			},
			"fork": func(t *rapid.T) {
				f := q.Fork(q.gen, 0)
				frozen, frozenBytes = q, save(q)
				if rapid.Bool().Draw(t, "side") {
					frozen, f = f, frozen
				}
				q = f
			},
			"checkpoint": func(t *rapid.T) {
				full := len(st) == 0
				f := q
				q = f.Fork(f.gen+1, saved)
				f.Save(full, saved, st.put)
				saved = f.gen
				if err := equalPairs(st.pairs(), save(f)); err != nil {
					t.Fatalf("incremental and full: %v", err)
				}
				if rapid.Bool().Draw(t, "restart") {
					l, err := Load(saved, seq(st.pairs()))
					if err != nil {
						t.Fatal(err)
					}
					q = l
				}
			},
		})
	})
}
