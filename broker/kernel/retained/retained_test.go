package retained

import (
	"fmt"
	"reflect"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/robustmq/rmq/broker/fault"
)

// matches is what the filter means, said as plainly as can be.
func matches(filter, address string) bool {
	if strings.HasPrefix(address, "$") && strings.ContainsAny(filter[:1], "+#") {
		return false
	}
	f, a := strings.Split(filter, "/"), strings.Split(address, "/")
	for i, level := range f {
		if level == "#" {
			return true
		}
		if i >= len(a) || level != "+" && level != a[i] {
			return false
		}
	}
	return len(f) == len(a)
}

func all(s *Store, ns, filter string, limit int) (found []string, calls int) {
	after := ""
	for {
		n := 0
		next, more := s.Scan(ns, filter, after, limit, func(address string, _ Ref) bool {
			found = append(found, address)
			n++
			return true
		})
		calls++
		if n > limit {
			panic("more than asked for")
		}
		if !more {
			return found, calls
		}
		after = next
	}
}

func TestScan(t *testing.T) {
	tests := []struct {
		spec   string
		filter string
		want   string
	}{
		{"MQTT5-4.7.1-1", "a/#", "a a/x a/x-1 a/x-1/b a/x/b a/x/b/c"},
		{"MQTT5-4.7.1-1", "#", "/ /a a a/x a/x-1 a/x-1/b a/x/b a/x/b/c b/x/b"},
		{"MQTT5-4.7.1-2", "a/+", "a/x a/x-1"},
		{"MQTT5-4.7.1-2", "a/+/b", "a/x-1/b a/x/b"},
		{"MQTT5-4.7.1-2", "+/+/b", "a/x-1/b a/x/b b/x/b"},
		{"MQTT5-4.7.1-2", "+", "a"},
		{"MQTT5-4.7.1-2", "/+", "/ /a"},
		{"MQTT5-4.7.1-2", "+/+", "/ /a a/x a/x-1"},
		{"MQTT5-4.7.2-1", "$SYS/#", "$SYS/a $SYS/b"},
		{"MQTT5-4.7.2-1", "+/a", "/a"},
		{"", "a/x", "a/x"},
		{"", "a/x/#", "a/x a/x/b a/x/b/c"},
		{"", "nothing/here", ""},
	}
	s := New()
	for i, address := range strings.Fields("a a/x a/x-1 a/x-1/b a/x/b a/x/b/c b/x/b / /a $SYS/a $SYS/b") {
		s.Set("/", address, 1, int64(i), 0)
		s.Set("other", address+"/other", 1, int64(i), 0)
	}
	for _, tt := range tests {
		for _, limit := range []int{1, 2, 100} {
			got, _ := all(s, "/", tt.filter, limit)
			if strings.Join(got, " ") != tt.want {
				t.Errorf("%s: %q by %d: %q, want %q", tt.spec, tt.filter, limit, got, tt.want)
			}
		}
	}
	if next, more := s.Scan("/", "#", "", 100, func(string, Ref) bool { return false }); !more || next != "/" {
		t.Errorf("stopped by the caller: %q, %v", next, more)
	}
}

func TestScanMatchesTheModel(t *testing.T) {
	level := rapid.SampledFrom([]string{"", "a", "b", "a-", "a0", "$x", "é", "a!"})
	address := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(level, 1, 4).Draw(t, "levels"), "/")
	})
	filter := rapid.Custom(func(t *rapid.T) string {
		f := rapid.SliceOfN(rapid.OneOf(level, rapid.Just("+")), 0, 4).Draw(t, "levels")
		if len(f) == 0 || rapid.Bool().Draw(t, "rest") {
			f = append(f, "#")
		}
		return strings.Join(f, "/")
	}).Filter(func(f string) bool { return f != "" })
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		var want []string
		f := filter.Draw(t, "filter")
		for _, a := range rapid.SliceOfNDistinct(address, 0, 40, rapid.ID).Draw(t, "addresses") {
			if a == "" {
				continue
			}
			s.Set("/", a, 1, 1, 0)
			if matches(f, a) {
				want = append(want, a)
			}
		}
		sort.Strings(want)
		if got, _ := all(s, "/", f, rapid.IntRange(1, 50).Draw(t, "limit")); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %q, want %q", f, got, want)
		}
	})
}

// The scan leaps over what cannot match.
func TestScanLeaps(t *testing.T) {
	s := New()
	for i := range 20 {
		for j := range 1000 {
			s.Set("/", fmt.Sprintf("home/d%02d/k%04d", i, j), 1, 1, 0)
		}
	}
	if got, calls := all(s, "/", "home/+/k0500", 1000); len(got) != 20 || calls != 1 {
		t.Errorf("found %d addresses in %d scans", len(got), calls)
	}
	// Nothing matches, and everything has to be looked at: in steps.
	if got, calls := all(s, "/", "home/+/+/x", 1000); len(got) != 0 || calls != 2 {
		t.Errorf("found %d addresses in %d scans", len(got), calls)
	}
}

