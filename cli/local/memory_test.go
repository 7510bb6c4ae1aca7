package local

import "testing"

func TestGivesMemoryBack(t *testing.T) {
	const mb = 1 << 20
	of := func(allocated, live uint64) memory { return memory{allocated: allocated * mb, live: live * mb} }
	connected := func(stacks, goroutines uint64) memory {
		return memory{allocated: 120 * mb, live: 50 * mb, stacks: stacks * mb, goroutines: goroutines}
	}
	for name, tt := range map[string]struct {
		now, looked, given memory
		want               bool
	}{
		"quiet after a burst":     {of(120, 50), of(119, 50), memory{}, true},
		"in the burst":            {of(120, 50), of(80, 50), memory{}, false},
		"quiet all along":         {of(120, 50), of(119, 50), of(110, 50), false},
		"a little at a time":      {of(140, 50), of(137, 50), of(110, 50), true},
		"little of what it keeps": {of(140, 900), of(137, 900), of(110, 900), false},
		"many wait":               {connected(61, 15_000), of(119, 50), of(110, 50), false},
		"many have gone to sleep": {connected(61, 20), of(119, 50), of(110, 50), true},
		"much of it is free":      {memory{allocated: 120 * mb, live: 50 * mb, free: 40 * mb}, of(119, 50), of(110, 50), true},
	} {
		if got := tt.now.gives(tt.looked, tt.given); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if m := readMemory(); m.allocated == 0 || m.stacks == 0 || m.goroutines == 0 {
		t.Errorf("nothing is counted: %+v", m)
	}
}
