package kind

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/filter"
)

// previewBytes is how much of a value a list looks at: a line of a wide terminal.
const previewBytes = 240

// Retained are the last values of addresses.
func Retained() *Kind[adminapi.Message] {
	type T = adminapi.Message
	return &Kind[T]{
		One: "retained message", Many: "retained", SortBy: "ADDRESS",
		Empty: "nothing is retained; this is: rmq produce mqtt:a/b on --retain",
		Columns: []Column[T]{
			{Title: "ADDRESS", Width: 18, Grow: 2, Keep: 9, Text: address},
			{Title: "VALUE", Width: 24, Grow: 3, Keep: 8, Text: preview},
			{Title: "SIZE", Width: 8, Keep: 6, Number: bytesOf, Show: func(m *T, _ Look) Cell { return size(int64(m.Size)) }},
			{Title: "SINCE", Width: 6, Keep: 7, Number: func(m *T, l Look) float64 { return age(m.Time, l) }, Show: func(m *T, l Look) Cell { return Cell{Text: l.Since(m.Time)} }},
			{Title: "FROM", Width: 5, Keep: 5, Text: protocol, Show: func(m *T, _ Look) Cell { return Cell{m.Protocol, Protocol(m.Protocol)} }},
			{Title: "QOS", Width: 3, Keep: 2, Number: qos},
			{Title: "EXPIRES", Width: 9, Keep: 4, Text: func(m *T, l Look) string { return expiresIn(m, l) }},
		},
		ID: func(m *T) string { return m.Address },
		List: func(ctx context.Context, src adminapi.Source, namespace string, limit int) ([]T, error) {
			return src.Retained(ctx, adminapi.Query{Namespace: namespace, Limit: limit}, "")
		},
		Get: func(ctx context.Context, src adminapi.Source, m T) (T, error) {
			ms, err := src.Retained(ctx, adminapi.Query{Namespace: m.Namespace}, m.Address)
			if err == nil && len(ms) == 0 {
				err = &adminapi.Error{Code: "not_found", Category: adminapi.CategoryNotFound, Message: "nothing is retained there any more"}
			}
			if err != nil {
				return m, err
			}
			return ms[0], nil
		},
		Tree: func(items []T, shown []int, l Look) []*Twig {
			tree := newLevels()
			for _, i := range shown {
				m := &items[i]
				t := tree.at(m.Address)
				t.Item = i
				t.Label = append(t.Label, Cell{Text: "  "}, Cell{Clean(preview(m, l)), Plain}, Cell{"  " + l.Since(m.Time), Faint})
			}
			return tree.done()
		},
		Detail:  func(m *T, l Look) []Section { return MessageDetail(m, l, Pretty) },
		Command: func(m *T) string { return "rmq retained list " + quote(m.Address) },
		Trace:   func(m *T) adminapi.TraceQuery { return adminapi.TraceQuery{Topic: m.Address} },
		Copied:  func(m *T) string { return string(m.Value) },
	}
}

// Live is messages as they are published. They come by a stream, not by List.
func Live() *Kind[adminapi.Message] {
	type T = adminapi.Message
	return &Kind[T]{
		One: "message", Many: "messages",
		Columns: []Column[T]{
			{Title: "TIME", Width: 8, Keep: 7, Text: func(m *T, l Look) string { return l.Clock(m.Time) }, Show: func(m *T, l Look) Cell { return Cell{l.Clock(m.Time), Faint} }},
			{Title: "PROTO", Width: 5, Keep: 8, Text: protocol, Show: func(m *T, _ Look) Cell { return Cell{m.Protocol, Protocol(m.Protocol)} }},
			{Title: "ADDRESS", Width: 18, Grow: 2, Keep: 9, Text: address},
			{Title: "KEY", Width: 8, Grow: 1, Keep: 5, Text: func(m *T, _ Look) string { return Preview(m.Key, previewBytes) }},
			{Title: "VALUE", Width: 26, Grow: 4, Keep: 9, Text: preview},
			{Title: "HEADERS", Width: 7, Keep: 3, Number: func(m *T, _ Look) float64 { return float64(len(m.Headers) + len(m.Properties)) }},
			{Title: "SIZE", Width: 8, Keep: 6, Number: bytesOf, Show: func(m *T, _ Look) Cell { return size(int64(m.Size)) }},
			{Title: "QOS", Width: 3, Keep: 4, Number: qos},
			{Title: "FLAGS", Width: 8, Keep: 2, Text: func(m *T, _ Look) string { return words(flags(m), yes(m.Truncated, "cut")) }},
		},
		ID:      func(m *T) string { return m.Address }, // of many: here messages are told apart by their place
		Detail:  func(m *T, l Look) []Section { return MessageDetail(m, l, Pretty) },
		Command: func(m *T) string { return "rmq consume " + quote("mqtt:"+m.Address) },
		Copied:  func(m *T) string { return string(m.Value) },
	}
}

