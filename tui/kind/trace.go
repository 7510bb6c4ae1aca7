package kind

import (
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/trace"
)

// Traced are events of a trace. They come by a stream, not by List.
func Traced() *Kind[trace.Event] {
	type T = trace.Event
	return &Kind[T]{
		One: "event", Many: "events",
		Columns: []Column[T]{
			{Title: "TIME", Width: 12, Keep: 6, Text: func(e *T, l Look) string { return l.in(e.At).Format("15:04:05.000") }, Show: func(e *T, l Look) Cell { return Cell{l.in(e.At).Format("15:04:05.000"), Faint} }},
			{Title: "PROTO", Width: 5, Keep: 1, Text: func(e *T, _ Look) string { return e.Protocol }, Show: func(e *T, _ Look) Cell { return Cell{e.Protocol, Protocol(e.Protocol)} }},
			{Title: "CLIENT", Width: 12, Grow: 1, Keep: 2, Text: func(e *T, _ Look) string { return orElse(e.Client, e.Remote) }},
			{Title: "WHAT", Width: 5, Keep: 9, Text: func(e *T, _ Look) string { return e.What }, Show: func(e *T, _ Look) Cell { return eventWhat(e) }},
			{Title: "PACKET", Width: 11, Keep: 7, Text: func(e *T, _ Look) string { return e.Packet }},
			{Title: "TOPIC", Width: 12, Grow: 2, Keep: 5, Text: func(e *T, _ Look) string { return e.Topic }},
			{Title: "DETAIL", Width: 20, Grow: 4, Keep: 8, Text: func(e *T, _ Look) string { return eventText(e) }},
		},
		ID: func(e *T) string { return e.Client }, // of many: here events are told apart by their place
	}
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func eventWhat(e *trace.Event) Cell {
	switch e.What {
	case trace.In:
		return Cell{"→ in", Plain}
	case trace.Out:
		return Cell{"← out", Plain}
	case trace.Route:
		return Cell{e.What, Good}
	case trace.Wait:
		return Cell{e.What, Warn}
	case trace.Drop, trace.End:
		return Cell{e.What, Bad}
	}
	return Cell{e.What, Plain}
}

// eventText is all of an event that has no column, on one line.
func eventText(e *trace.Event) string {
	var out []string
	if e.Text != "" {
		out = append(out, e.Text)
	}
	for _, f := range e.Fields {
		out = append(out, f.Name+"="+f.Value)
	}
	if e.Payload != nil {
		out = append(out, Preview(e.Payload, previewBytes))
	}
	return strings.Join(out, " ")
}

// EventDetail tells everything of an event.
func EventDetail(e *trace.Event, l Look) []Section {
	about := Section{Fields: []Field{
		{"what", eventWhat(e)}, field("packet", e.Packet), field("at", l.Stamp(e.At)), {"protocol", Cell{e.Protocol, Protocol(e.Protocol)}},
		field("client", e.Client), field("user", e.User), field("remote", e.Remote), field("node", number(int64(e.Node))), field("topic", e.Topic),
	}}
	sections := []Section{about}
	if e.Text != "" {
		sections = append(sections, Section{Title: "why", Lines: []Line{{{Text: Clean(e.Text)}}}})
	}
	fields := Section{Title: "fields", Empty: "none"}
	for _, f := range e.Fields {
		fields.Fields = append(fields.Fields, field(Clean(f.Name), f.Value))
	}
	sections = append(sections, fields)
	if e.Payload != nil {
		lines, shown := Lines(e.Payload, "", Pretty)
		note := shown + ", " + Bytes(int64(e.Size))
		if e.Size > len(e.Payload) {
			note = shown + ", the first " + number(int64(len(e.Payload))) + " of " + number(int64(e.Size)) + " bytes"
		}
		sections = append(sections, Section{Title: "payload", Note: note, Lines: lines})
	}
	return sections
}

// TraceCommand is the command that shows the same trace.
func TraceCommand(q adminapi.TraceQuery) string {
	switch {
	case q.Client != "":
		return "rmq trace client " + quote(q.Client)
	case q.Topic != "":
		return "rmq trace topic " + quote(q.Topic)
	}
	return "rmq trace ip " + quote(q.IP)
}