func TestSetAndDelete(t *testing.T) {
	s := New()
	if _, had, err := s.Set("/", "a", 1, 10, 0); had || err != nil {
		t.Fatal(had, err)
	}
	if old, had, _ := s.Set("/", "a", 2, 20, 500); !had || old != (Ref{1, 10, 0}) {
		t.Fatal(old, had)
	}
	if got, ok := s.Get("/", "a"); !ok || got != (Ref{2, 20, 500}) {
		t.Fatal(got, ok)
	}
	if _, ok := s.Get("other", "a"); ok {
		t.Fatal("found in another namespace")
	}
	fork := s.Fork()
	if old, had := s.Delete("/", "a"); !had || old != (Ref{2, 20, 500}) {
		t.Fatal(old, had)
	}
	if _, had := s.Delete("/", "a"); had {
		t.Fatal("deleted twice")
	}
	if s.NextExpiry() != 0 || s.Len() != 0 {
		t.Fatal("something is left")
	}
	if fork.Len() != 1 || fork.NextExpiry() != 500 {
		t.Fatal("the fork changed with its origin")
	}
}

func TestLimit(t *testing.T) {
	s := New()
	s.limit = 2
	s.Set("/", "a", 1, 1, 0)
	s.Set("/", "b", 1, 1, 0)
	if _, _, err := s.Set("/", "c", 1, 1, 0); !fault.Is(err, fault.Exhausted) {
		t.Errorf("beyond the limit: %v", err)
	}
	if _, had, err := s.Set("/", "b", 1, 2, 0); !had || err != nil {
		t.Errorf("replaced at the limit: %v, %v", had, err)
	}
}

func TestExpire(t *testing.T) {
	s := New()
	s.Set("/", "a", 1, 1, 300)
	s.Set("/", "b", 1, 2, 100)
	s.Set("/", "c", 1, 3, 100)
	s.Set("/", "d", 1, 4, 0)
	s.Set("/", "a", 1, 5, 200) // replaces its time too
	var gone []string
	note := func(_, address string, r Ref) { gone = append(gone, fmt.Sprint(address, r.Offset)) }
	if n := s.Expire(99, 10, note); n != 0 || s.NextExpiry() != 100 {
		t.Fatal(n, s.NextExpiry())
	}
	if n := s.Expire(100, 1, note); n != 1 {
		t.Fatal(n)
	}
	if n := s.Expire(1000, 10, note); n != 2 || s.NextExpiry() != 0 || s.Len() != 1 {
		t.Fatal(n, s.NextExpiry(), s.Len())
	}
	if want := []string{"b2", "c3", "a5"}; !reflect.DeepEqual(gone, want) {
		t.Errorf("gone %q, want %q", gone, want)
	}
}

// Checkpoints written as changes add up to the state, whatever happened between them.
func TestCheckpoints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		saved := make(map[string][]byte)
		for range rapid.IntRange(1, 5).Draw(t, "checkpoints") {
			for range rapid.IntRange(0, 10).Draw(t, "changes") {
				address := rapid.StringMatching("[abc]/[abc]").Draw(t, "address")
				switch rapid.IntRange(0, 3).Draw(t, "op") {
				case 0:
					s.Delete("/", address)
				case 1:
					s.Expire(rapid.Int64Range(0, 50).Draw(t, "now"), 2, func(string, string, Ref) {})
				default:
					s.Set("/", address, rapid.Uint64().Draw(t, "log"), rapid.Int64().Draw(t, "offset"), rapid.Int64Range(0, 50).Draw(t, "expires"))
				}
			}
			keys := s.Changes()
			if !sort.StringsAreSorted(keys) {
				t.Fatal("keys out of order")
			}
			for k, v := range s.Fork().Encode(keys) {
				if v == nil {
					delete(saved, string(k))
				} else {
					saved[string(k)] = v
				}
			}
		}
		again := New()
		for k, v := range saved {
			if err := again.Restore([]byte(k), v); err != nil {
				t.Fatal(err)
			}
		}
		if a, b := encoded(s), encoded(again); a != b || s.NextExpiry() != again.NextExpiry() {
			t.Fatalf("restored\n%s\nwant\n%s", b, a)
		}
		if len(again.Changes()) != 0 {
			t.Fatal("restoring counts as changing")
		}
	})
	if err := New().Restore([]byte("k"), []byte{1}); err == nil {
		t.Error("half a value was taken")
	}
}

func encoded(s *Store) string {
	var b strings.Builder
	for k, v := range s.Encode(nil) {
		fmt.Fprintf(&b, "%q %x\n", k, v)
	}
	return b.String()
}

func BenchmarkScan(b *testing.B) {
	s := New()
	for i := range 1000 {
		for j := range 100 {
			s.Set("/", fmt.Sprintf("home/d%03d/k%02d", i, j), 1, 1, 0)
		}
	}
	for _, filter := range []string{"home/d500/#", "home/+/k50", "home/d500/k50"} {
		b.Run(filter, func(b *testing.B) {
			n := 0
			for b.Loop() {
				n = 0
				s.Scan("/", filter, "", 10000, func(string, Ref) bool { n++; return true })
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/match")
		})
	}
}

func BenchmarkSet(b *testing.B) {
	s := New()
	keys := make([]string, 1<<17)
	for i := range keys {
		keys[i] = fmt.Sprintf("home/d%03d/k%02d", i%1000, i/1000)
	}
	i := 0
	for b.Loop() {
		s.Set("/", keys[i&(len(keys)-1)], 1, 1, 0)
		i++
	}
}
