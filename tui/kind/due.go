package kind

import (
	"context"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Dues are what time will bring, by what happens.
func Dues() *Kind[adminapi.Due] {
	type T = adminapi.Due
	k := &Kind[T]{
		One: "kind that is due", Many: "kinds that are due", SortBy: "IN",
		Empty: "nothing waits for its time: no session, will, message or offset expires, and nothing is delayed",
		Columns: []Column[T]{
			{Title: "IN", Width: 8, Keep: 9, Number: func(d *T, l Look) float64 { return d.Next.Sub(l.Now).Seconds() }, Show: dueIn},
			{Title: "WHAT", Width: 28, Grow: 1, Keep: 9, Text: func(d *T, _ Look) string { return DueText(d) }},
			{Title: "OF", Width: 14, Grow: 2, Keep: 8, Text: func(d *T, _ Look) string { return d.Name }},
			{Title: "ALL", Width: 5, Keep: 7, Number: func(d *T, _ Look) float64 { return float64(d.Count) }},
			{Title: "AT", Width: 23, Grow: 1, Keep: 6, Text: func(d *T, l Look) string { return l.Stamp(d.Next) }},
		},
		ID: func(d *T) string { return d.Kind },
		List: func(ctx context.Context, src adminapi.Source, _ string, limit int) ([]T, error) {
			all, err := src.Due(ctx)
			return all.Due[:min(limit, len(all.Due))], err
		},
		Title: DueText,
		Detail: func(d *T, l Look) []Section {
			return []Section{{Fields: []Field{
				field("what", DueText(d)), field("next", l.Stamp(d.Next)), {"that is", dueIn(d, l)}, field("of", d.Name), field("namespace", d.Namespace),
				field("all that wait", number(int64(d.Count))),
			}}}
		},
		Command: func(*T) string { return "rmq clock due" },
	}
	k.Get = again(k)
	return k
}

// DueText says what happens.
func DueText(d *adminapi.Due) string {
	if text, ok := adminapi.DueKinds[d.Kind]; ok {
		return text
	}
	return d.Kind
}

func dueIn(d *adminapi.Due, l Look) Cell {
	left := d.Next.Sub(l.Now)
	if left <= 0 {
		return Cell{"now", Warn}
	}
	return Cell{Text: countdown(left)}
}
