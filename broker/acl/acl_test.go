package acl

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// fixed is a table that a test exchanges.
type fixed struct{ t *Table }

func (f *fixed) Table() *Table { return f.t }

func rule(text string) Rule {
	f := strings.Fields(text) // allow|deny user actions resource [prefix]
	a, err := ParseActions(f[2])
	if err != nil {
		panic(err)
	}
	r := Rule{Deny: f[0] == "deny", User: strings.TrimPrefix(f[1], "*"), Actions: a, Prefix: len(f) > 4}
	r.Kind, r.Name = ParseResource(strings.TrimPrefix(f[3], "''"))
	if err := r.Check(); err != nil {
		panic(fmt.Sprint(text, ": ", err))
	}
	return r
}

func rules(texts ...string) []Rule {
	var out []Rule
	for _, t := range texts {
		out = append(out, rule(t))
	}
	return out
}

func TestMay(t *testing.T) {
	ann := Subject{User: "ann", Client: "dev1", Namespace: "/", Host: netip.MustParseAddr("10.1.2.3")}
	tests := []struct {
		rules string // divided by ;
		act   Action
		kind  Kind
		name  string
		want  bool
	}{
		{"", Write, Address, "a/b", true},
		{"allow ann read a/b", Write, Address, "a/b", false},
		{"allow ann write a/b", Write, Address, "a/b", true},
		{"allow bob write a/b", Write, Address, "a/b", false},
		{"allow * write a/b", Write, Address, "a/b", true},
		{"allow ann write a/#", Write, Address, "a", true},
		{"allow ann write a/#", Write, Address, "a/b/c", true},
		{"allow ann write a/#", Write, Address, "ab", false},
		{"allow ann write a/+", Write, Address, "a/b", true},
		{"allow ann write a/+", Write, Address, "a/", true},
		{"allow ann write a/+", Write, Address, "a", false},
		{"allow ann write a/+", Write, Address, "a/b/c", false},
		{"allow ann write a/#/z", Write, Address, "a/z", true},
		{"allow ann write a/#/z", Write, Address, "a/b/z/c/z", true},
		{"allow ann write a/#/z", Write, Address, "a/b/z/c", false},
		{"allow ann write #/b/#/c", Write, Address, "b/b/a/c", true},
		{"allow ann write #", Write, Address, "$SYS/x", false},
		{"allow ann write +/x", Write, Address, "$SYS/x", false},
		{"allow ann write $SYS/#", Write, Address, "$SYS/x", true},
		{"allow ann write '' prefix", Write, Address, "$SYS/x", true},
		{"allow ann write or prefix", Write, Address, "orders/7", true},
		{"allow ann write or prefix", Write, Address, "o", false},
		{"allow * write up/%c/#", Write, Address, "up/dev1/x", true},
		{"allow * write up/%c/#", Write, Address, "up/dev2/x", false},
		{"allow * write up/%u/#", Write, Address, "up/ann", true},
		{"allow * write up/%u/#", Write, Address, "up/%u", false},
		{"allow ann write #;deny * write a/secret", Write, Address, "a/secret", false},
		{"deny * write a/secret;allow ann write #", Write, Address, "a/secret", false},
		{"deny * write a/secret;allow ann write #", Write, Address, "a/open", true},
		{"deny ann read a/#;allow ann all #", Write, Address, "a/x", true},
		{"allow ann write a", Describe, Address, "a", true},
		{"allow ann create a", Describe, Address, "a", false},
		{"allow ann alter-configs a", DescribeConfigs, Address, "a", true},
		{"allow ann write a;deny ann describe a", Describe, Address, "a", false},
		{"allow ann write a;deny ann describe a", Write, Address, "a", true},
		{"allow ann read group:g", Read, Group, "g", true},
		{"allow ann read group:g", Read, Address, "g", false},
		{"allow ann read group:g prefix", Read, Group, "g7", true},
		{"allow ann read group:a/+", Read, Group, "a/b", false},
		{"allow ann alter cluster", Alter, Cluster, "", true},
		{"allow ann alter cluster", Create, Cluster, "", false},
	}
	for _, tt := range tests {
		var list []Rule
		if tt.rules != "" {
			list = rules(strings.Split(tt.rules, ";")...)
		}
		table := NewTable(list, nil)
		a := NewAccess(&fixed{table}, ann)
		for range 2 { // the second time as remembered
			if got := a.May(tt.act, tt.kind, tt.name); got != tt.want {
				t.Errorf("%q: %v on %v %q: %v", tt.rules, tt.act, tt.kind, tt.name, got)
			}
		}
		if v := table.Decide(&ann, tt.act, tt.kind, tt.name); v.Allowed != tt.want {
			t.Errorf("%q: Decide says %+v", tt.rules, v)
		}
	}
}

