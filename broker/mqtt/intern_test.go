package mqtt

import (
	"fmt"
	"strings"
	"testing"
)

func TestInterner(t *testing.T) {
	var in interner
	for range 3 {
		for i := range 1000 {
			want := fmt.Sprintf("fleet/%d/temperature", i)
			if got := in.string([]byte(want)); got != want {
				t.Fatalf("%q became %q", want, got)
			}
		}
	}
	for _, want := range []string{"", "a", strings.Repeat("x", internMax), strings.Repeat("x", internMax+1)} {
		if got := in.string([]byte(want)); got != want {
			t.Errorf("%.20q became %.20q", want, got)
		}
	}
	used := 0
	for i := range in.sets {
		if in.sets[i][1] != "" {
			used++
		}
	}
	if used < internSets {
		t.Errorf("a thousand strings reach %d of %d sets twice", used, internSets)
	}
	a, b := []byte("sensors/1"), []byte("sensors/2")
	if n := testing.AllocsPerRun(100, func() { in.string(a); in.string(b) }); n != 0 {
		t.Errorf("%v allocations for strings made lately", n)
	}
}
