package auth

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

// cheap are costs for tests.
var cheap = argonParams{memory: 8, time: 1, threads: 1}

// table keeps users and rules in memory.
type table struct {
	mu           sync.Mutex
	m            map[string]User
	list         []acl.Rule
	bans         []acl.Ban
	users, rules uint64
	items        uint64
}

func (t *table) Bans() []acl.Ban      { return t.bans }
func (t *table) ItemsVersion() uint64 { return t.items }

func (t *table) Rules() []acl.Rule                     { return t.list }
func (t *table) AccessVersions() (users, rules uint64) { return t.users, t.rules }

func (t *table) User(name string) (User, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u, ok := t.m[name]
	return u, ok
}

func (t *table) UserCount() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.m)
}

func (t *table) PutUser(_ context.Context, u User) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.m[u.Name] = u
	t.users++
	return nil
}

func (t *table) DeleteUser(_ context.Context, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.m, name)
	t.users++
	return nil
}

func with(t *testing.T, users ...string) (*Auth, *table) {
	t.Helper()
	tab := &table{m: make(map[string]User)}
	a := newAuth(tab, cheap, clock.NewVirtual(time.Unix(1e9, 0)))
	for _, u := range users {
		password := "secret of " + u
		if err := a.Put(context.Background(), u, &password, nil); err != nil {
			t.Fatal(err)
		}
	}
	return a, tab
}

var (
	here  = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	there = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1}
)

func TestAuthenticate(t *testing.T) {
	tests := []struct {
		name           string
		users          string
		user, password string
		remote         net.Addr
		want           string // "": refused
	}{
		{"no users, guest", "", "guest", "guest", here, "guest"},
		{"no users, anybody", "", "ann", "whatever", here, "ann"},
		{"no users, nobody", "", "", "", here, "guest"},
		{"no users, from elsewhere", "", "guest", "guest", there, ""},
		{"right", "ann bob", "ann", "secret of ann", there, "ann"},
		{"wrong", "ann bob", "ann", "secret of bob", there, ""},
		{"unknown", "ann bob", "eve", "secret of ann", there, ""},
		{"empty password", "ann", "ann", "", there, ""},
		{"anonymous", "ann", "", "", here, ""},
		{"guest, once there are users", "ann", "guest", "guest", here, ""},
		{"endless password", "ann", "ann", strings.Repeat("x", 1<<16), there, ""},
	}
	for _, tt := range tests {
		a, _ := with(t, strings.Fields(tt.users)...)
		for range 2 { // the second time by what is remembered
			got, err := a.Authenticate(Login{User: tt.user, Password: tt.password, Remote: tt.remote})
			if got.User != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("%s: %q, %v", tt.name, got.User, err)
			}
			if err != nil && !fault.Is(err, fault.Unauthorized) {
				t.Errorf("%s: refused as %v", tt.name, fault.KindOf(err))
			}
			if err != nil && tt.password != "" && tt.password != tt.user && strings.Contains(err.Error(), tt.password) {
				t.Errorf("%s: the password is in the error", tt.name)
			}
		}
	}
}

