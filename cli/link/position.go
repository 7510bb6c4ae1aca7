package link

import (
	"strconv"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/grammar"
)

// Position is where reading begins. The zero value is the end: only what comes from
// now on.
type Position struct {
	Kind   PositionKind
	Offset int64     // AtOffset; Last: how many before the end
	Time   time.Time // AtTime
}

// PositionKind tells how a Position is meant.
type PositionKind uint8

const (
	AtEnd PositionKind = iota
	AtStart
	AtOffset
	Last
	AtTime
)

// ParsePosition reads a position: "start", "end", an offset ("1200"), a number of
// messages before the end ("-5"), a time ("2026-01-31", "2026-01-31T12:00:00Z") or a
// time before now ("-15m").
func ParsePosition(s string, now time.Time) (Position, error) {
	switch s {
	case "start":
		return Position{Kind: AtStart}, nil
	case "end":
		return Position{Kind: AtEnd}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 0 || s[0] == '-' {
			return Position{Kind: Last, Offset: -n}, nil
		}
		return Position{Kind: AtOffset, Offset: n}, nil
	}
	if s != "" && s[0] == '-' {
		if d, err := grammar.ParseDuration(s[1:]); err == nil {
			return Position{Kind: AtTime, Time: now.Add(-d)}, nil
		}
	}
	if t, err := grammar.ParseTime(s); err == nil {
		return Position{Kind: AtTime, Time: t}, nil
	}
	return Position{}, fault.New(fault.Invalid, "read position", s, "it is none of start, end, an offset (1200), a count from the end (-5), a time (2026-01-31T12:00:00Z) or an age (-15m)")
}

// String returns the position as it may be typed.
func (p Position) String() string {
	switch p.Kind {
	case AtStart:
		return "start"
	case AtOffset:
		return strconv.FormatInt(p.Offset, 10)
	case Last:
		return "-" + strconv.FormatInt(p.Offset, 10)
	case AtTime:
		return p.Time.Format(time.RFC3339)
	}
	return "end"
}
