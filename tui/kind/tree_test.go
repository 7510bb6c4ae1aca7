package kind

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

func TestTree(t *testing.T) {
	tree, ok := Tree([]byte(` {"b":{"lat":52.5,"odd name":[1,{}]},"a":"x","n":12345678901234567890, "t":true,"e":[]}`))
	if !ok {
		t.Fatal("no tree")
	}
	write := func(closed map[string]bool) string {
		var out []string
		for _, l := range tree.Lines(closed) {
			line := ""
			for _, c := range l.Line {
				line += c.Text
			}
			out = append(out, line)
		}
		return strings.Join(out, "\n")
	}
	// The order of members and every digit are kept.
	want := `{
  "b": {
    "lat": 52.5,
    "odd name": [
      1,
      {}
    ]
  },
  "a": "x",
  "n": 12345678901234567890,
  "t": true,
  "e": []
}`
	if got := write(nil); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := write(map[string]bool{".b": true}); !strings.HasPrefix(got, "{\n  \"b\": { 2 more },\n  \"a\"") {
		t.Errorf("closed:\n%s", got)
	}
	var paths []string
	tree.Leaves(func(b *Branch) { paths = append(paths, b.Path) })
	if got := strings.Join(paths, " "); got != `.b.lat .b["odd name"][0] .b["odd name"][1] .a .n .t .e` {
		t.Errorf("paths %s", got)
	}
	for _, no := range []string{``, `12`, `"x"`, `{`, `{"a":1} x`, `{"a" 1}`, strings.Repeat("[", 100) + strings.Repeat("]", 100)} {
		if _, ok := Tree([]byte(no)); ok {
			t.Errorf("%q is a tree", no)
		}
	}
}

func TestPath(t *testing.T) {
	value := []byte(`{"temp":21.5,"pos":{"lat":52.5},"tags":[1,"x"],"odd name":7,"s":"9"}`)
	for _, tt := range []struct {
		path string
		want float64
		ok   bool
	}{
		{".temp", 21.5, true}, {"temp", 21.5, true}, {"value.temp", 21.5, true}, {".pos.lat", 52.5, true}, {".tags[0]", 1, true},
		{`["odd name"]`, 7, true}, {".tags[1]", 0, false}, {".tags[5]", 0, false}, {".s", 0, false}, {".pos", 0, false}, {".", 0, false}, {".temp.x", 0, false}, {".pos[0]", 0, false},
	} {
		p, err := ParsePath(tt.path)
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		if got, ok := p.Number(value); got != tt.want || ok != tt.ok {
			t.Errorf("%s is %v, %v", tt.path, got, ok)
		}
	}
	if p, err := ParsePath("."); err != nil {
		t.Error(err)
	} else if got, ok := p.Number([]byte(" 21.5 ")); !ok || got != 21.5 {
		t.Errorf("the whole value is %v, %v", got, ok)
	}
	for _, wrong := range []string{"..a", ".a[", ".a[0", ".a[true]", ".a[x]"} {
		if _, err := ParsePath(wrong); err == nil {
			t.Errorf("%s is a path", wrong)
		}
	}
}

// Whatever the value, its tree has as many leaves as their paths lead to, and a number is found by its path.
func FuzzTree(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}],"":2,"x y":{"z":-0.5e3}}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		tree, ok := Tree(value)
		if !ok {
			return
		}
		if !json.Valid(value) {
			t.Errorf("%q is no JSON and has a tree", value)
		}
		seen := map[string]int{}
		tree.Leaves(func(b *Branch) { seen[b.Path]++ })
		tree.Leaves(func(b *Branch) {
			n, ok := b.Number()
			if !ok || seen[b.Path] > 1 { // of members of one name the last counts
				return
			}
			p, err := ParsePath(b.Path)
			if err != nil {
				t.Fatalf("%q: %v", b.Path, err)
			}
			if got, ok := p.Number(value); ok && got != n {
				t.Errorf("%q is %v, and by its path %v", b.Path, n, got)
			}
		})
	})
}

func TestMessageDiff(t *testing.T) {
	at := time.Unix(0, 0).UTC()
	was := &adminapi.Message{Protocol: "mqtt", Address: "a", Time: at, Value: []byte(`{"temp":21.5,"unit":"C","old":1,"pos":{"lat":1}}`), Size: 10, Headers: []adminapi.Header{{Name: "h", Value: []byte("1")}, {Name: "same", Value: []byte("x")}}}
	is := &adminapi.Message{Protocol: "mqtt", Address: "a", Time: at.Add(3 * time.Second), Value: []byte(`{"unit":"C","temp":22.75,"pos":{"lat":1},"new":[]}`), Size: 12, Headers: []adminapi.Header{{Name: "h", Value: []byte("2")}, {Name: "same", Value: []byte("x")}}}
	write := func(was, is *adminapi.Message) string {
		var out []string
		for _, s := range MessageDiff(was, is, Look{}, "BEFORE") {
			for _, r := range s.Rows {
				out = append(out, strings.TrimSpace(r[0].Text+" "+r[1].Text+" "+r[2].Text+" "+r[3].Text))
			}
			for _, l := range s.Lines {
				out = append(out, l[0].Text)
			}
		}
		return strings.Join(out, "\n")
	}
	want := `published 1970-01-01 00:00:00.000 UTC 1970-01-01 00:00:03.000 UTC +3s
size 10 B 12 B 2
h 1 2
.temp 21.5 22.75 +1.25
.new - [] new
.old 1 - gone`
	if got := write(was, is); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := write(was, was); got != "" {
		t.Errorf("a message differs from itself:\n%s", got)
	}
	a, b := &adminapi.Message{Value: []byte("one\ntwo\nthree")}, &adminapi.Message{Value: []byte("zero\none\nthree")}
	if got := write(a, b); got != "+ zero\n  one\n- two\n  three" {
		t.Errorf("text:\n%s", got)
	}
}

func TestPlot(t *testing.T) {
	at := func(s int, v float64) Point { return Point{time.Unix(int64(s), 0), v} }
	for _, tt := range []struct {
		name   string
		points []Point
		want   string
	}{
		{"none", nil, "    |    "},
		{"a slope", []Point{at(0, 0), at(10, 10)}, "  ⡠⠊|⡠⠊  "},
		{"down and up", []Point{at(0, 1), at(5, -1), at(10, 1)}, "⠱⡀ ⡜| ⠱⡜ "},
		{"level", []Point{at(0, 3), at(10, 3)}, "    |⠉⠉⠉⠉"},
		{"one", []Point{at(0, 3)}, "    |   ⠈"},
		{"as far apart as can be", []Point{at(0, -1.7e308), at(10, 1.7e308)}, "  ⡠⠊|⡠⠊  "},
	} {
		got := strings.Join(Plot(tt.points, 4, 2), "|")
		if got != strings.ReplaceAll(tt.want, "⠀", " ") {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}