func TestWhoARuleIsAbout(t *testing.T) {
	r := Rule{Actions: Read, Name: "a", Client: "c1", Host: "10.0.0.0/8", Namespace: "/x"}
	in := netip.MustParseAddr("10.9.9.9")
	for _, tt := range []struct {
		s    Subject
		want bool
	}{
		{Subject{Client: "c1", Host: in, Namespace: "/x"}, true},
		{Subject{Client: "c2", Host: in, Namespace: "/x"}, false},
		{Subject{Client: "c1", Host: netip.MustParseAddr("11.0.0.1"), Namespace: "/x"}, false},
		{Subject{Client: "c1", Namespace: "/x"}, false},
		{Subject{Client: "c1", Host: in, Namespace: "/"}, false},
		{Subject{Super: true}, true},
		{Subject{User: "root"}, true},
	} {
		table := NewTable([]Rule{r}, func(u string) bool { return u == "root" })
		if got := NewAccess(&fixed{table}, tt.s).May(Read, Address, "a"); got != tt.want {
			t.Errorf("%+v: %v", tt.s, got)
		}
	}
}

// A client whose own name holds wildcards is not let out of its level by it.
func TestNamesAreNoWildcards(t *testing.T) {
	list := rules("allow * read up/%c/#", "allow * read user/%u")
	for _, name := range []string{"#", "+", "a/b", ""} {
		a := NewAccess(&fixed{NewTable(list, nil)}, Subject{User: name, Client: name})
		for _, address := range []string{"up/x", "up/a/b", "up//x", "user/", "user/x"} {
			if a.May(Read, Address, address) {
				t.Errorf("%q may read %q", name, address)
			}
		}
		for _, filter := range []string{"up/#", "up/+/x", "user/+", "user/#"} {
			if a.Extent(Read, filter) == Everything {
				t.Errorf("%q may read all of %q", name, filter)
			}
		}
	}
}

func TestExtent(t *testing.T) {
	tests := []struct {
		rules  string
		filter string
		want   Extent
	}{
		{"", "#", Everything},
		{"allow ann read a/#", "a/#", Everything},
		{"allow ann read a/#", "a/+/c", Everything},
		{"allow ann read a/#", "a", Everything},
		{"allow ann read a/#", "#", Some},
		{"allow ann read a/#", "+/b", Some},
		{"allow ann read a/#", "b/#", Nothing},
		{"allow ann read a/+", "a/#", Some},
		{"allow ann read a/+/c", "a/b/+", Some},
		{"allow ann read a/+/c", "a/b/d", Nothing},
		{"allow ann write a/#", "a/#", Nothing},
		{"allow ann read #;deny ann read a/x", "a/#", Some},
		{"allow ann read #;deny ann read a/x", "b/#", Everything},
		{"allow ann read #;deny ann read a/#", "a/b/#", Nothing},
		{"allow ann read #;deny * read +/x", "a/b", Everything},
		{"allow ann read #", "$SYS/#", Nothing},
		{"allow ann read $SYS/#", "#", Nothing},
		{"allow ann read '' prefix", "$SYS/#", Everything},
		{"allow ann read a/b prefix", "a/b1/+", Everything},
		{"allow ann read a/b prefix", "a/+", Some},
		{"allow ann read a/b prefix", "a/#", Some},
		{"allow ann read a/b prefix", "a/c/#", Nothing},
		{"allow * read up/%c/#", "up/dev1/#", Everything},
		{"allow * read up/%c/#", "up/+/x", Some},
		{"allow * read up/%c/#", "up/dev2/#", Nothing},
		{"allow ann read a/#/z", "a/b/z", Everything},
		{"allow ann read a/#/z", "a/#/y/z", Everything},
		{"allow ann read a/#/z", "a/#", Some},
	}
	for _, tt := range tests {
		var list []Rule
		if tt.rules != "" {
			list = rules(strings.Split(tt.rules, ";")...)
		}
		a := NewAccess(&fixed{NewTable(list, nil)}, Subject{User: "ann", Client: "dev1"})
		if got := a.Extent(Read, tt.filter); got != tt.want {
			t.Errorf("%q: %q: %v, want %v", tt.rules, tt.filter, got, tt.want)
		}
	}
}

