package session

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/robustmq/rmq/broker/fault"
)

type pair struct{ k, v []byte }

func save(s *Session) []pair {
	var out []pair
	s.Save(true, 0, func(k, v []byte) { out = append(out, pair{bytes.Clone(k), bytes.Clone(v)}) })
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

// model is a session as one would explain it.
type model struct {
	there, connected bool
	epoch            uint64
	expiry           uint32
	ends, willAt     int64
	will             *Will
	max              int
	subs             map[string]Options
	window           []Inflight
	next             uint16
	received         map[uint16]bool
	released         map[uint16]uint32
}

func (m *model) end(forget bool) (out []string) {
	if !m.there {
		return nil
	}
	if m.will != nil {
		out = append(out, "will "+string(m.will.Message))
		m.will = nil
	}
	for _, f := range slices.Sorted(maps.Keys(m.subs)) {
		out = append(out, "unsub "+f)
	}
	out = append(out, "discarded")
	if forget {
		out = append(out, "ended")
	}
	*m = model{connected: m.connected, epoch: m.epoch, subs: map[string]Options{}, received: map[uint16]bool{}, released: map[uint16]uint32{}}
	return out
}

func (m *model) expire(now int64) (out []string) {
	if m.willAt != 0 && m.willAt <= now {
		out = append(out, "will "+string(m.will.Message))
		m.will, m.willAt = nil, 0
	}
	if m.ends != 0 && m.ends <= now {
		out = append(out, m.end(true)...)
	}
	return out
}

func (m *model) open(now int64, o OpenSpec) (out []string, present bool) {
	out = m.expire(now)
	if m.connected {
		out = append(out, fmt.Sprint("taken ", m.epoch))
		switch {
		case m.will == nil:
		case m.will.Delay == 0:
			out = append(out, "will "+string(m.will.Message))
			m.will = nil
		case !o.Clean && m.expiry > 0:
			m.will = nil
		}
		if m.expiry == 0 {
			out = append(out, m.end(false)...)
		}
	}
	if o.Clean {
		out = append(out, m.end(false)...)
	}
	present = m.there
	m.there, m.connected, m.epoch, m.expiry, m.ends, m.willAt, m.will = true, true, o.Epoch, o.Expiry, 0, 0, o.Will
	m.max = min(int(o.ReceiveMax), PacketMax)
	return out, present
}

func (m *model) close(now int64, epoch uint64, will bool, expiry *uint32) (out []string) {
	if !m.connected || epoch != m.epoch {
		return nil
	}
	m.connected = false
	if expiry != nil && m.expiry != 0 {
		m.expiry = *expiry
	}
	if !will {
		m.will = nil
	}
	if m.will != nil {
		if m.will.Delay == 0 {
			out = append(out, "will "+string(m.will.Message))
			m.will = nil
		} else {
			m.willAt = now + int64(m.will.Delay)*1000
		}
	}
	if m.expiry == 0 {
		return append(out, m.end(true)...)
	}
	if m.expiry != Forever {
		m.ends = now + int64(m.expiry)*1000
	}
	return out
}

func text(eff []Effect) (out []string) {
	for _, e := range eff {
		switch e.Kind {
		case TakenOver:
			out = append(out, fmt.Sprint("taken ", e.Epoch))
		case Discarded:
			out = append(out, "discarded")
		case Unsubscribed:
			out = append(out, "unsub "+e.Filter)
		case PublishWill:
			out = append(out, "will "+string(e.Will))
		case Ended:
			out = append(out, "ended")
		}
	}
	return out
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		s.gen = 1
		m := &model{}
		m.there = true
		m.end(false)
		now, epoch, no := int64(0), uint64(0), uint64(0)
		var frozen *Session
		var frozenBytes []pair
		st, saved := store{}, uint64(0)
		ids := rapid.SampledFrom([]uint16{1, 2, 3, 4, 5, 6, 7, 100, 65535})
		filters := rapid.SampledFrom([]string{"a", "a/+", "#", "$share/g/b"})
		expiries := rapid.SampledFrom([]uint32{0, 1, 10, 10, Forever})
		check := func(got []Effect, want []string) {
			t.Helper()
			if !slices.Equal(text(got), want) {
				t.Fatalf("effects %q, want %q", text(got), want)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				i := s.Info()
				if i.Connected != m.connected || (i.Created != 0) != m.there || i.Ends != m.ends || i.WillAt != m.willAt || i.HasWill != (m.will != nil) ||
					i.Subscriptions != len(m.subs) || i.Received != len(m.received) {
					t.Fatalf("%+v, want %+v", i, m)
				}
				var w []Inflight
				s.Inflight(func(f Inflight) bool { w = append(w, f); return true })
				if !slices.Equal(w, m.window) {
					t.Fatalf("under way %v, want %v", w, m.window)
				}
				for _, f := range w {
					if g, ok := s.State(f.PacketID); !ok || g != f || s.PacketID(f.No) != f.PacketID {
						t.Fatalf("%v not found", f)
					}
				}
				subs := map[string]Options{}
				s.Subscriptions(func(f string, o Options) bool { subs[f] = o; return true })
				if !reflect.DeepEqual(subs, m.subs) {
					t.Fatalf("subscriptions %v, want %v", subs, m.subs)
				}
				for _, id := range []uint16{0, 1, 3, 4, 5, 8, 100, 65535} {
					in, dup := s.Incoming(id)
					if dup != m.received[id] || in.N != m.released[id] {
						t.Fatalf("incoming %d: %v %v, want %v %v", id, in.N, dup, m.released[id], m.received[id])
					}
				}
				if frozen != nil && !reflect.DeepEqual(save(frozen), frozenBytes) {
					t.Fatal("a fork changed what it was forked from")
				}
			},
			"open": func(t *rapid.T) {
				epoch++
				o := OpenSpec{Epoch: epoch, Clean: rapid.IntRange(0, 2).Draw(t, "clean") == 0, Expiry: expiries.Draw(t, "expiry"),
					ReceiveMax: rapid.SampledFrom([]uint16{1, 5, 40, 65535}).Draw(t, "max")}
				if rapid.Bool().Draw(t, "will") {
					o.Will = &Will{Message: fmt.Append(nil, epoch), Delay: rapid.SampledFrom([]uint32{0, 1, 20}).Draw(t, "delay")}
				}
				want, p := m.open(now, o)
				got, present := s.Open(now, o, nil)
				check(got, want)
				if present != p {
					t.Fatalf("present %v", present)
				}
			},
			"close": func(t *rapid.T) {
				e := epoch - rapid.SampledFrom([]uint64{0, 0, 0, 1}).Draw(t, "old")
				will := rapid.Bool().Draw(t, "will")
				var x *uint32
				if rapid.Bool().Draw(t, "override") {
					n := expiries.Draw(t, "expiry")
					x = &n
				}
				want := m.close(now, e, will, x)
				check(s.Close(now, e, will, x, nil), want)
			},
			"expire": func(t *rapid.T) {
				now += rapid.Int64Range(0, 15000).Draw(t, "dt")
				check(s.Expire(now, nil), m.expire(now))
				if d := s.NextDeadline(); d != 0 && d <= now {
					t.Fatalf("deadline %d at %d", d, now)
				}
			},
			"end": func(t *rapid.T) {
				if rapid.IntRange(0, 5).Draw(t, "rarely") > 0 {
					return
				}
				var want []string
				if m.connected {
					want = append(want, fmt.Sprint("taken ", m.epoch))
					m.connected = false
				}
				check(s.End(nil), append(want, m.end(true)...))
			},
			"subscribe": func(t *rapid.T) {
				if !m.there {
					return
				}
				f, o := filters.Draw(t, "filter"), Options{QoS: rapid.Byte().Draw(t, "qos"), ID: rapid.Uint32().Draw(t, "id"), NoLocal: rapid.Bool().Draw(t, "nl")}
				_, was := m.subs[f]
				m.subs[f] = o
				if existed, err := s.Subscribe(f, o); err != nil || existed != was {
					t.Fatal(existed, err)
				}
			},
			"unsubscribe": func(t *rapid.T) {
				f := filters.Draw(t, "filter")
				_, was := m.subs[f]
				delete(m.subs, f)
				if s.Unsubscribe(f) != was {
					t.Fatal(was)
				}
			},
			"deliver": func(t *rapid.T) {
				if !m.there {
					return
				}
				for range rapid.SampledFrom([]int{1, 1, 5, 50, 20_000}).Draw(t, "n") {
					qos := uint8(no%2) + 1
					no++
					var want uint16
					if len(m.window) < m.max {
						inUse := map[uint16]bool{}
						if len(m.window) < 50 { // the model is slow
							for _, f := range m.window {
								inUse[f.PacketID] = true
							}
						} else {
							t.Skip()
						}
						for {
							m.next = m.next%PacketMax + 1
							if !inUse[m.next] {
								break
							}
						}
						want = m.next
						m.window = append(m.window, Inflight{want, State(qos), no})
					}
					if got := s.Deliver(no, qos); got != want {
						t.Fatalf("packet identifier %d, want %d", got, want)
					}
					if len(m.window) > 40 { // acknowledge, but for the first few
						id := m.window[3].PacketID
						m.window = slices.Delete(m.window, 3, 4)
						if _, ok := s.Ack(id); !ok {
							t.Fatalf("%d is not under way", id)
						}
					}
				}
			},
			"ack": func(t *rapid.T) {
				if len(m.window) == 0 {
					if _, ok := s.Ack(9); ok {
						t.Fatal("known")
					}
					return
				}
				i := rapid.IntRange(0, len(m.window)-1).Draw(t, "i")
				f := m.window[i]
				want := f.No
				if f.State == AwaitComp {
					want = 0
				}
				m.window = slices.Delete(m.window, i, i+1)
				if n, ok := s.Ack(f.PacketID); !ok || n != want {
					t.Fatal(n, ok)
				}
			},
			"received": func(t *rapid.T) {
				if len(m.window) == 0 {
					return
				}
				f := &m.window[rapid.IntRange(0, len(m.window)-1).Draw(t, "i")]
				n, ok := s.Received(f.PacketID)
				switch f.State {
				case AwaitAck:
					if ok {
						t.Fatal("PUBREC for QoS 1")
					}
				case AwaitRec:
					if !ok || n != f.No {
						t.Fatal(n, ok)
					}
					f.State = AwaitComp
				case AwaitComp:
					if !ok || n != 0 {
						t.Fatal(n, ok)
					}
				}
			},
			"note": func(t *rapid.T) {
				if m.there {
					id := ids.Draw(t, "id")
					m.received[id] = true
					s.Note(id)
				}
			},
			"release": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				was := m.received[id]
				delete(m.received, id)
				if was {
					m.released[id]++
				}
				if s.Release(id) != was {
					t.Fatal(was)
				}
			},
			"refuse": func(t *rapid.T) {
				if m.there {
					id := ids.Draw(t, "id")
					delete(m.received, id)
					m.released[id]++
					s.Refuse(id)
				}
			},
			"fork": func(t *rapid.T) {
				f := s.Fork(s.gen)
				frozen, frozenBytes = s, save(s)
				if rapid.Bool().Draw(t, "side") {
					frozen, f = f, frozen
				}
				s = f
			},
			"checkpoint": func(t *rapid.T) {
				f := s
				s = f.Fork(f.gen + 1)
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
					if !reflect.DeepEqual(save(l), save(s)) {
						t.Fatal("loaded differs")
					}
					s = l
				}
			},
		})
	})
}

