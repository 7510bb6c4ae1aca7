package grammar

import (
	"encoding/json"
	"testing"
	"time"
)

func TestText(t *testing.T) {
	var v struct {
		For  Duration
		Room Size
	}
	if err := json.Unmarshal([]byte(`{"For": "1d12h", "Room": "2KiB"}`), &v); err != nil || time.Duration(v.For) != 36*time.Hour || v.Room != 2048 {
		t.Errorf("%+v, %v", v, err)
	}
	b, err := json.Marshal(v)
	if want := `{"For":"36h0m0s","Room":"2048"}`; string(b) != want || err != nil {
		t.Errorf("%s, %v", b, err)
	}
	for _, bad := range []string{`{"For": "-1s"}`, `{"For": "5"}`, `{"Room": "-1"}`, `{"Room": "1x"}`} {
		if err := json.Unmarshal([]byte(bad), &v); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
