// Package grammar is how a person writes values, the same wherever a flag, a setting, a
// position or an expression takes one: durations ("1h30m", "7d"), sizes ("64KiB"), times
// ("2026-01-31T12:00:00Z"), and which word a misspelled one most likely meant.
package grammar

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads "250ms", "1h30m", and also days and weeks: "7d", "2w". A plain
// number has no unit and is refused.
func ParseDuration(s string) (time.Duration, error) {
	rest, negative := strings.CutPrefix(s, "-")
	var total time.Duration
	// Days and weeks come first; what is left is Go's.
	for _, u := range []struct {
		unit string
		size time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		i := strings.Index(rest, u.unit)
		if i <= 0 {
			continue
		}
		n, err := strconv.ParseUint(rest[:i], 10, 32)
		if err != nil {
			return 0, badDuration(s)
		}
		if time.Duration(n) > math.MaxInt64/u.size {
			return 0, longDuration(s)
		}
		total += time.Duration(n) * u.size
		if rest = rest[i+1:]; rest == "" {
			break
		}
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || strings.HasPrefix(rest, "+") {
			return 0, badDuration(s)
		}
		total += d
	} else if s == "" || s == "-" {
		return 0, badDuration(s)
	}
	if total < 0 { // it is more than can be counted
		return 0, longDuration(s)
	}
	if negative {
		total = -total
	}
	return total, nil
}

// longDuration is the error of one that nothing here can last.
func longDuration(s string) error {
	return fmt.Errorf("%q is too long: at most %dd", s, int64(math.MaxInt64/(24*time.Hour)))
}

func badDuration(s string) error {
	return fmt.Errorf("%q is not a duration such as 250ms, 30s, 1h30m, 7d", s)
}

// ParseSize reads a size in bytes: "512", "64k", "256MiB", "1g", in powers of 1024.
func ParseSize(s string) (int64, error) {
	lower := strings.ToLower(s)
	i := strings.IndexFunc(lower, func(r rune) bool { return r < '0' || r > '9' })
	if i < 0 {
		i = len(lower)
	}
	n, err := strconv.ParseInt(lower[:i], 10, 64)
	shift, ok := sizeUnits[lower[i:]]
	if err != nil || !ok || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is not a size such as 512, 64KiB, 1g", s)
	}
	return n << shift, nil
}

var sizeUnits = map[string]uint{
	"": 0, "b": 0, "k": 10, "kb": 10, "kib": 10, "m": 20, "mb": 20, "mib": 20, "g": 30, "gb": 30, "gib": 30, "t": 40, "tb": 40, "tib": 40,
}

// timeLayouts are the forms of a time, from whole to short. One without a zone is local.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"}

// ParseTime reads a point in time: "2026-01-31", "2026-01-31T12:00:00Z".
func ParseTime(s string) (time.Time, error) {
	for _, layout := range timeLayouts {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 2026-01-31T12:00:00Z", s)
}

// ParseMoment reads a time as ParseTime does, "now", or one before or after now: "-15m",
// "+1h".
func ParseMoment(s string, now time.Time) (time.Time, error) {
	if s == "now" {
		return now, nil
	}
	if s != "" && (s[0] == '-' || s[0] == '+') {
		if d, err := ParseDuration(s[1:]); err == nil && d >= 0 {
			if s[0] == '-' {
				d = -d
			}
			return now.Add(d), nil
		}
	}
	t, err := ParseTime(s)
	if err != nil {
		return t, fmt.Errorf("%q is not a time (2026-01-31T12:00:00Z) nor one from now (-15m, +1h)", s)
	}
	return t, nil
}
