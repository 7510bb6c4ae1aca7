package kind

import (
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSpark(t *testing.T) {
	nan := math.NaN()
	tests := []struct {
		name          string
		values        []float64
		width, height int
		top           float64
		want          string
	}{
		{"rising", []float64{1, 2, 3, 4, 5, 6, 7, 8}, 8, 1, 0, "▂▂▃▄▅▆▇█"},
		{"none yet", nil, 4, 1, 0, "    "},
		{"the newest at the right", []float64{8}, 4, 1, 0, "   █"},
		{"only the newest fit", []float64{8, 0, 0}, 2, 1, 0, "▁▁"},
		{"zero is seen", []float64{0, 0, 0}, 3, 1, 0, "▁▁▁"},
		{"unknown is not zero", []float64{0, nan, 8}, 3, 1, 0, "▁ █"},
		{"more than zero is more than zero", []float64{0, 0.001, 1000}, 3, 1, 0, "▁▂█"},
		{"a given top", []float64{4, 8, 16}, 3, 1, 16, "▂▄█"},
		{"above the top", []float64{32}, 1, 1, 16, "█"},
		{"two lines", []float64{0, 4, 8, 12, 16}, 5, 2, 0, "   ▄█\n▁▄███"},
		{"no room", []float64{1}, 0, 1, 0, ""},
	}
	for _, tt := range tests {
		if got := strings.Join(Spark(tt.values, tt.width, tt.height, tt.top), "\n"); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

func FuzzSpark(f *testing.F) {
	f.Add(1.5, -2.0, 1e300, uint8(7), uint8(2))
	f.Fuzz(func(t *testing.T, a, b, c float64, width, height uint8) {
		lines := Spark([]float64{a, b, c, a * b, b / c}, int(width), int(height), 0)
		if width > 0 && len(lines) != int(height) {
			t.Fatalf("%d lines, want %d", len(lines), height)
		}
		for _, l := range lines {
			if n := utf8.RuneCountInString(l); n != int(width) {
				t.Fatalf("%d columns, want %d", n, width)
			}
		}
	})
}