// Every identifier but one is in use, and the free one is behind the next.
func TestNearlyAllInUse(t *testing.T) {
	s := New()
	s.Open(0, OpenSpec{Epoch: 1, Expiry: Forever}, nil)
	for no := uint64(1); no <= PacketMax; no++ {
		if id := s.Deliver(no, 1); uint64(id) != no {
			t.Fatalf("%d got %d", no, id)
		}
	}
	if s.Deliver(PacketMax+1, 1) != 0 || s.Room() != 0 {
		t.Fatal("room beyond the last identifier")
	}
	for i := range uint64(100) {
		want := uint16(20_000 - i)
		if no, ok := s.Ack(want); !ok || no != uint64(want) {
			t.Fatal(no, ok)
		}
		if id := s.Deliver(PacketMax+1+i, 2); id != want {
			t.Fatalf("got %d, want %d", id, want)
		}
		if i == 50 {
			l, err := Load(1, seq(save(s)))
			if err != nil {
				t.Fatal(err)
			}
			s = l
		}
	}
}

// A client that comes back with a smaller window gets nothing more until it fits.
func TestSmallerWindow(t *testing.T) {
	s := New()
	s.Open(0, OpenSpec{Epoch: 1, Expiry: 100, ReceiveMax: 3}, nil)
	for no := range uint64(3) {
		s.Deliver(no+1, 2)
	}
	s.Close(0, 1, false, nil, nil)
	if _, present := s.Open(1, OpenSpec{Epoch: 2, Expiry: 100, ReceiveMax: 2}, nil); !present {
		t.Fatal("not present")
	}
	s.Received(1) // counts until PUBCOMP
	if s.Room() != -1 || s.Deliver(4, 1) != 0 {
		t.Fatal(s.Room())
	}
	s.Ack(1)
	s.Ack(2)
	if id := s.Deliver(4, 1); id != 4 {
		t.Fatal(id)
	}
}