// What is said of a filter agrees with what is said of each address that it matches.
func TestExtentAgreesWithMay(t *testing.T) {
	level := rapid.SampledFrom([]string{"a", "b", "", "+", "#", "$x"})
	filter := rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(level, 1, 4).Draw(t, "levels")
		return strings.Join(levels, "/")
	})
	var addresses []string
	words := []string{"a", "b", "", "$x"}
	for _, x := range words {
		addresses = append(addresses, x)
		for _, y := range words {
			addresses = append(addresses, x+"/"+y)
			for _, z := range words {
				addresses = append(addresses, x+"/"+y+"/"+z)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var list []Rule
		for i := range rapid.IntRange(1, 3).Draw(t, "n") {
			r := Rule{Actions: Read, Name: filter.Draw(t, fmt.Sprint("rule", i)), Deny: rapid.Bool().Draw(t, "deny"), Prefix: rapid.Bool().Draw(t, "prefix")}
			if r.Check() != nil {
				t.Skip()
			}
			list = append(list, r)
		}
		asked := filter.Draw(t, "asked")
		s := Subject{User: "ann"}
		access := NewAccess(&fixed{NewTable(list, nil)}, s)
		x := access.Extent(Read, asked)
		for _, address := range addresses {
			if !parse(asked).match(&s, address) {
				continue
			}
			switch may := access.May(Read, Address, address); {
			case x == Everything && !may:
				t.Fatalf("%v: all of %q may be read, and not %q", list, asked, address)
			case x == Nothing && may:
				t.Fatalf("%v: nothing of %q may be read, and yet %q", list, asked, address)
			}
		}
	})
}

func TestAChangeCountsAtOnce(t *testing.T) {
	src := &fixed{NewTable(rules("allow ann write a"), nil)}
	a := NewAccess(src, Subject{User: "ann"})
	if !a.May(Write, Address, "a") || a.May(Write, Address, "b") {
		t.Fatal("before")
	}
	src.t = NewTable(rules("allow ann write b"), nil)
	if a.May(Write, Address, "a") || !a.May(Write, Address, "b") {
		t.Error("after a change of rules")
	}
	root := false
	src.t = NewTable(rules("allow bob write b"), func(string) bool { return root })
	if a.May(Write, Address, "b") {
		t.Error("rules of another")
	}
	root, src.t = true, src.t.Again()
	if !a.May(Write, Address, "b") || a.Extent(Read, "#") != Everything {
		t.Error("an administrator from now on")
	}
}

