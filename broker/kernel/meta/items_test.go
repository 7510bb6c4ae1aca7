package meta

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/fault"
)

func TestItems(t *testing.T) {
	s := new(State)
	apply := func(op Op, table string, now, want int64, items ...Item) {
		t.Helper()
		if r := s.Apply(&Command{Op: op, Name: table, Time: now, Items: items}); r.Err != nil || r.Number != want {
			t.Errorf("%v: %d changed, want %d; %v", op, r.Number, want, r.Err)
		}
	}
	keys := func(table string) (out []string) {
		for x := range s.AllItems(table) {
			out = append(out, x.Key+string(x.Value))
		}
		return out
	}
	one := json.RawMessage("1")
	apply(PutItems, "t", 0, 2, Item{Key: "b", Value: one}, Item{Key: "a", Value: one})
	apply(PutItems, "t", 0, 1, Item{Key: "b", Value: one}, Item{Key: "a", Value: json.RawMessage("2")})
	apply(PutItems, "tt", 0, 1, Item{Key: "c", Value: one})
	if got := keys("t"); !slices.Equal(got, []string{"a2", "b1"}) {
		t.Errorf("items: %q", got)
	}
	again := new(State)
	if err := again.Restore(s.Encode(nil)); err != nil {
		t.Fatal(err)
	}
	s = again
	apply(DeleteItems, "t", 0, 1, Item{Key: "b"}, Item{Key: "c"})
	if got := append(keys("t"), keys("tt")...); !slices.Equal(got, []string{"a2", "c1"}) {
		t.Errorf("restored, one deleted: %q", got)
	}
	if r := s.Apply(&Command{Op: PutItems, Name: "t", Items: []Item{{Key: "x", Value: one}, {Key: ""}}}); !fault.Is(r.Err, fault.TooLarge) || len(keys("t")) != 1 {
		t.Errorf("a wrong one among them: %v, %q", r.Err, keys("t"))
	}

	// A table has a bound, of which the weak ones have half; what is over makes room.
	var many []Item
	for i := range ItemsMax / 2 {
		many = append(many, Item{Key: fmt.Sprintf("k%d", i), Value: one, Weak: true, Until: 10})
	}
	apply(PutItems, "m", 0, ItemsMax/2, many...)
	if r := s.Apply(&Command{Op: PutItems, Name: "m", Time: 9, Items: []Item{{Key: "w", Weak: true}}}); !fault.Is(r.Err, fault.Exhausted) {
		t.Errorf("more weak ones than half: %v", r.Err)
	}
	apply(PutItems, "m", 9, 1, Item{Key: "strong", Value: one})
	apply(PutItems, "m", 10, 1, Item{Key: "w", Value: one, Weak: true})
	if got := keys("m"); !slices.Equal(got, []string{"strong1", "w1"}) {
		t.Errorf("what is over has made no room: %d left", len(got))
	}
}

// Who looks at the log is not shown what is secret.
func TestSecretItems(t *testing.T) {
	c := Command{Op: PutItems, Name: "t", Items: []Item{{Key: "a", Value: json.RawMessage(`"hush"`), Secret: true}, {Key: "b", Value: json.RawMessage(`1`)}}}
	text, err := json.Marshal(&c)
	if err != nil {
		t.Fatal(err)
	}
	_, _, shown, err := Describe(AppendEntry(nil, 1, 1, text))
	if err != nil || len(shown.Items) != 2 || shown.Items[0].Value != nil || string(shown.Items[1].Value) != "1" {
		t.Errorf("%+v, %v", shown.Items, err)
	}
	s := new(State)
	s.Apply(&c)
	n := 0
	for k, v := range s.Encode(nil) {
		if kind, _, _ := DescribeKey(k); kind == "item" {
			n++
			if Shown(kind, v) == strings.Contains(string(v), "hush") {
				t.Errorf("%q is shown: %v", v, Shown(kind, v))
			}
		}
	}
	if n != 2 {
		t.Errorf("%d items", n)
	}
}
