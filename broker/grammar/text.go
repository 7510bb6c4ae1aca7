package grammar

import (
	"strconv"
	"time"
)

// Duration is a duration that is not negative, as text in JSON and YAML.
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err == nil && v < 0 {
		err = badDuration(string(text))
	}
	*d = Duration(v)
	return err
}

// Size is a number of bytes, as text in JSON and YAML.
type Size int64

func (z Size) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(z), 10), nil }

func (z *Size) UnmarshalText(text []byte) error {
	v, err := ParseSize(string(text))
	*z = Size(v)
	return err
}
