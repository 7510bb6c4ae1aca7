package kind

import (
	"math"
	"testing"
	"time"
	"unicode/utf8"
)

func TestCount(t *testing.T) {
	tests := []struct {
		n    int64
		want string
	}{
		{0, "0"}, {7, "7"}, {9999, "9999"}, {10_000, "10.0k"}, {12_345, "12.3k"}, {99_949, "99.9k"}, {99_951, "100k"},
		{123_456, "123k"}, {999_499, "999k"}, {999_500, "1.00M"}, {1_234_567, "1.23M"}, {9_994_999, "9.99M"}, {9_995_000, "10.0M"},
		{184_503_000, "185M"}, {math.MaxInt64, "9.22E"}, {-5, "-5"}, {-12_345, "-12.3k"}, {math.MinInt64, "-9.22E"},
	}
	for _, tt := range tests {
		if got := Count(tt.n); got != tt.want {
			t.Errorf("Count(%d) = %q, want %q", tt.n, got, tt.want)
		}
	}
}

func TestRate(t *testing.T) {
	tests := []struct {
		f    float64
		want string
	}{
		{0, "0"}, {0.01, "<0.1"}, {0.1, "0.1"}, {3, "3.0"}, {9.94, "9.9"}, {9.96, "10"}, {999.6, "1000"}, {12_345, "12.3k"},
		{math.NaN(), "-"}, {math.Inf(1), "-"}, {-1, "-"},
	}
	for _, tt := range tests {
		if got := Rate(tt.f); got != tt.want {
			t.Errorf("Rate(%v) = %q, want %q", tt.f, got, tt.want)
		}
	}
}

func TestBytes(t *testing.T) {
	tests := []struct {
		n    int64
		want string
	}{
		{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1536, "1.5 KiB"}, {10 << 10, "10 KiB"}, {1023 << 10, "1023 KiB"},
		{1<<20 - 1, "1.0 MiB"}, {1 << 20, "1.0 MiB"}, {734_003_200, "700 MiB"}, {math.MaxInt64, "8.0 EiB"}, {-1, "-"},
	}
	for _, tt := range tests {
		if got := Bytes(tt.n); got != tt.want {
			t.Errorf("Bytes(%d) = %q, want %q", tt.n, got, tt.want)
		}
	}
}

func TestDuration(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"}, {-time.Hour, "0s"}, {300 * time.Microsecond, "1ms"}, {850 * time.Millisecond, "850ms"}, {time.Second, "1s"}, {59 * time.Second, "59s"},
		{time.Minute, "1m"}, {12*time.Minute + 5*time.Second, "12m5s"}, {time.Hour + 5*time.Second, "1h"}, {time.Hour + 5*time.Minute, "1h5m"},
		{76*time.Hour + 30*time.Minute, "3d4h"}, {24*time.Hour + 5*time.Minute, "1d"}, {math.MaxInt64, "106751d23h"},
	}
	for _, tt := range tests {
		if got := Duration(tt.d); got != tt.want {
			t.Errorf("Duration(%v) = %q, want %q", tt.d, got, tt.want)
		}
	}
}

// Columns are as wide as what stands in them: no number may be wider.
func TestWidths(t *testing.T) {
	for n := int64(1); n > 0 && n < math.MaxInt64/3; n = n*3 + 7 {
		if s := Count(n); len(s) > 5 {
			t.Errorf("Count(%d) = %q", n, s)
		}
		if s := Bytes(n); len(s) > 8 {
			t.Errorf("Bytes(%d) = %q", n, s)
		}
		if s := Rate(float64(n) / 100); len(s) > 5 {
			t.Errorf("Rate(%v) = %q", float64(n)/100, s)
		}
	}
}

func TestClean(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain/name.x", "plain/name.x"}, {"site/名前/é", "site/名前/é"}, {"a\nb\tc\r", `a\nb\tc\r`}, {"\x1b[31mred", `\x1b[31mred`},
		{"\x7f\x00", `\x7f\x00`}, {"\xff\xfe", `\xff\xfe`}, {"a\u202eb", `a\u202eb`}, {"zero\u200bwidth", `zero\u200bwidth`}, {"\u009b31m", `\u009b31m`},
	}
	for _, tt := range tests {
		if got := Clean(tt.in); got != tt.want {
			t.Errorf("Clean(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestPreview(t *testing.T) {
	if got := Preview([]byte("short"), 5); got != "short" {
		t.Errorf("%q", got)
	}
	if got := Preview([]byte("näher betrachtet"), 2); got != "n…" { // not half an ä
		t.Errorf("%q", got)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[2Jb\xff")
	f.Fuzz(func(t *testing.T, s string) {
		out := Clean(s)
		if !utf8.ValidString(out) {
			t.Fatalf("%q is not UTF-8", out)
		}
		for _, r := range out {
			if hazard(r) {
				t.Fatalf("%q has %U", out, r)
			}
		}
		if Clean(out) != out {
			t.Fatalf("%q is not clean after cleaning", out)
		}
	})
}