func address(m *adminapi.Message, _ Look) string {
	for _, s := range []string{m.Address, m.Topic, m.Queue} {
		if s != "" {
			return s
		}
	}
	return ExchangeName(m.Exchange) + "/" + m.RoutingKey
}

func protocol(m *adminapi.Message, _ Look) string { return m.Protocol }

func preview(m *adminapi.Message, l Look) string {
	if m.Value == nil {
		return "(null)"
	}
	value, _, _ := l.Value(m)
	return Preview(value, previewBytes)
}

func bytesOf(m *adminapi.Message, _ Look) float64 { return float64(m.Size) }

func qos(m *adminapi.Message, _ Look) float64 {
	if m.QoS == nil {
		return 0
	}
	return float64(*m.QoS)
}

func flags(m *adminapi.Message) string {
	return words(yes(m.Retain, "retain"), yes(m.Duplicate, "dup"), yes(m.Redelivered, "again"))
}

func expiresIn(m *adminapi.Message, l Look) string {
	switch {
	case m.ExpiresAt.IsZero():
		return ""
	case !m.ExpiresAt.After(l.Now):
		return "now"
	}
	return countdown(m.ExpiresAt.Sub(l.Now))
}

// MessageDetail tells everything of a message, its value in one of the forms.
func MessageDetail(m *adminapi.Message, l Look, form Form) []Section {
	about := Section{Fields: []Field{
		{"protocol", Cell{m.Protocol, Protocol(m.Protocol)}}, field("address", m.Address), field("published", l.Stamp(m.Time)),
	}}
	add := func(on bool, name, value string) {
		if on {
			about.Fields = append(about.Fields, field(name, value))
		}
	}
	add(m.Namespace != "" && m.Namespace != adminapi.DefaultNamespace, "namespace", m.Namespace)
	add(m.Topic != "" && m.Topic != m.Address, "topic", m.Topic)
	add(m.Protocol == "amqp" && (m.Exchange != "" || m.RoutingKey != ""), "exchange", ExchangeName(m.Exchange))
	add(m.RoutingKey != "", "routing key", m.RoutingKey)
	add(m.Queue != "", "queue", m.Queue)
	if m.Partition != nil && m.Offset != nil {
		add(true, "partition", fmt.Sprintf("%d at offset %d", *m.Partition, *m.Offset))
	}
	add(m.Key != nil, "key", Preview(m.Key, previewBytes))
	add(m.QoS != nil && *m.QoS > 0, "qos", strconv.Itoa(int(qos(m, l))))
	add(m.Priority > 0, "priority", strconv.Itoa(int(m.Priority)))
	add(flags(m) != "", "flags", flags(m))
	add(!m.ExpiresAt.IsZero(), "expires", l.Stamp(m.ExpiresAt)+" ("+expiresIn(m, l)+")")

	sections := []Section{about}
	if len(m.Properties) > 0 {
		s := Section{Title: "properties"}
		for _, k := range slices.Sorted(maps.Keys(m.Properties)) {
			s.Fields = append(s.Fields, field(Clean(k), m.Properties[k]))
		}
		sections = append(sections, s)
	}
	headers := Section{Title: "headers", Empty: "none"}
	for _, h := range m.Headers {
		value := Cell{"(null)", Faint}
		if h.Value != nil {
			value = Cell{Text: Clean(string(h.Value))}
		}
		headers.Fields = append(headers.Fields, Field{Clean(h.Name), value})
	}
	value := Section{Title: "value"}
	raw, as, err := m.Value, "", error(nil)
	if form == Pretty {
		raw, as, err = l.Value(m)
	}
	lines, shown := Lines(raw, m.Properties["content-type"], form)
	if as != "" {
		shown = as
	}
	value.Lines = lines
	value.Note = shown + ", " + Bytes(int64(m.Size))
	if m.Truncated {
		value.Note = fmt.Sprintf("%s, the first %d of %d bytes", shown, len(m.Value), m.Size)
	}
	if err != nil && !m.Truncated {
		value.Note += "; " + Clean(err.Error())
	}
	return append(sections, headers, value)
}

// LiveFields are the names that a filter of live messages may use: its columns, and
// text, which the broker looks for.
func LiveFields() []string { return append(Live().Fields(), "text") }

