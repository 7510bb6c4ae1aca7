package local

import (
	"reflect"
	"testing"
)

func TestParseLog(t *testing.T) {
	for _, tt := range []struct {
		line string
		want logLine
	}{
		{`time=2026-01-02T03:04:05Z level=WARN msg="mqtt: slow" client=a why="he said \"no\""` + "\n",
			logLine{"2026-01-02T03:04:05Z", "warn", "mqtt: slow", map[string]string{"client": "a", "why": `he said "no"`}}},
		{"node 2: time=x level=INFO msg=up\n", logLine{"x", "info", "up", map[string]string{"from": "node 2"}}},
		{"panic: oh no\n", logLine{Text: "panic: oh no"}},
		{"goroutine 1 [running]: a=b\n", logLine{Text: "goroutine 1 [running]: a=b"}},
		{`time=x level=INFO msg="open` + "\n", logLine{Text: `time=x level=INFO msg="open`}},
		{"", logLine{}},
	} {
		if got := parseLog(tt.line); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %+v", tt.line, got)
		}
	}
}

// What a panic says belongs to the line before it, and is as grave.
func TestLogLevels(t *testing.T) {
	l := &logs{level: "warn"}
	lines := []string{"level=INFO msg=a", "goroutine", "level=ERROR msg=b", "goroutine", "level=DEBUG msg=c"}
	for i, want := range []bool{false, false, true, true, false} {
		if got := l.wanted(lines[i]); got != want {
			t.Errorf("%q is shown: %v", lines[i], got)
		}
	}
}
