package kind

import (
	"fmt"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Timeline is what a broker saw until its test failed.
func Timeline() *Kind[adminapi.Happened] {
	type T = adminapi.Happened
	return &Kind[T]{
		One: "event", Many: "events", SortBy: "AFTER",
		Empty: "no timeline is open: rmq tui --replay FILE opens that of a failed test",
		Columns: []Column[T]{
			{Title: "AFTER", Width: 11, Keep: 8, Number: func(h *T, _ Look) float64 { return h.After.Seconds() }, Show: func(h *T, _ Look) Cell { return Cell{happenedAt(h), Faint} }},
			{Title: "WHAT", Width: 7, Keep: 9, Text: func(h *T, _ Look) string { return h.What }, Show: func(h *T, _ Look) Cell { return Cell{h.What, happenedTone(h)} }},
			{Title: "EVENT", Width: 30, Grow: 1, Keep: 9, Text: func(h *T, _ Look) string { return firstLine(h.Text) }, Show: func(h *T, _ Look) Cell { return happenedText(h) }},
		},
		ID:    func(h *T) string { return fmt.Sprintf("%020d %s", h.After, h.Text) },
		Title: func(h *T) string { return h.What + " " + firstLine(h.Text) },
		Detail: func(h *T, l Look) []Section {
			about := Section{Fields: []Field{field("after", happenedAt(h)), {"what", Cell{h.What, happenedTone(h)}}}}
			text := Section{Title: "event"}
			for line := range strings.Lines(h.Text) {
				text.Lines = append(text.Lines, Line{{Clean(strings.TrimRight(line, "\n")), happenedText(h).Tone}})
			}
			if h.Message == nil {
				return []Section{about, text}
			}
			return append([]Section{about}, MessageDetail(h.Message, l, Pretty)...)
		},
		Command: func(*T) string { return "rmq snapshot show FILE --note timeline" },
		Copied: func(h *T) string {
			if h.Message != nil {
				return string(h.Message.Value)
			}
			return h.Text
		},
	}
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}

func happenedAt(h *adminapi.Happened) string {
	return fmt.Sprintf("%.6fs", h.After.Round(time.Microsecond).Seconds())
}

func happenedTone(h *adminapi.Happened) Tone {
	switch h.What {
	case "fault":
		return Warn
	case "test":
		return Bad
	case "log", "seed", "faults", "state":
		return Faint
	case "clock", "node", "fixture":
		return Strong
	}
	return Protocol(h.What)
}

func happenedText(h *adminapi.Happened) Cell {
	c := Cell{Text: firstLine(h.Text)}
	switch {
	case h.What == "test":
		c.Tone = Bad
	case h.What == "log" && (strings.HasPrefix(h.Text, "warn") || strings.HasPrefix(h.Text, "error")):
		c.Tone = Warn
	}
	return c
}
