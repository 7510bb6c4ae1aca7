package trace

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/robustmq/rmq/broker/fault"
)

func tcp(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 5} }

func TestWants(t *testing.T) {
	network := netip.MustParsePrefix("10.1.0.0/16")
	for _, tt := range []struct {
		name   string
		q      Query
		client string
		remote net.Addr
		topic  string
		want   bool
	}{
		{"its client", Query{Client: "a"}, "a", tcp("10.1.2.3"), "", true},
		{"another", Query{Client: "a"}, "b", tcp("10.1.2.3"), "a", false},
		{"its network", Query{IP: network}, "a", tcp("10.1.2.3"), "", true},
		{"over IPv6", Query{IP: network}, "a", tcp("::ffff:10.1.2.3"), "", true},
		{"another network", Query{IP: network}, "a", tcp("10.2.2.3"), "", false},
		{"a socket of no network", Query{IP: network}, "a", &net.UnixAddr{Name: "/s"}, "", false},
		{"its topic", Query{Topic: func(s string) bool { return s == "t" }}, "a", nil, "t", true},
		{"no topic", Query{Topic: func(string) bool { return true }}, "a", nil, "", false},
	} {
		tr := New(7)
		w, err := tr.Look(tt.q)
		if err != nil {
			t.Fatal(err)
		}
		if got := tr.Wants(tt.client, tt.remote, tt.topic); got != tt.want {
			t.Errorf("%s: wanted %v", tt.name, got)
		}
		tr.Emit(tt.remote, &Event{Client: tt.client, Topic: tt.topic})
		if got := len(w.Events) == 1; got != tt.want {
			t.Errorf("%s: got it %v", tt.name, got)
		}
	}
}

// Nobody waits for who looks: what does not fit is counted. Who looks no more costs nothing.
func TestBounds(t *testing.T) {
	var none *Tracer
	if none.On() || none.Wants("a", nil, "") {
		t.Error("no tracer traces")
	}
	tr := New(1)
	w, err := tr.Look(Query{Client: "a"})
	if err != nil || !tr.On() {
		t.Fatal(err)
	}
	for range watchedMax + 3 {
		tr.Emit(nil, &Event{Client: "a"})
	}
	if len(w.Events) != watchedMax || w.Dropped() != 3 {
		t.Errorf("%d wait and %d were dropped", len(w.Events), w.Dropped())
	}
	for range watchesMax - 1 {
		if _, err := tr.Look(Query{Client: "b"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.Look(Query{Client: "b"}); !fault.Is(err, fault.Exhausted) {
		t.Errorf("one more may look: %v", err)
	}
	w.Stop()
	if tr.Wants("a", nil, "") {
		t.Error("somebody wants what nobody looks at")
	}
	if n := testing.AllocsPerRun(100, func() { tr.Wants("a", nil, "") }); n != 0 {
		t.Errorf("%v allocations for what nobody wants", n)
	}
}

func TestShort(t *testing.T) {
	var e Event
	e.Carry([]byte(strings.Repeat("ü", PayloadMax)))
	if e.Size != 2*PayloadMax || len(e.Payload) != PayloadMax || !utf8.Valid(e.Payload) {
		t.Errorf("%d of %d bytes, valid %v", len(e.Payload), e.Size, utf8.Valid(e.Payload))
	}
	e.Carry([]byte("x" + strings.Repeat("ü", PayloadMax)))
	if len(e.Payload) != PayloadMax-1 || !utf8.Valid(e.Payload) {
		t.Errorf("%d bytes, valid %v", len(e.Payload), utf8.Valid(e.Payload))
	}
	for i := range fieldsMax + 10 {
		e.Add(fmt.Sprint(i), strings.Repeat("x", fieldMax+1))
	}
	if last := e.Fields[len(e.Fields)-1]; len(e.Fields) != fieldsMax || last != (Field{"more", "11"}) {
		t.Errorf("%d fields, the last %+v", len(e.Fields), last)
	}
	if v := e.Fields[0].Value; v != strings.Repeat("x", fieldMax)+"…" {
		t.Errorf("a field of %d bytes", len(v))
	}
}
