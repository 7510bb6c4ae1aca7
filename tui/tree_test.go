package tui

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/adminapi/adminapitest"
)

// Retained messages stand below the levels of their addresses: branches close, the cursor stays on its
// line as others come, and a leaf opens.
func TestRetainedTree(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.fake.Update(func(f *adminapitest.Fake) {
			f.R = nil
			for _, a := range []string{"a/b/c", "a/b", "a/d", "z"} {
				f.R = append(f.R, adminapi.Message{Protocol: "mqtt", Namespace: "/", Address: a, Value: []byte("of " + a), Time: time.Now()})
			}
		})
		d.keys("8")
		d.wait(200 * time.Millisecond)
		d.keys("t")
		d.sees("›  ▾ b  of a/b") // where the cursor was
		d.keys("g")
		d.sees("as a tree", "›▾ a  3\n", "   ▾ b  of a/b", "       c  of a/b/c", "     d  of a/d", "   z  of z")
		d.keys("j", "z")
		d.sees("›  ▸ b  of a/b")
		d.misses("of a/b/c")
		d.fake.Update(func(f *adminapitest.Fake) {
			f.R = append(f.R, adminapi.Message{Protocol: "mqtt", Namespace: "/", Address: "a/a", Value: []byte("new")})
		})
		d.pass(2)
		d.sees("     a  new", "›  ▸ b  of a/b")
		d.keys("enter")
		d.sees("retained message a/b\n")
		d.keys("n", "esc") // a/b/c, in the closed branch
		d.sees("›      c  of a/b/c")
		d.keys("t")
		d.sees("›a/b/c  ")
		d.keys("/")
		d.typed("a/b")
		d.keys("enter", "t")
		d.misses("of z")
	})
}

// Exchanges lead on to what is bound to them, round in a circle once.
func TestBindingGraph(t *testing.T) {
	on(t, func(_ *testing.T, d *driver) {
		d.fake.Update(func(f *adminapitest.Fake) {
			f.X = []adminapi.Exchange{{Name: "", Type: "direct"}, {Name: "one", Type: "topic", Alternate: "spare"}, {Name: "two", Type: "fanout"}, {Name: "spare", Type: "fanout"}}
			f.B = []adminapi.Binding{
				{Source: "one", Destination: "two", ToExchange: true, Key: "a.*"}, {Source: "two", Destination: "one", ToExchange: true},
				{Source: "two", Destination: "q", Key: "k"},
			}
		})
		d.keys("4")
		d.wait(200 * time.Millisecond)
		d.keys("t", "j")
		d.sees("›▾ one  topic", "   ▾ a.* ─▶ exchange two", "       ─▶ exchange one  ↺ above", "       k ─▶ queue q",
			"     what goes nowhere ─▶ exchange spare", "   spare  fanout  leads nowhere", "every queue, by its name")
		d.keys("j", "enter") // to the exchange that the binding leads to
		d.sees(" exchange two", "fed by")
	})
}

func TestSubscriptionTree(t *testing.T) {
	on(t, func(_ *testing.T, d *driver) {
		d.fake.Update(func(f *adminapitest.Fake) {
			f.C = []adminapi.Session{
				{Namespace: "/", ClientID: "c1", Connected: true, Subscriptions: []adminapi.Subscription{{Filter: "a/+", QoS: 1}, {Filter: "$share/g/a/+"}}},
				{Namespace: "/", ClientID: "c2", Subscriptions: []adminapi.Subscription{{Filter: "a/+", QoS: 2, NoLocal: true}}},
			}
		})
		d.keys("6")
		d.wait(200 * time.Millisecond)
		d.keys("t")
		d.sees(" ▾ a  3", "   ▾ +  3", "◆ c1  QoS 1  online", "◆ c1  QoS 0  online  shared by g", "◆ c2  QoS 2  offline  no-local")
	})
}

// However many there are, a large tree begins closed, and what is in sight is drawn alone.
func TestLargeTree(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.fake.Update(func(f *adminapitest.Fake) {
			f.R = nil
			for i := range 1000 {
				f.R = append(f.R, adminapi.Message{Protocol: "mqtt", Address: fmt.Sprintf("x%d/y/z%d", i%30, i)})
			}
		})
		d.keys("8")
		d.wait(200 * time.Millisecond)
		d.keys("t")
		d.keys("g", "z") // the way to the cursor was opened
		d.sees("›▸ x0  34", " ▸ x1  34", "1–20 of 30")
		d.keys("j", "z")
		d.sees("›▾ x1  34", "   ▸ y  34")
		d.keys("G")
		if !strings.HasPrefix(d.line(-2), "›▸ x9") {
			t.Errorf("the last is not under the cursor: %s", d.line(-2))
		}
	})
}