func TestAChangedPasswordCountsAtOnce(t *testing.T) {
	a, tab := with(t, "ann")
	if _, err := a.Authenticate(Login{User: "ann", Password: "secret of ann", Remote: there}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authenticate(Login{User: "ann", Password: "new", Remote: there}); err == nil {
		t.Fatal("let in with a password that is not set yet")
	}
	password := "new"
	if err := a.Put(context.Background(), "ann", &password, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authenticate(Login{User: "ann", Password: "secret of ann", Remote: there}); err == nil {
		t.Error("let in with the old password")
	}
	if _, err := a.Authenticate(Login{User: "ann", Password: "new", Remote: there}); err != nil {
		t.Errorf("not let in with the new password: %v", err)
	}
	tab.DeleteUser(context.Background(), "ann")
	tab.PutUser(context.Background(), User{Name: "bob", Hash: []byte("x")})
	if _, err := a.Authenticate(Login{User: "ann", Password: "new", Remote: there}); err == nil {
		t.Error("let in though deleted")
	}
}

func TestHashesAreComputedOnce(t *testing.T) {
	a, _ := with(t, "ann")
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := a.Authenticate(Login{User: "ann", Password: "secret of ann", Remote: there}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(a.right) != 1 || len(a.wrong) != 0 {
		t.Errorf("%d and %d outcomes are remembered", len(a.right), len(a.wrong))
	}
	if len(a.slots) != 0 || len(a.queue) != 0 {
		t.Error("somebody is still waiting")
	}
}

func TestTooManyWait(t *testing.T) {
	a, _ := with(t, "ann")
	for range waitingMax {
		a.queue <- struct{}{}
	}
	if _, err := a.Authenticate(Login{User: "ann", Password: "secret of ann", Remote: there}); !fault.Is(err, fault.Exhausted) {
		t.Errorf("one too many: %v", err)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	a, _ := with(t)
	for i := range rememberedMax + 10 {
		a.remember(fingerprint{byte(i), byte(i >> 8), byte(i >> 16)}, true)
	}
	if len(a.right) != rememberedMax {
		t.Errorf("%d outcomes are remembered", len(a.right))
	}
}

func TestPut(t *testing.T) {
	ctx := context.Background()
	ok, empty, long := "pw", "", strings.Repeat("x", PasswordMax+1)
	tests := []struct {
		name     string
		password *string
		valid    bool
	}{
		{"ann", &ok, true},
		{"ann", nil, false},
		{"ann", &empty, false},
		{"ann", &long, false},
		{"", &ok, false},
		{strings.Repeat("n", NameMax+1), &ok, false},
		{"a\nb", &ok, false},
		{"a\xff", &ok, false},
	}
	for _, tt := range tests {
		a, tab := with(t)
		if err := a.Put(ctx, tt.name, tt.password, nil); (err == nil) != tt.valid {
			t.Errorf("Put(%q): %v", tt.name, err)
		} else if err != nil && (!fault.Is(err, fault.Invalid) || tab.UserCount() != 0) {
			t.Errorf("Put(%q): %v, %d users", tt.name, err, tab.UserCount())
		}
	}
	a, tab := with(t, "ann")
	before := tab.m["ann"].Hash
	if err := a.Put(ctx, "ann", nil, []string{Administrator}); err != nil {
		t.Fatal(err)
	}
	if u := tab.m["ann"]; string(u.Hash) != string(before) || !a.Administers(Identity{User: "ann"}) || a.Administers(Identity{User: "bob"}) {
		t.Errorf("tags: %v", u)
	}
	if err := a.Delete(ctx, "bob"); !fault.Is(err, fault.NotFound) {
		t.Errorf("deleting nobody: %v", err)
	}
	if err := a.Delete(ctx, "ann"); err != nil || tab.UserCount() != 0 || !a.Administers(Identity{User: "anybody"}) {
		t.Errorf("deleting the last one: %v, %d left", err, tab.UserCount())
	}
}

func TestAccess(t *testing.T) {
	a, tab := with(t, "ann", "root")
	who := func(user string) *acl.Access { return a.Access(Identity{User: user}, Login{Remote: there}, "/") }
	ann, root := who("ann"), who("root")
	want := func(when string, annMay, rootMay bool) {
		t.Helper()
		if got := ann.May(acl.Write, acl.Address, "a"); got != annMay {
			t.Errorf("%s: ann: %v", when, got)
		}
		if got := root.May(acl.Write, acl.Address, "a"); got != rootMay {
			t.Errorf("%s: root: %v", when, got)
		}
	}
	want("no rules", true, true)
	tab.list, tab.rules = []acl.Rule{{User: "ann", Host: "192.0.2.0/24", Actions: acl.Read, Name: "a"}}, 1
	want("a rule", false, false)
	if err := a.Put(context.Background(), "root", nil, []string{Administrator}); err != nil {
		t.Fatal(err)
	}
	want("an administrator", false, true)
	tab.list, tab.rules = []acl.Rule{{User: "ann", Host: "192.0.2.0/24", Actions: acl.Write, Name: "a"}, {Deny: true, Actions: acl.All, Prefix: true, User: "root"}}, 2
	want("other rules", true, true)
	if err := a.Put(context.Background(), "root", nil, []string{}); err != nil {
		t.Fatal(err)
	}
	want("an administrator no more", true, false)
	if before, after := a.Table(), a.Table(); before != after {
		t.Error("a table is compiled for every question")
	}
}

// text is an address that is only text, as wrapped connections have them.
type text struct{ network, address string }

func (a text) Network() string { return a.network }
func (a text) String() string  { return a.address }

func TestOnThisMachine(t *testing.T) {
	p, q := net.Pipe()
	defer p.Close()
	defer q.Close()
	tests := []struct {
		remote net.Addr
		want   bool
	}{
		{nil, false}, {here, true}, {there, false}, {&net.TCPAddr{IP: net.IPv6loopback}, true},
		{&net.UnixAddr{Name: "/x"}, true}, {p.RemoteAddr(), true},
		{&net.UDPAddr{IP: net.IPv6loopback}, true}, {&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1)}, false},
		{text{"tcp", "127.0.0.1:5"}, true}, {text{"tcp", "[::ffff:127.0.0.1]:5"}, true}, {text{"tcp", "192.0.2.1:5"}, false},
		{text{"tcp", "localhost:5"}, false}, {text{"websocket", "127.0.0.1:5"}, false}, {&net.TCPAddr{}, false},
	}
	for _, tt := range tests {
		if got := OnThisMachine(tt.remote); got != tt.want {
			t.Errorf("%v: %v", tt.remote, got)
		}
	}
}

func BenchmarkAuthenticateRemembered(b *testing.B) {
	tab := &table{m: make(map[string]User)}
	a := newAuth(tab, cheap, clock.NewVirtual(time.Unix(1e9, 0)))
	for i := range 1000 {
		password := fmt.Sprint("pw", i)
		a.Put(context.Background(), fmt.Sprint("u", i), &password, nil)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(Login{User: "u7", Password: "pw7", Remote: there}); err != nil {
			b.Fatal(err)
		}
	}
}
