package kind

import (
	"math"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
)

// What several kinds share.

// rateColumn shows how fast an item's Counter grows.
func rateColumn[T any](title string, id func(*T) string) Column[T] {
	return Column[T]{
		Title: title, Width: 5, Keep: 5,
		Number: func(item *T, l Look) float64 { return l.rate(id(item)) },
		Show: func(item *T, l Look) Cell {
			f := l.rate(id(item))
			if math.IsNaN(f) || f == 0 {
				return Cell{Rate(f), Faint}
			}
			return Cell{Rate(f), Good}
		},
	}
}

// trendColumn draws how that rate went; there must be room to spare for it.
func trendColumn[T any](id func(*T) string) Column[T] {
	const wide = 16
	return Column[T]{
		Title: "TREND", Width: wide, Keep: 0,
		Show: func(item *T, l Look) Cell {
			if l.Trend == nil {
				return Cell{}
			}
			return Cell{Spark(l.Trend(id(item)), wide, 1, 0)[0], Good}
		},
	}
}

// changeColumn shows how fast an item's Level goes up or down.
func changeColumn[T any](title string, id func(*T) string) Column[T] {
	return Column[T]{
		Title: title, Width: 7, Keep: 5,
		Number: func(item *T, l Look) float64 { return l.rate(id(item)) },
		Show:   func(item *T, l Look) Cell { return change(l.rate(id(item))) },
	}
}

// change writes a rate with its sign: what grows waits for somebody.
func change(f float64) Cell {
	switch {
	case math.IsNaN(f):
		return Cell{"-", Faint}
	case f > 0:
		return Cell{"+" + Rate(f), Warn}
	case f < 0:
		return Cell{"-" + Rate(-f), Good}
	}
	return Cell{"0", Faint}
}

// levelColumn draws how an item's Level went.
func levelColumn[T any](title string, id func(*T) string) Column[T] {
	c := trendColumn(id)
	c.Title = title
	return c
}

func size(n int64) Cell {
	if n == 0 {
		return Cell{"0 B", Faint}
	}
	return Cell{Text: Bytes(n)}
}

// exact writes a size with its unit and to the byte.
func exact(n int64) string {
	if n < 1024 {
		return Bytes(n)
	}
	return Bytes(n) + " (" + number(n) + " bytes)"
}

func perSecond(f float64) string {
	if math.IsNaN(f) {
		return "-"
	}
	return Rate(f) + "/s"
}

// arguments are those of an AMQP declaration.
func arguments(args []adminapi.Argument) Section {
	s := Section{Title: "arguments", Empty: "none"}
	for _, a := range args {
		s.Fields = append(s.Fields, field(Clean(a.Name), a.Value))
	}
	return s
}

// quote writes an argument as a POSIX shell takes it.
// Quote writes an argument as a POSIX shell takes it.
func Quote(s string) string { return quote(s) }

func quote(s string) string {
	safe := s != ""
	for _, r := range s {
		safe = safe && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+,=", r))
	}
	if safe {
		return s
	}
	return "'" + strings.ReplaceAll(Clean(s), "'", `'\''`) + "'"
}
