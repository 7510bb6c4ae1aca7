package acl

import (
	"net/netip"
	"testing"
	"time"
)

func TestBans(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	bans := NewBans([]Ban{
		{Client: "dev1"}, {Client: "dev2", User: "ann"}, {User: "bob", Host: "10.0.0.0/8"}, {Host: "192.0.2.7"}, {Host: "2001:db8::/32"},
		{Client: "dev3", Until: now}, {Client: "dev4", Until: now.Add(1)}, {User: "eve"}, {Host: "172.16.0.0/12", User: "joe"},
	})
	for _, tt := range []struct {
		client, user, host string
		want               bool
	}{
		{"dev1", "", "", true}, {"dev1", "ann", "10.0.0.1", true}, {"", "", "", false}, {"other", "ann", "10.0.0.1", false},
		{"dev2", "ann", "", true}, {"dev2", "bob", "", false}, {"", "bob", "10.9.0.1", true}, {"", "bob", "11.0.0.1", false},
		{"", "", "192.0.2.7", true}, {"", "", "192.0.2.8", false}, {"", "", "2001:db8:1::1", true}, {"dev3", "", "", false}, {"dev4", "", "", true},
		{"dev5", "eve", "", true}, {"", "joe", "172.17.0.1", true}, {"", "joe", "", false},
	} {
		s := Subject{Client: tt.client, User: tt.user}
		if tt.host != "" {
			s.Host = netip.MustParseAddr(tt.host)
		}
		if got := bans.Find(&s, now); (got != nil) != tt.want {
			t.Errorf("%s/%s at %s: %v, want %v", tt.client, tt.user, tt.host, got, tt.want)
		}
	}
	if (*Bans)(nil).Find(&Subject{}, now) != nil {
		t.Error("no bans keep somebody out")
	}
	for _, wrong := range []Ban{{}, {Host: "here"}, {Client: "a\x00"}, {User: "\xff"}, {Reason: "r"}} {
		if wrong.Check() == nil {
			t.Errorf("%+v passes for a ban", wrong)
		}
	}
	if a, b := (Ban{Host: "10.1.2.3/8"}), (Ban{Host: "10.0.0.0/8", Reason: "r"}); a.Key() != b.Key() || a.Canonical().Host != b.Host {
		t.Errorf("%s and %s are two", a.Key(), b.Key())
	}
}
