package arch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestTree checks the module that this test is part of.
func TestTree(t *testing.T) {
	found, err := Check(os.DirFS(root(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

func root(t *testing.T) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}

// A module within ours is none of it.
func TestAnotherModule(t *testing.T) {
	files := fstest.MapFS{"broker/misc/go.mod": {Data: []byte("module other")}, "broker/misc/a.go": {Data: []byte("package a")}}
	if found, err := Check(files); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
}

// TestRules gives each rule a breach, and the nearest thing that is none.
func TestRules(t *testing.T) {
	const doc = "// Package x is for a test.\npackage x\n"
	tests := []struct {
		name string
		file string
		src  string
		want []string // rules, in order
	}{
		{"in order", "broker/kernel/a.go", doc + `import _ "github.com/robustmq/rmq/broker/storage"`, nil},
		{"backwards", "broker/storage/a.go", doc + `import _ "github.com/robustmq/rmq/broker/kernel"`, []string{"layer"}},
		{"sideways", "broker/mqtt/a.go", doc + `import _ "github.com/robustmq/rmq/broker/kafka"`, []string{"layer"}},
		{"sideways, in a family", "broker/kernel/queue/a.go", doc + `import _ "github.com/robustmq/rmq/broker/kernel/session"`, []string{"layer"}},
		{"tests are free", "broker/mqtt/a_test.go", doc + `import _ "github.com/robustmq/rmq/broker/kafka"`, nil},
		{"unplaced", "broker/misc/a.go", doc, []string{"place"}},
		{"unplaced, with tests alone", "broker/misc/a_test.go", doc, []string{"place"}},
		{"not ours to judge", "broker/misc/testdata/a.go", doc, nil},
		{"a client", "cli/topic/a.go", doc + `import _ "github.com/robustmq/rmq/broker/adminapi"`, nil},
		{"a client that knows too much", "cli/topic/a.go", doc + `import _ "github.com/robustmq/rmq/broker/kernel"`, []string{"remote"}},
		{"a screen that knows too much", "tui/a.go", doc + `import _ "github.com/robustmq/rmq/broker"`, []string{"remote"}},
		{"the one that runs a broker", "cli/local/a.go", doc + `import _ "github.com/robustmq/rmq/broker"`, nil},

		{"at home", "broker/cluster/group/a.go", doc + `import _ "go.etcd.io/raft/v3/raftpb"`, nil},
		{"away from home", "broker/kernel/a.go", doc + `import _ "go.etcd.io/raft/v3"`, []string{"home"}},
		{"below home", "cli/link/mqtt.go", doc + `import _ "github.com/eclipse/paho.golang/paho"`, nil},
		{"the nearer home counts", "broker/kafka/a.go", doc + `import _ "github.com/twmb/franz-go/pkg/kmsg"`, nil},
		{"a client library in the broker", "broker/kafka/a.go", doc + `import _ "github.com/twmb/franz-go/pkg/kgo"`, []string{"home"}},
		{"homeless", "broker/kernel/a.go", doc + `import _ "example.org/handy"`, []string{"home"}},

		{"undocumented", "broker/kernel/a.go", "package kernel", []string{"doc"}},
		{"documented elsewhere is not here", "broker/kernel/a.go", "package kernel // nothing", []string{"doc"}},

		{"a table", "broker/kernel/a.go", doc + `var names = map[int]string{1: "a"}
			func f() string { return names[1] }`, nil},
		{"assigned", "broker/kernel/a.go", doc + "var n int\nfunc f() { n = 1 }", []string{"state"}},
		{"counted", "broker/kernel/a.go", doc + "var n int\nfunc f() { n++ }", []string{"state"}},
		{"filled", "broker/kernel/a.go", doc + "var m = map[int]int{}\nfunc f() { m[1] = 2 }", []string{"state"}},
		{"a field", "broker/kernel/a.go", doc + "var s struct{ n int }\nfunc f() { s.n = 2 }", []string{"state"}},
		{"shadowed", "broker/kernel/a.go", doc + "var n int\nfunc f() { n := n; n++ }", nil},
		{"a lock", "broker/kernel/a.go", doc + "import \"sync\"\nvar mu sync.Mutex", []string{"state"}},
		{"an atomic", "broker/kernel/a.go", doc + "import \"sync/atomic\"\nvar p atomic.Pointer[int]", []string{"state"}},
		{"a pool", "broker/kernel/a.go", doc + "import \"sync\"\nvar pool sync.Pool", nil},
		{"filled once, at start", "broker/kernel/a.go", doc + "var m = map[int]int{}\nfunc init() { m[1] = 2 }", nil},

		{"ranges over a map", "broker/kernel/queue/a.go", doc + "func f(m map[int]int) { for range m {} }", []string{"determinism"}},
		{"ranges over a named map", "broker/kernel/queue/a.go", doc + "type set map[int]bool\ntype q struct{ s set }\nfunc (x *q) f() { for k := range x.s { _ = k } }", []string{"determinism"}},
		{"ranges over a map out of a tree", "broker/kernel/queue/a.go", doc + "import \"github.com/tidwall/btree\"\nfunc f(t *btree.Map[string, *struct{ m map[int]int }]) { v, _ := t.Get(``); for range v.m {} }", []string{"determinism"}},
		{"ranges over a slice", "broker/kernel/queue/a.go", doc + "func f(m []int) { for range m {} }", nil},
		{"outside a machine", "broker/kernel/a.go", doc + "func f(m map[int]int) { for range m {} }", nil},
		{"walks a map", "broker/kernel/queue/a.go", doc + "import \"maps\"\nfunc f(m map[int]int) { for range maps.Keys(m) {} }", []string{"determinism"}},
		{"walks it in order", "broker/kernel/queue/a.go", doc + "import (\"maps\"; \"slices\")\nfunc f(m map[int]int) { for range slices.Sorted(maps.Keys(m)) {} }", nil},
		{"go", "broker/kernel/queue/a.go", doc + "func f() { go f() }", []string{"determinism"}},
		{"select", "broker/kernel/queue/a.go", doc + "func f() { select {} }", []string{"determinism"}},
		{"channels", "broker/kernel/queue/a.go", doc + "func f(c chan int) { c <- 1; <-c }", []string{"determinism", "determinism"}},
		{"the clock", "broker/kernel/queue/a.go", doc + "import now \"time\"\nfunc f() { now.Now() }", []string{"determinism"}},
		{"a unit of time", "broker/kernel/queue/a.go", doc + "import \"time\"\nvar d = time.Second", nil},
		{"a float", "broker/kernel/queue/a.go", doc + "func f(x float64) {}", []string{"determinism"}},
		{"a hidden float", "broker/kernel/queue/a.go", doc + "var x = 1.5", []string{"determinism"}},
		{"a large integer", "broker/kernel/queue/a.go", doc + "const n int = 1e9", nil},
		{"chance", "broker/kernel/queue/a.go", doc + "import _ \"math/rand/v2\"", []string{"determinism"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found, err := Check(fstest.MapFS{tt.file: {Data: []byte(tt.src)}})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range found {
				got = append(got, v.Rule)
				if !strings.HasPrefix(v.Pos, filepath.ToSlash(filepath.Dir(tt.file))) {
					t.Errorf("reported at %s", v.Pos)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("found %v, want %v", found, tt.want)
			}
		})
	}
}

// TestLayersAgree: each folder is placed once.
func TestLayersAgree(t *testing.T) {
	seen := make(map[string]bool)
	for _, line := range layers {
		for dir := range strings.FieldsSeq(line) {
			if seen[dir] {
				t.Errorf("%s is placed twice", dir)
			}
			seen[dir] = true
		}
	}
}
