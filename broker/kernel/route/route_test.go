package route

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/robustmq/rmq/broker/message"
)

// naive is what a filter means, said as plainly as can be.
func naive(filter, name []string, one, rest string) bool {
	if len(filter) == 0 {
		return len(name) == 0
	}
	if filter[0] == rest {
		for i := range len(name) + 1 {
			if naive(filter[1:], name[i:], one, rest) {
				return true
			}
		}
		return false
	}
	return len(name) > 0 && (filter[0] == one || filter[0] == name[0]) && naive(filter[1:], name[1:], one, rest)
}

func naiveMQTT(filter, name string) bool {
	if strings.HasPrefix(name, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	return name != "" && naive(strings.Split(filter, "/"), strings.Split(name, "/"), "+", "#")
}

func naiveAMQP(pattern, key string) bool {
	return naive(words(pattern), words(key), "*", "#")
}

func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ".")
}

func TestMatchMQTT(t *testing.T) {
	tests := []struct {
		spec         string
		filter, name string
		want         bool
	}{
		{"MQTT5-4.7.1-1", "sport/tennis/player1/#", "sport/tennis/player1", true},
		{"MQTT5-4.7.1-1", "sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"MQTT5-4.7.1-1", "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"MQTT5-4.7.1-1", "sport/tennis/player1/#", "sport/tennis/player2", false},
		{"MQTT5-4.7.1-1", "sport/#", "sport", true},
		{"MQTT5-4.7.1-1", "#", "sport", true},
		{"MQTT5-4.7.1-2", "sport/tennis/+", "sport/tennis/player1", true},
		{"MQTT5-4.7.1-2", "sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"MQTT5-4.7.1-2", "sport/+", "sport", false},
		{"MQTT5-4.7.1-2", "sport/+", "sport/", true},
		{"MQTT5-4.7.1-2", "+", "/finance", false},
		{"MQTT5-4.7.1-2", "+/+", "/finance", true},
		{"MQTT5-4.7.1-2", "/+", "/finance", true},
		{"MQTT5-4.7.1-2", "+/tennis/#", "sport/tennis/x", true},
		{"MQTT5-4.7.2-1", "#", "$SYS/monitor", false},
		{"MQTT5-4.7.2-1", "+/monitor", "$SYS/monitor", false},
		{"MQTT5-4.7.2-1", "+/monitor/#", "$SYS/monitor/Clients", false},
		{"MQTT5-4.7.2-1", "$SYS/#", "$SYS/monitor", true},
		{"MQTT5-4.7.2-1", "$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"MQTT5-4.7.2-1", "a/+", "a/$x", true},
		{"MQTT5-4.7.3-1", "#", "", false},
		{"MQTT5-4.7.3-4", "a", "A", false},
		{"MQTT5-4.7.3-4", "a", "/a", false},
		{"MQTT5-4.7.3-4", "a.b", "a.b", true},
	}
	for _, tt := range tests {
		table := New[int]()
		table.Add(SlashedFilter(tt.filter), 1)
		if got := len(table.Match(nil, Slashed(tt.name))) == 1; got != tt.want {
			t.Errorf("%s: %q matches %q: %v, want %v", tt.spec, tt.filter, tt.name, got, tt.want)
		}
		if tt.name != "" && MatchFilter(tt.filter, tt.name) != tt.want {
			t.Errorf("%s: MatchFilter(%q, %q) = %v", tt.spec, tt.filter, tt.name, !tt.want)
		}
		if naiveMQTT(tt.filter, tt.name) != tt.want {
			t.Errorf("%s: the model has %q and %q wrong", tt.spec, tt.filter, tt.name)
		}
	}
}

func TestMatchAMQP(t *testing.T) {
	tests := []struct {
		pattern, key string
		want         bool
	}{
		{"*.orange.*", "quick.orange.rabbit", true},
		{"*.orange.*", "quick.orange.male.rabbit", false},
		{"lazy.#", "lazy", true},
		{"lazy.#", "lazy.brown.fox", true},
		{"#", "", true},
		{"#", "a.b", true},
		{"*", "", false}, // seen in RabbitMQ 4.3
		{"*", "a", true},
		{"a.*.b", "a..b", true},
		{"", "", true},
		{"", "a", false},
		{"a.#.b", "a.b", true},
		{"a.#.b", "a.x.y.b", true},
		{"a.#.b", "a.x.y.b.c", false},
		{"#.a", "a", true},
		{"#.a", "b.b.a", true},
		{"#.a.#", "x.a.y", true},
		{"#.#", "", true},
		{"#.*", "", false},
		{"#.*", "a", true},
		{"*.#.*", "a", false},
		{"*.#.*", "a.b", true},
		{"a/b", "a/b", true},
		{"#", "$SYS.a", true},
	}
	for _, tt := range tests {
		table := New[int]()
		table.Add(Dotted(tt.pattern), 1)
		if got := table.Match(nil, DottedKey(tt.key)); (len(got) == 1) != tt.want {
			t.Errorf("%q matches %q: %v, want %v", tt.pattern, tt.key, got, tt.want)
		}
		if naiveAMQP(tt.pattern, tt.key) != tt.want {
			t.Errorf("the model has %q and %q wrong", tt.pattern, tt.key)
		}
	}
}

// Whatever was added and removed, and by whichever protocol, the table finds what the
// model finds.
func TestTableIsTheModel(t *testing.T) {
	level := rapid.SampledFrom([]string{"", "a", "b", "c", "$a"})
	wild := rapid.SampledFrom([]string{"", "a", "b", "$a", "+", "+", "#"})
	type sub struct {
		filter string
		d      int
	}
	for _, mqtt := range []bool{true, false} {
		filterOf, nameOf, model := Dotted, DottedKey, naiveAMQP
		join := func(levels []string) string { return strings.ReplaceAll(strings.Join(levels, "."), "+", "*") }
		if mqtt {
			filterOf, nameOf, model = SlashedFilter, Slashed, naiveMQTT
			join = func(levels []string) string {
				if i := slices.Index(levels, "#"); i >= 0 {
					levels = levels[:i+1]
				}
				return strings.Join(levels, "/")
			}
		}
		rapid.Check(t, func(t *rapid.T) {
			table := New[int]()
			subs := make(map[sub]bool)
			var dst []int
			for range rapid.IntRange(1, 60).Draw(t, "steps") {
				f := join(rapid.SliceOfN(wild, 1, 5).Draw(t, "filter"))
				s := sub{f, rapid.IntRange(0, 5).Draw(t, "destination")}
				if mqtt && f == "" {
					continue
				}
				// To the table a repeated Rest is one.
				for strings.Contains(s.filter, "#.#") {
					s.filter = strings.ReplaceAll(s.filter, "#.#", "#")
				}
				switch rapid.IntRange(0, 3).Draw(t, "op") {
				case 0, 1:
					if got := table.Add(filterOf(f), s.d); got == subs[s] {
						t.Fatalf("Add(%q, %d) = %v", f, s.d, got)
					}
					subs[s] = true
				case 2:
					if got := table.Remove(filterOf(f), s.d); got != subs[s] {
						t.Fatalf("Remove(%q, %d) = %v", f, s.d, got)
					}
					delete(subs, s)
				}
				name := join(rapid.SliceOfN(level, 1, 6).Draw(t, "name"))
				var want []int
				for s := range subs {
					matches := model(s.filter, name)
					if matches {
						want = append(want, s.d)
					}
					if mqtt && name != "" && MatchFilter(s.filter, name) != matches {
						t.Fatalf("MatchFilter(%q, %q) = %v", s.filter, name, !matches)
					}
				}
				dst = table.Match(dst[:0], nameOf(name))
				sort.Ints(dst)
				sort.Ints(want)
				if !slices.Equal(dst, want) {
					t.Fatalf("%q: got %v, want %v of %v", name, dst, want, subs)
				}
				if table.Len() != len(subs) {
					t.Fatalf("Len() = %d, want %d", table.Len(), len(subs))
				}
			}
			for s := range subs {
				table.Remove(filterOf(s.filter), s.d)
			}
			checkEmpty(t, table)
		})
	}
}

func checkEmpty(t interface{ Fatalf(string, ...any) }, table *Table[int]) {
	root := table.tree.root
	if !root.leaf() || root.rest.Load() != nil || root.dests.live() != 0 {
		t.Fatalf("nodes are left in an empty table")
	}
	for i := range table.tree.parts {
		if table.tree.parts[i].Load() != nil {
			t.Fatalf("edges are left in an empty table")
		}
	}
}

func TestLevels(t *testing.T) {
	table := New[string]()
	table.Add(Levels("fleet", One, "temp"), "one")
	table.Add(Levels("fleet", Rest, "temp"), "rest")
	for name, want := range map[string]string{
		"fleet/7/temp": "one rest", "fleet/7/rack/temp": "rest", "fleet/temp": "rest", "fleet/+/temp": "one rest", "fleet": "",
	} {
		got := table.Match(nil, Slashed(name))
		sort.Strings(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !table.Has(Levels("fleet", One, "temp")) || table.Has(Levels("fleet", "7", "temp")) {
		t.Error("Has looks at what matches, not at what is there")
	}
}

func TestManyDestinations(t *testing.T) {
	table := New[int]()
	f := SlashedFilter("broadcast/#")
	const n = 10_000
	for i := range n {
		if !table.Add(f, i) || table.Add(f, i) {
			t.Fatal("added twice or not at all:", i)
		}
	}
	for i := range n {
		if i%3 != 0 && (!table.Remove(f, i) || table.Remove(f, i)) {
			t.Fatal("removed twice or not at all:", i)
		}
	}
	got := table.Match(nil, Slashed("broadcast/x"))
	sort.Ints(got)
	for i, d := range got {
		if d != 3*i {
			t.Fatalf("destination %d is %d", i, d)
		}
	}
	if len(got) != (n+2)/3 {
		t.Fatalf("%d destinations", len(got))
	}
	for i := 0; i < n; i += 3 {
		table.Remove(f, i)
	}
	checkEmpty(t, table)
}

// A pattern that would make a backtracking matcher take for ever.
func TestManyRests(t *testing.T) {
	table := New[int]()
	table.Add(Dotted(strings.Repeat("#.a.", 60)+"b"), 1)
	for i := range 100 {
		table.Add(Dotted(strings.Repeat("#.a.", i)+"#"), 100+i)
	}
	if got := table.Match(nil, DottedKey(strings.Repeat("a.", 1000)+"c")); len(got) != 100 {
		t.Errorf("%d matches, want 100", len(got))
	}
}

// While others come and go, who is there is found, once.
func TestReadersHoldNoLock(t *testing.T) {
	table := New[int]()
	stay := []string{"a/b/c", "a/+/c", "a/#", "#", "+/b/#"}
	for i, f := range stay {
		table.Add(SlashedFilter(f), i)
	}
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			var dst []int
			for {
				select {
				case <-stop:
					return
				default:
				}
				dst = table.Match(dst[:0], Slashed("a/b/c"))
				found := make(map[int]int)
				for _, d := range dst {
					found[d]++
				}
				for i := range stay {
					if found[i] != 1 {
						t.Errorf("%q found %d times", stay[i], found[i])
						return
					}
				}
			}
		})
	}
	for w := range 2 {
		writers.Go(func() {
			for round := range 200 {
				for i := range 100 {
					d := 100 + w*1000 + i
					f := SlashedFilter([]string{"a/b/c", "a/b/" + fmt.Sprint(d), "a/" + fmt.Sprint(d) + "/c", "#", fmt.Sprint(d)}[i%5])
					if round%2 == 0 {
						table.Add(f, d)
					} else {
						table.Remove(f, d)
					}
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if table.Len() != len(stay) {
		t.Errorf("%d subscriptions are left, want %d", table.Len(), len(stay))
	}
}

func TestVersions(t *testing.T) {
	table := New[int]()
	a := table.Version(Slashed("a/b"))
	table.Add(SlashedFilter("a/x"), 1)
	if v := table.Version(Slashed("a/b")); v <= a {
		t.Error("a new filter below a left a's version")
	} else {
		a = v
	}
	if table.Add(SlashedFilter("a/x"), 1); table.Version(Slashed("a/b")) != a {
		t.Error("nothing changed, and the version did")
	}
	for i := range 20 { // most of these have another slot
		table.Add(SlashedFilter(fmt.Sprintf("other%d/x", i)), 1)
	}
	if v := table.Version(Slashed("a/b")); v > a+5 {
		t.Errorf("filters below other first levels raised a's version by %d", v-a)
	} else {
		a = v
	}
	if table.Add(SlashedFilter("+/x"), 1); table.Version(Slashed("a/b")) <= a {
		t.Error("a wildcard at the first level left a's version")
	}
	a = table.Version(Slashed("a/b"))
	if table.Remove(SlashedFilter("a/x"), 1); table.Version(Slashed("a/b")) <= a {
		t.Error("a removed filter left a's version")
	}
}

func TestCache(t *testing.T) {
	c := NewCache[int](64)
	c.Put("x", "k", 1, 10)
	c.Put("xk", "", 1, 11)
	if v, ok := c.Get("x", "k", 1); !ok || v != 10 {
		t.Error(v, ok)
	}
	if v, ok := c.Get("xk", "", 1); !ok || v != 11 {
		t.Error(v, ok)
	}
	if _, ok := c.Get("x", "k", 2); ok {
		t.Error("an answer of an older version was given")
	}
	c.Put("x", "k", 2, 20)
	if v, ok := c.Get("x", "k", 2); !ok || v != 20 {
		t.Error(v, ok)
	}
	// What is asked for again and again survives what is asked for once.
	for i := range 10_000 {
		c.Put("once", fmt.Sprint(i), 2, i)
		if _, ok := c.Get("x", "k", 2); !ok {
			t.Fatalf("the hot answer is gone after %d others", i)
		}
	}
	held := 0
	for i := range c.sets {
		for j := range c.sets[i].entries {
			if c.sets[i].entries[j].Load() != nil {
				held++
			}
		}
	}
	if held > 64 {
		t.Errorf("%d answers are held", held)
	}
}

func TestHeaderMatch(t *testing.T) {
	h := func(pairs ...string) (hs []message.Header) {
		for i := 0; i < len(pairs); i += 2 {
			hs = append(hs, message.Header{Name: pairs[i], Value: []byte(pairs[i+1])})
		}
		return hs
	}
	present := []message.Header{{Name: "a"}}
	tests := []struct {
		name    string
		match   HeaderMatch
		headers []message.Header
		want    bool
	}{
		{"all, all there", HeaderMatch{Want: h("a", "1", "b", "2")}, h("b", "2", "a", "1", "c", "3"), true},
		{"all, one missing", HeaderMatch{Want: h("a", "1", "b", "2")}, h("a", "1"), false},
		{"all, one different", HeaderMatch{Want: h("a", "1")}, h("a", "2"), false},
		{"all of nothing", HeaderMatch{}, h("a", "1"), true},
		{"any, one there", HeaderMatch{Want: h("a", "1", "b", "2"), Any: true}, h("b", "2"), true},
		{"any, none there", HeaderMatch{Want: h("a", "1"), Any: true}, h("b", "2"), false},
		{"any of nothing", HeaderMatch{Any: true}, h("a", "1"), false},
		{"present", HeaderMatch{Want: present}, h("a", "whatever"), true},
		{"not present", HeaderMatch{Want: present}, nil, false},
		{"x- does not count", HeaderMatch{Want: h("x-a", "1", "b", "2")}, h("b", "2"), true},
		{"x- counts", HeaderMatch{Want: h("x-a", "1", "b", "2"), WithX: true}, h("b", "2"), false},
		{"x-match never counts", HeaderMatch{Want: h("x-match", "all", "b", "2"), WithX: true}, h("b", "2"), true},
		{"a repeat", HeaderMatch{Want: h("a", "2")}, h("a", "1", "a", "2"), true},
	}
	for _, tt := range tests {
		if got := tt.match.Match(tt.headers); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func FuzzTable(f *testing.F) {
	f.Add("a/+/#", "a/b/c")
	f.Add("#.a.#", "x.a")
	f.Fuzz(func(t *testing.T, filter, name string) {
		if strings.Count(filter, "#") > 4 || len(name) > 100 {
			return // the model backtracks
		}
		table := New[int]()
		table.Add(Dotted(filter), 1)
		if got := len(table.Match(nil, DottedKey(name))) == 1; got != naiveAMQP(filter, name) {
			t.Fatalf("%q matches %q: %v", filter, name, got)
		}
		table.Remove(Dotted(filter), 1)
		checkEmpty(t, table)
	})
}

// ---- speed -------------------------------------------------------------------

// million is a table of n filters of four levels in which each name matches ten.
func million(n int) (*Table[*int], []Name) {
	table := New[*int]()
	d := make([]int, 16)
	var names []Name
	// Ten filters for each device: its own, and wildcards at each place.
	shapes := []string{
		"site%[1]d/line%[2]d/dev%[3]d/temp", "site%[1]d/line%[2]d/dev%[3]d/+", "site%[1]d/line%[2]d/+/temp", "site%[1]d/+/dev%[3]d/temp",
		"site%[1]d/line%[2]d/dev%[3]d/#", "site%[1]d/line%[2]d/#", "+/line%[2]d/dev%[3]d/temp", "site%[1]d/+/dev%[3]d/+",
		"+/+/dev%[3]d/temp", "+/line%[2]d/dev%[3]d/#",
	}
	for i := 0; table.Len() < n; i++ {
		for k, shape := range shapes {
			table.Add(SlashedFilter(fmt.Sprintf(shape, i%10, i%1000, i)), &d[k])
		}
		names = append(names, Slashed(fmt.Sprintf("site%d/line%d/dev%d/temp", i%10, i%1000, i)))
	}
	return table, names
}

func TestMatchDoesNotAllocate(t *testing.T) {
	table, names := million(1000)
	dst := make([]*int, 0, 64)
	if dst = table.Match(dst, names[7]); len(dst) != 10 {
		t.Fatalf("%d matches, want 10", len(dst))
	}
	if n := testing.AllocsPerRun(1000, func() { dst = table.Match(dst[:0], names[7]) }); n != 0 && !race {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		table, names := million(n)
		dst := make([]*int, 0, 64)
		for _, spread := range []string{"one", "all"} {
			b.Run(fmt.Sprintf("filters=%d/addresses=%s", n, spread), func(b *testing.B) {
				b.ReportAllocs()
				i, step := 0, 0
				if spread == "all" {
					step = 7919
				}
				for b.Loop() {
					dst = table.Match(dst[:0], names[i%len(names)])
					i += step
				}
				if len(dst) != 10 {
					b.Fatalf("%d matches", len(dst))
				}
			})
		}
	}
}

func BenchmarkMatchParallel(b *testing.B) {
	table, names := million(100_000)
	b.RunParallel(func(pb *testing.PB) {
		dst := make([]*int, 0, 64)
		for i := 0; pb.Next(); i += 7919 {
			dst = table.Match(dst[:0], names[i%len(names)])
		}
	})
}

func BenchmarkAddRemove(b *testing.B) {
	filters := make([]Filter, 1<<20)
	for i := range filters {
		filters[i] = SlashedFilter(fmt.Sprintf("devices/d%d/cmd/+", i))
	}
	b.Run("own filter", func(b *testing.B) { benchmarkAddRemove(b, func(i int) Filter { return filters[i%len(filters)] }) })
	b.Run("one filter", func(b *testing.B) {
		f := SlashedFilter("broadcast/#")
		benchmarkAddRemove(b, func(int) Filter { return f })
	})
}

func benchmarkAddRemove(b *testing.B, filter func(i int) Filter) {
	b.ReportAllocs()
	table := New[int]()
	const held = 1 << 18 // stay subscribed while others come and go
	i := 0
	for b.Loop() {
		table.Add(filter(i), i)
		if i >= held {
			table.Remove(filter(i-held), i-held)
		}
		i++
	}
}

func BenchmarkCacheGet(b *testing.B) {
	c := NewCache[int](1 << 16)
	c.Put("", "sensors/dev1/temp", 1, 1)
	b.ReportAllocs()
	for b.Loop() {
		c.Get("", "sensors/dev1/temp", 1)
	}
}

// Whoever replaces a subscription by another, adding before removing, is matched all the time.
func TestReplacedIsMatched(t *testing.T) {
	const many = 20 // who is subscribed; each by one number after another
	table := New[int]()
	for d := range many {
		table.Add(SlashedFilter("a/+"), d)
	}
	over := make(chan struct{})
	var all sync.WaitGroup
	defer all.Wait()
	defer close(over)
	all.Go(func() {
		for gen := 0; ; gen++ {
			for d := range many {
				table.Add(SlashedFilter("a/+"), (gen+1)*many+d)
				table.Remove(SlashedFilter("a/+"), gen*many+d)
			}
			select {
			case <-over:
				return
			default:
			}
		}
	})
	for range 20_000 {
		found := make(map[int]bool)
		for _, d := range table.Match(nil, Slashed("a/b")) {
			found[d%many] = true
		}
		if len(found) != many {
			t.Fatalf("%d of %d are matched", len(found), many)
		}
	}
}
