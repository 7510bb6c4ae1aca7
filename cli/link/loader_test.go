package link_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/link"
	"github.com/robustmq/rmq/fixtures"
	"github.com/robustmq/rmq/testkit"
)

// A fixture that is loaded over the protocols and one that is loaded in process leave the same.
func TestFixtureBothWays(t *testing.T) {
	for _, name := range fixtures.Builtin() {
		t.Run(name, func(t *testing.T) {
			var set []string
			params := map[string]string{}
			if name == "retained-million" {
				set, params = []string{"count=2000"}, map[string]string{"count": "2000"}
			}
			f, err := fixtures.Open(name, params)
			if err != nil {
				t.Fatal(err)
			}
			inside := testkit.Run(t, testkit.Fixture(name, set...))
			outside := testkit.Run(t)
			admin, err := adminapi.NewClient(outside.HTTP(), nil)
			if err != nil {
				t.Fatal(err)
			}
			s, err := admin.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			sum, err := link.LoadFixture(t.Context(), f, admin, s.URLs, link.Target{}, link.Options{}, nil)
			if err != nil || sum.Messages != f.Messages() {
				t.Fatalf("loaded %v: %v", sum, err)
			}
			for _, b := range []*testkit.Broker{inside, outside} {
				if err := b.Kernel().Settle(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			want, got := holds(t, inside, f), holds(t, outside, f)
			if len(want) == 0 {
				t.Fatal("it holds nothing")
			}
			for i := range max(len(want), len(got)) {
				if i >= len(want) || i >= len(got) || want[i] != got[i] {
					t.Fatalf("%d and %d lines; in process, then over the protocols:\n%s\n%s", len(want), len(got), at(want, i), at(got, i))
				}
			}
		})
	}
}

func at(lines []string, i int) string {
	if i >= len(lines) {
		return "(nothing)"
	}
	return lines[i]
}

// holds tells in sorted lines what a broker holds that a user would notice. Times of messages, and
// numbers drawn by them, are each broker's own.
func holds(t *testing.T, b *testkit.Broker, f *fixtures.Fixture) (out []string) {
	t.Helper()
	k := b.Kernel()
	for _, st := range k.Streams("/") {
		for _, r := range b.Topic(st.Address).Records() {
			var headers []string
			for _, h := range r.Headers {
				if h.Name != link.HeaderNative && h.Name != "x-death" && !strings.HasPrefix(h.Name, "x-first") {
					headers = append(headers, fmt.Sprintf("%s=%s", h.Name, h.Value))
				}
			}
			slices.Sort(headers)
			out = append(out, fmt.Sprintf("record %s/%d key=%q value=%d %v", st.Address, r.Partition, r.Key, len(r.Value), headers))
		}
	}
	for _, q := range k.Queues("/") {
		out = append(out, fmt.Sprintf("queue %s ready=%d %v", q.Name, q.Ready, q.Arguments))
	}
	for _, s := range f.Sessions {
		i, ok := b.Session(s.Client).Info()
		var subs []string
		for _, x := range i.Subscriptions {
			subs = append(subs, fmt.Sprint(x.Filter, x.QoS))
		}
		slices.Sort(subs)
		out = append(out, fmt.Sprintf("session %s %v expiry=%d backlog=%d %v", s.Client, ok, i.Expiry, i.Backlog, subs))
	}
	for _, m := range k.RetainedMessages("/", "#", 1<<20) {
		out = append(out, fmt.Sprintf("retained %s %q", m.Address, bytes.TrimSpace(m.Value)))
	}
	gs, err := b.Admin().Groups(context.Background(), adminapi.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range gs {
		for _, o := range g.Offsets {
			out = append(out, fmt.Sprintf("group %s %s/%d at %d of %d", g.ID, o.Topic, o.Partition, o.Committed, o.End))
		}
	}
	slices.Sort(out)
	return out
}