func TestAnywhere(t *testing.T) {
	for _, tt := range []struct {
		rules string
		want  bool
	}{
		{"allow ann write a", true}, {"allow ann read a", false}, {"allow ann write group:a", false},
		{"allow ann write a;deny ann write a", false}, {"allow ann write a;deny * write '' prefix", false},
		{"allow ann write a;deny * write b", true},
	} {
		a := NewAccess(&fixed{NewTable(rules(strings.Split(tt.rules, ";")...), nil)}, Subject{User: "ann"})
		if got := a.Anywhere(Write, Address); got != tt.want {
			t.Errorf("%q: %v", tt.rules, got)
		}
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	a := NewAccess(&fixed{NewTable(rules("allow ann write a/#"), nil)}, Subject{User: "ann"})
	for i := range 10 * seenMax {
		if !a.May(Write, Address, fmt.Sprint("a/", i)) {
			t.Fatal(i)
		}
	}
	if len(a.known.Load().seen) > seenMax {
		t.Errorf("%d answers are remembered", len(a.known.Load().seen))
	}
}

func TestMayDoesNotAllocate(t *testing.T) {
	a := NewAccess(&fixed{NewTable(rules("allow ann write a/#", "deny * write a/b"), nil)}, Subject{User: "ann"})
	names := []string{"a/x", "a/b", "a/y/z"}
	for _, n := range names {
		a.May(Write, Address, n)
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, n := range names {
			a.May(Write, Address, n)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCheck(t *testing.T) {
	for _, bad := range []Rule{
		{Name: "a"}, {Actions: Read}, {Actions: 1 << 15, Name: "a"}, {Actions: Read, Name: "a+"}, {Actions: Read, Name: "a#/b"},
		{Actions: Read, Name: "#/#/#/#/#"}, {Actions: Read, Name: strings.Repeat("a/", LevelMax)}, {Actions: Read, Name: "a\nb"},
		{Actions: Read, Name: "a", Host: "ten"}, {Actions: Read, Kind: Cluster, Name: "x"}, {Actions: Read, Kind: kinds, Name: "x"},
		{Actions: Read, Name: strings.Repeat("a", NameMax+1)}, {Actions: Read, Kind: Group},
	} {
		if bad.Check() == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}

func TestActions(t *testing.T) {
	for text, want := range map[string]string{
		"read": "read", "subscribe": "read", "publish,fetch": "read,write", "readwrite": "read,write", "all": "all", "ALTER_CONFIGS": "alter-configs",
		"configure": "create,delete,alter",
	} {
		if a, err := ParseActions(text); err != nil || a.String() != want {
			t.Errorf("%q: %v, %v", text, a, err)
		}
	}
	if _, err := ParseActions("read,fly"); err == nil {
		t.Error("there is an action fly")
	}
}

func TestFromMosquitto(t *testing.T) {
	got, err := FromMosquitto(strings.NewReader(`
# comment
topic read $SYS/#
user ann
topic a/b c
topic write cmd/#
  topic deny cmd/secret
pattern readwrite up/%u/%c
user bob smith
topic readwrite x
`), "guest")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i := range got {
		lines = append(lines, got[i].String())
	}
	want := []string{
		"allow user guest to read $SYS/#", "allow user ann to read,write a/b c", "allow user ann to write cmd/#", "deny user ann to read,write cmd/secret",
		"allow anybody to read,write up/%u/%c", "allow user bob smith to read,write x",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	for _, bad := range []string{"fly a", "user", "topic read a+b", "user ann\ntopic %u", "topic "} {
		if _, err := FromMosquitto(strings.NewReader(bad), "guest"); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a/#/b", "a/x/b")
	f.Fuzz(func(t *testing.T, filter, address string) {
		r := Rule{Actions: Read, Name: filter}
		if r.Check() != nil {
			return
		}
		s := Subject{User: "u", Client: "c"}
		p := compile(filter)
		if !strings.ContainsAny(address, "+#%") && address != "" && p.match(&s, address) != p.covers(&s, parse(address)) {
			t.Fatalf("%q and %q", filter, address)
		}
	})
}

func BenchmarkMay(b *testing.B) {
	list := rules("allow ann write a/#", "deny * write a/b", "allow * write up/%c/#")
	for i := range 1000 {
		list = append(list, rule(fmt.Sprintf("allow user%d all x/%d/#", i, i)))
	}
	run := func(name string, list []Rule, names ...string) {
		b.Run(name, func(b *testing.B) {
			a := NewAccess(&fixed{NewTable(list, nil)}, Subject{User: "ann", Client: "dev1"})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				a.May(Write, Address, names[i%len(names)])
			}
		})
	}
	run("no rules", nil, "a/x/y/z")
	run("one address", list, "a/x/y/z")
	run("two addresses", list, "a/x/y/z", "up/dev1/temp")
}
