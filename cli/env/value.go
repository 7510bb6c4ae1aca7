package env

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The grammar of values is the same wherever a flag, a setting or a position takes
// one. Each type here is a pflag.Value.

// Duration reads "250ms", "1h30m", and also days and weeks: "7d", "2w".
type Duration time.Duration

// ParseDuration reads a duration. A plain number has no unit and is refused.
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
		if err != nil || time.Duration(n) > math.MaxInt64/u.size {
			return 0, badDuration(s)
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
	if total < 0 {
		return 0, badDuration(s)
	}
	if negative {
		total = -total
	}
	return total, nil
}

func badDuration(s string) error {
	return fmt.Errorf("%q is not a duration such as 250ms, 30s, 1h30m, 7d", s)
}

func (d *Duration) Set(s string) error {
	v, err := ParseDuration(s)
	if err == nil && v < 0 {
		err = badDuration(s)
	}
	*d = Duration(v)
	return err
}
func (d *Duration) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}
func (d *Duration) Type() string { return "duration" }

// Size reads "512", "64k", "256MiB", "1g": powers of 1024.
type Size int64

// ParseSize reads a size in bytes.
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

func (z *Size) Set(s string) error {
	v, err := ParseSize(s)
	*z = Size(v)
	return err
}
func (z *Size) String() string {
	if *z == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*z), 10)
}
func (z *Size) Type() string { return "size" }

// Choice is a string out of a few.
type Choice struct {
	Value *string
	Of    []string
}

func (c *Choice) Set(s string) error {
	for _, o := range c.Of {
		if s == o {
			*c.Value = s
			return nil
		}
	}
	if near := Closest(s, c.Of); near != "" {
		return fmt.Errorf("%q is none of %s; did you mean %s?", s, strings.Join(c.Of, ", "), near)
	}
	return fmt.Errorf("%q is none of %s", s, strings.Join(c.Of, ", "))
}
func (c *Choice) String() string {
	if c.Value == nil {
		return ""
	}
	return *c.Value
}
func (c *Choice) Type() string { return strings.Join(c.Of, "|") }

// Pair reads "name=value".
func Pair(s string) (name, value string, err error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return "", "", fmt.Errorf("%q is not name=value", s)
	}
	return name, value, nil
}
