package grammar

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	day := 24 * time.Hour
	for in, want := range map[string]time.Duration{
		"0": 0, "250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute, "7d": 7 * day, "2w": 14 * day, "1w2d3h": 9*day + 3*time.Hour,
		"1d12h": 36 * time.Hour, "-15m": -15 * time.Minute, "1.5s": 1500 * time.Millisecond,
	} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-", "5", "d", "1d1w", "1dd", "1h2d", "--1s", "+1s", "1d-1h", "99999999999w", "1000000w", "12w3", "x"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("%q was taken as %v", in, got)
		}
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "512": 512, "64k": 64 << 10, "256MiB": 256 << 20, "1g": 1 << 30, "2TB": 2 << 40, "7b": 7} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "k", "-1", "1.5g", "1 g", "9999999999g", "1x"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%q was taken as %v", in, got)
		}
	}
}

func TestClosest(t *testing.T) {
	words := []string{"list", "get", "create", "delete", "orders", "sensors", "a"}
	for in, want := range map[string]string{"lst": "list", "lsit": "list", "ordrs": "orders", "sensor": "sensors", "crea": "create", "xyz": "", "GET": "get", "": ""} {
		if got := Closest(in, words); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"now": now, "-15m": now.Add(-15 * time.Minute), "+1d": now.Add(24 * time.Hour), "2026-01-31T12:00:00Z": now,
		"2026-01-31T13:00:00+01:00": now, "2026-01-31": time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
		"2026-01-31 08:30": time.Date(2026, 1, 31, 8, 30, 0, 0, time.Local),
	} {
		if got, err := ParseMoment(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-", "--1m", "15m", "yesterday", "2026-13-01", "12:00"} {
		if got, err := ParseMoment(in, now); err == nil {
			t.Errorf("%q was taken as %v", in, got)
		}
	}
}

func TestASizeOrDurationNeverOverflows(t *testing.T) {
	if _, err := ParseSize("9223372036854775807k"); err == nil {
		t.Error("a size past 64 bits was taken")
	}
	if _, err := ParseDuration("4294967295w1h"); err == nil {
		t.Error("a duration past 64 bits was taken")
	}
}