func TestSubscriptionsMax(t *testing.T) {
	s := New()
	s.Open(0, OpenSpec{Epoch: 1}, nil)
	for i := range SubscriptionsMax {
		if _, err := s.Subscribe(fmt.Sprint(i), Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Subscribe("one more", Options{}); !fault.Is(err, fault.Exhausted) {
		t.Error(err)
	}
	if existed, err := s.Subscribe("7", Options{QoS: 1}); !existed || err != nil {
		t.Error(existed, err)
	}
}

// Identifiers used in turn are counted in a few runs, however many they are.
func TestRunsStayFew(t *testing.T) {
	s := New()
	s.Open(0, OpenSpec{Epoch: 7}, nil)
	for i := range 200_000 {
		id := uint16(i%65535 + 1)
		in, dup := s.Incoming(id)
		if dup || in.N != uint32(i/65535) || in.Session != 7 {
			t.Fatal(i, in, dup)
		}
		s.Note(id)
		if !s.Release(id) {
			t.Fatal(id)
		}
		if len(s.in.runs) > 4 {
			t.Fatalf("%d runs", len(s.in.runs))
		}
	}
}

func TestTrafficAllocatesNothing(t *testing.T) {
	s := New()
	s.Open(0, OpenSpec{Epoch: 1, ReceiveMax: 100}, nil)
	no := uint64(0)
	if n := testing.AllocsPerRun(200_000, func() {
		no++
		if s.Deliver(no, 2) == 0 {
			t.Fatal("no room")
		}
		if no > 20 {
			id := uint16((no-21)%PacketMax + 1)
			s.Received(id)
			if _, ok := s.Ack(id); !ok {
				t.Fatal(id)
			}
		}
	}); n != 0 {
		t.Error(n)
	}
}

func FuzzLoad(f *testing.F) {
	s := New()
	add := func() {
		var h, subs []byte
		for _, p := range save(s) {
			if p.k[0] == keyHeader {
				h = p.v
			} else {
				subs = p.v
			}
		}
		f.Add(h, subs)
	}
	add()
	s.Open(5, OpenSpec{Epoch: 3, Expiry: 7, ReceiveMax: 9, Will: &Will{[]byte("w"), 3}}, nil)
	s.Subscribe("a/#", Options{ID: 4, QoS: 2})
	s.Subscribe("b", Options{NoLocal: true})
	s.Deliver(1, 1)
	s.Deliver(2, 2)
	s.Received(2)
	s.Note(9)
	s.Note(4)
	s.Release(4)
	add()
	s.Close(6, 3, true, nil, nil)
	add()
	f.Fuzz(func(t *testing.T, h, subs []byte) {
		ps := []pair{{[]byte{keyHeader}, h}}
		if len(subs) > 0 {
			ps = append(ps, pair{[]byte{keySubs}, subs})
		}
		s, err := Load(1, seq(ps))
		if err != nil {
			return
		}
		if got := save(s); !slices.EqualFunc(got, ps, func(a, b pair) bool { return bytes.Equal(a.v, b.v) }) {
			t.Fatalf("%x\n%x", got, ps)
		}
		s.Expire(1<<40, nil)
		s.Open(1<<41, OpenSpec{Epoch: 1 << 50}, nil)
		s.Deliver(1<<40, 1)
		for id := range uint16(20) {
			s.Ack(id)
			s.Received(id)
			s.Refuse(id)
		}
		s.End(nil)
	})
}

func BenchmarkTraffic(b *testing.B) {
	for _, window := range []uint64{1, 1000} {
		b.Run(fmt.Sprint("window=", window), func(b *testing.B) {
			s := New()
			s.Open(0, OpenSpec{Epoch: 1}, nil)
			no := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				no++
				s.Deliver(no, 1)
				if no > window {
					s.Ack(uint16((no-window-1)%PacketMax + 1))
				}
			}
		})
	}
}

// A checkpoint reads the side of a fork that stands still while the other goes on. Means
// something under the race detector.
func TestForkWhileSaving(t *testing.T) {
	s := New()
	s.Open(0, OpenSpec{Epoch: 1, Expiry: 9}, nil)
	no := uint64(0)
	for gen := uint64(1); gen < 50; gen++ {
		frozen := s
		done := make(chan []pair)
		go func() { done <- save(frozen) }()
		s = frozen.Fork(gen)
		for i := range uint16(100) {
			no++
			s.Deliver(no, 2)
			s.Received(uint16(no))
			if i%2 == 0 {
				s.Ack(uint16(no))
			}
			s.Note(i)
			s.Release(i)
			s.Subscribe(fmt.Sprint(i), Options{ID: uint32(gen)})
		}
		if !reflect.DeepEqual(<-done, save(frozen)) {
			t.Fatal("a fork changed what it was forked from")
		}
	}
}
