package local

import "testing"

func TestGivesMemoryBack(t *testing.T) {
	const mb = 1 << 20
	for name, tt := range map[string]struct {
		now, looked, given memory
		want               bool
	}{
		"quiet after a burst":     {memory{120 * mb, 50 * mb}, memory{119 * mb, 50 * mb}, memory{}, true},
		"in the burst":            {memory{120 * mb, 50 * mb}, memory{80 * mb, 50 * mb}, memory{}, false},
		"quiet all along":         {memory{120 * mb, 50 * mb}, memory{119 * mb, 50 * mb}, memory{110 * mb, 50 * mb}, false},
		"a little at a time":      {memory{140 * mb, 50 * mb}, memory{137 * mb, 50 * mb}, memory{110 * mb, 50 * mb}, true},
		"little of what it keeps": {memory{140 * mb, 900 * mb}, memory{137 * mb, 900 * mb}, memory{110 * mb, 900 * mb}, false},
	} {
		if got := tt.now.gives(tt.looked, tt.given); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if m := readMemory(); m.allocated == 0 {
		t.Errorf("nothing is counted: %+v", m)
	}
}