// LiveQuery divides a filter of live messages: what the broker can decide it decides, on
// every message, so that what matches is not lost among what does not; the rest is
// decided here, on what arrives. Messages with nothing but a part that is for the broker
// pass the filter that is left.
//
//	fleet/+/temp    a word with + or # as a level: the addresses that it matches
//	proto:mqtt      what that protocol published
//	text:urgent     a text anywhere in key, value or headers
//
// What is an expression as rmq consume --where has them goes to the broker whole:
//
//	json.temp > 30 && topicMatches("fleet/+/temp")
func LiveQuery(src string) (q adminapi.LiveQuery, here Filter, err error) {
	if src = strings.TrimSpace(src); src != "" {
		_, wrong := filter.Compile(src, filter.Options{})
		if wrong == nil {
			q.Where, here.Source = src, src
			return q, here, nil
		}
		if isExpression(src) {
			return q, here, wrong
		}
	}
	f, err := ParseFilter(src, LiveFields())
	if err != nil {
		return q, here, err
	}
	here.Source = f.Source
	for _, t := range f.Terms {
		switch {
		case (t.Field == "" || t.Field == "address" && t.Op == ":") && wild(t.Text):
			switch {
			case t.Not:
				return q, here, fmt.Errorf("!%s: a filter of addresses cannot be turned round; !word can", t.Text)
			case q.Filter != "":
				return q, here, fmt.Errorf("%s and %s: one filter of addresses at a time", q.Filter, t.Text)
			}
			q.Filter = t.Text
		case t.Field == "text":
			if t.Not || q.Contains != "" || t.Op != ":" {
				return q, here, fmt.Errorf("text: stands for one text that is there; !word for one that is not")
			}
			q.Contains = t.Text
		case t.Field == "proto" && !t.Not && q.Protocol == "" && slices.Contains([]string{"mqtt", "kafka", "amqp"}, t.lower):
			q.Protocol = t.lower
		default:
			here.Terms = append(here.Terms, t)
		}
	}
	return q, here, nil
}

// isExpression tells what was meant as an expression from words, which have none of this.
func isExpression(src string) bool {
	for _, sign := range []string{"==", "!=", "&&", "||", "(", "[", " > ", " < ", ">= ", "<= ", "json.", "headers.", "properties."} {
		if strings.Contains(src, sign) {
			return true
		}
	}
	return false
}

// wild tells a filter of addresses from a word: one of its levels is + or #.
func wild(s string) bool {
	return slices.ContainsFunc(strings.Split(s, "/"), func(level string) bool { return level == "+" || level == "#" })
}

// Produce is the command that sends a message like m. What is no text goes as base64.
func Produce(m *adminapi.Message) string {
	out := []string{"rmq produce", quote(TargetOf(m))}
	value := string(m.Value)
	switch {
	case m.Value == nil:
		out = append(out, "--null")
	case !printable(m.Value) || strings.HasPrefix(value, "-"):
		out = append(out, base64.StdEncoding.EncodeToString(m.Value), "--base64")
	default:
		out = append(out, shellText(value))
	}
	if m.Key != nil && m.Protocol == "kafka" {
		out = append(out, "-k", shellText(string(m.Key)))
	}
	for _, h := range m.Headers {
		out = append(out, "-H", shellText(h.Name+"="+string(h.Value)))
	}
	for _, k := range slices.Sorted(maps.Keys(m.Properties)) {
		out = append(out, "-P", shellText(k+"="+m.Properties[k]))
	}
	if m.Retain {
		out = append(out, "--retain")
	}
	if m.Protocol == "mqtt" && m.QoS != nil && *m.QoS != 1 {
		out = append(out, "--qos", strconv.Itoa(int(*m.QoS)))
	}
	return strings.Join(out, " ")
}

// TargetOf is where a message was published to, as commands take it.
func TargetOf(m *adminapi.Message) string {
	switch {
	case m.Protocol == "kafka":
		return "kafka:" + m.Topic
	case m.Protocol == "amqp" && m.Exchange == "" && m.RoutingKey != "":
		return "amqp:queue:" + m.RoutingKey
	case m.Protocol == "amqp" && m.Exchange != "":
		return "amqp:" + m.Exchange + "/" + m.RoutingKey
	}
	return "mqtt:" + m.Address
}

// shellText writes any text as a POSIX shell takes it.
func shellText(s string) string {
	if q := quote(s); q == s {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// ConsumeCommand is the command that shows what a query of live messages does.
func ConsumeCommand(q adminapi.LiveQuery) string {
	target := "#"
	if q.Filter != "" {
		target = q.Filter
	}
	out := "rmq consume " + quote("mqtt:"+target)
	if q.Where != "" {
		out += " --where " + shellText(q.Where)
	}
	return out
}
