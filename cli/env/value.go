package env

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/grammar"
)

// The grammar of values is the same wherever a flag, a setting or a position takes
// one (package grammar). Each type here is a pflag.Value.

// Duration reads "250ms", "1h30m", and also days and weeks: "7d", "2w".
type Duration time.Duration

// ParseDuration reads a duration. A plain number has no unit and is refused.
func ParseDuration(s string) (time.Duration, error) { return grammar.ParseDuration(s) }

func (d *Duration) Set(s string) error {
	v, err := ParseDuration(s)
	if err == nil && v < 0 {
		err = fmt.Errorf("%q is less than nothing", s)
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
func ParseSize(s string) (int64, error) { return grammar.ParseSize(s) }

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

// Rate reads how many of something there are to be in a time: "100/s", "30/m", "5/h", and "100", which
// is a second's. It is kept by the second; 0: as many as can be.
type Rate float64

// rateMost bounds a rate, by the second.
const rateMost = 10_000_000

func (r *Rate) Set(s string) error {
	n, unit, given := strings.Cut(s, "/")
	if !given {
		unit = "s"
	}
	per, known := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	f, err := strconv.ParseFloat(n, 64)
	if err != nil || !known || !(f >= 0) || f/per > rateMost || f > 0 && f/per < 1.0/(24*3600) {
		return fmt.Errorf("%q is not a rate such as 100, 100/s, 30/m, 5/h", s)
	}
	*r = Rate(f / per)
	return nil
}
func (r *Rate) String() string {
	if *r == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(*r), 'f', -1, 64) + "/s"
}
func (r *Rate) Type() string { return "rate" }

// Every is what is between two of them; 0: nothing.
func (r Rate) Every() time.Duration {
	if r == 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / float64(r))
}
