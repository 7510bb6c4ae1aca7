package wait

import "testing"

func TestCondition(t *testing.T) {
	for _, tt := range []struct {
		args []string
		s    state
		met  bool
	}{
		{[]string{"ready"}, state{"ready": 1}, true},
		{[]string{"ready"}, state{"ready": 0}, false},
		{[]string{"queue", "q", "empty"}, state{"empty": 1}, true},
		{[]string{"queue", "q", "ready>=3"}, state{"ready": 3}, true},
		{[]string{"queue", "q", "ready>3"}, state{"ready": 3}, false},
		{[]string{"queue", "q", "ready!=3", "consumers<=1"}, state{"ready": 2, "consumers": 1}, true},
		{[]string{"queue", "q", "ready=0"}, state{"exists": 0, "gone": 1}, false}, // of what is not there
		{[]string{"queue", "q", "gone"}, state{"exists": 0, "gone": 1}, true},
		{[]string{"group", "g", "lag=0", "members>=2"}, state{"lag": 0, "members": 1}, false},
		{[]string{"nodes", "up<4"}, state{"up": 3}, true},
	} {
		c, err := parse("/", tt.args)
		if err != nil {
			t.Errorf("%v: %v", tt.args, err)
			continue
		}
		if got := c.met(tt.s); got != tt.met {
			t.Errorf("%v of %v: %v", tt.args, tt.s, got)
		}
		if !tt.met && c.missing(tt.s) == "" {
			t.Errorf("%v of %v: nothing says what is missing", tt.args, tt.s)
		}
	}
	for _, args := range [][]string{
		nil, {"quene", "q"}, {"queue"}, {"queue", "q"}, {"queue", "q", "ready"}, {"queue", "q", "ready>=x"}, {"queue", "q", "lag=0"}, {"queue", "", "gone"}, {"ready", "soon"}, {"nodes"}, {"topic", "t", "connected"},
	} {
		if _, err := parse("/", args); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
