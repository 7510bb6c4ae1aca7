package message

import (
	"reflect"
	"strings"
	"testing"
)

func TestAddDeath(t *testing.T) {
	m := Message{Source: AMQP, ExpiresAt: 9, Headers: []Header{{"a", []byte("1")}, {XFirstDeathQueue, []byte("forged")}}}
	before := m.Headers
	m.AddDeath(Death{Queue: "q", Reason: "expired", Time: 100, Exchange: "x", RoutingKeys: []string{"k"}, OriginalExpiration: "50"})
	if m.ExpiresAt != 0 || len(before) != 2 || string(before[1].Value) != "forged" {
		t.Errorf("expires %d, headers that were shared: %v", m.ExpiresAt, before)
	}
	m.AddDeath(Death{Queue: "dlq", Reason: ReasonRejected, Time: 200, Exchange: "dlx", RoutingKeys: []string{"k"}})
	m.AddDeath(Death{Queue: "q", Reason: "expired", Time: 300, Exchange: "y", RoutingKeys: []string{"other"}})
	want := []Death{
		{Count: 2, Queue: "q", Reason: "expired", Time: 100, Exchange: "x", RoutingKeys: []string{"k"}, OriginalExpiration: "50"},
		{Count: 1, Queue: "dlq", Reason: ReasonRejected, Time: 200, Exchange: "dlx", RoutingKeys: []string{"k"}},
	}
	if got := Deaths(m.Headers); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	got := make(map[string][]string)
	for _, h := range m.Headers {
		got[h.Name] = append(got[h.Name], string(h.Value))
	}
	for name, value := range map[string]string{
		"a": "1", XFirstDeathQueue: "q", XFirstDeathReason: "expired", XFirstDeathExchange: "x",
		XLastDeathQueue: "q", XLastDeathReason: "expired", XLastDeathExchange: "y",
	} {
		if v := got[name]; len(v) != 1 || v[0] != value {
			t.Errorf("%s: %q, want %q", name, v, value)
		}
	}
	for i := range 2 * DeathsMax {
		m.AddDeath(Death{Queue: strings.Repeat("z", i+1), Reason: "maxlen"})
	}
	if n := len(Deaths(m.Headers)); n != DeathsMax {
		t.Errorf("%d deaths are kept", n)
	}
}

func TestDeathsOfStrangers(t *testing.T) {
	for _, text := range []string{"", "x", "{}", `[1]`, `[{"count":"many"}]`} {
		if got := Deaths([]Header{{XDeath, []byte(text)}}); got != nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestDeathCycle(t *testing.T) {
	expired := func(q string) Death { return Death{Queue: q, Reason: "expired"} }
	tests := []struct {
		list  []Death
		queue string
		want  bool
	}{
		{nil, "q", false},
		{[]Death{expired("q")}, "q", true},
		{[]Death{expired("q")}, "r", false},
		{[]Death{expired("a"), expired("q")}, "q", true},
		{[]Death{{Queue: "a", Reason: ReasonRejected}, expired("q")}, "q", false},
		{[]Death{{Queue: "q", Reason: ReasonRejected}}, "q", false},
	}
	for _, tt := range tests {
		if got := DeathCycle(tt.list, tt.queue); got != tt.want {
			t.Errorf("%+v into %s: %v", tt.list, tt.queue, got)
		}
	}
}

func TestAMQPNative(t *testing.T) {
	for _, names := range [][2]string{{"", ""}, {"x", "a.b"}, {strings.Repeat("x", 255), strings.Repeat("k", 255)}} {
		n := AppendAMQPNative(nil, names[0], names[1], []byte{0x10, 0, 2})
		x, k, c, ok := SplitAMQPNative(n)
		if !ok || string(x) != names[0] || string(k) != names[1] || string(c) != "\x10\x00\x02" {
			t.Errorf("%q: %q %q %x %v", names, x, k, c, ok)
		}
		for cut := range len(n) - 1 {
			if _, _, _, ok := SplitAMQPNative(n[:cut]); ok && cut < len(n)-1 {
				t.Errorf("%d of %d bytes were accepted", cut, len(n))
			}
		}
	}
}
