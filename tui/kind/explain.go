package kind

import (
	"fmt"
	"slices"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
)

// ExplainQuestion reads who publishes where: a topic of MQTT, or a target as commands take it, kafka:orders,
// amqp:EXCHANGE/KEY, amqp:queue:NAME; and behind it, with spaces between, qos=0, retain, as=USER and
// client=ID.
func ExplainQuestion(src string) (q adminapi.ExplainQuestion, err error) {
	words := strings.Fields(src)
	q.QoS, q.Size = 1, 1
	for i, w := range words {
		name, value, _ := strings.Cut(w, "=")
		switch {
		case i == 0:
			err = explainTarget(w, &q)
		case w == "retain":
			q.Retain = true
		case name == "qos" && (value == "0" || value == "1" || value == "2"):
			q.QoS = value[0] - '0'
		case name == "as" && value != "":
			q.User = value
		case name == "client" && value != "":
			q.Client = value
		default:
			err = fmt.Errorf("%s: behind the target stand qos=0, retain, as=USER, client=ID", Clean(w))
		}
		if err != nil {
			return q, err
		}
	}
	return q, nil
}

func explainTarget(s string, q *adminapi.ExplainQuestion) error {
	protocol, rest, ok := strings.Cut(s, ":")
	switch {
	case ok && protocol == "kafka":
		q.Protocol, q.Topic = protocol, rest
	case ok && protocol == "amqp" && strings.HasPrefix(rest, "queue:"):
		q.Protocol, q.Key = protocol, strings.TrimPrefix(rest, "queue:")
	case ok && protocol == "amqp":
		q.Protocol = protocol
		if q.Exchange, q.Key, ok = strings.Cut(rest, "/"); !ok {
			return fmt.Errorf("amqp:EXCHANGE/KEY, or amqp:queue:NAME")
		}
		if q.Exchange == defaultExchange {
			q.Exchange = ""
		}
	case ok && protocol == "mqtt":
		q.Protocol, q.Topic = protocol, rest
	default:
		q.Protocol, q.Topic = "mqtt", s
	}
	if q.Protocol == "mqtt" && slices.ContainsFunc(strings.Split(q.Topic, "/"), func(level string) bool { return strings.ContainsAny(level, "+#") }) {
		return fmt.Errorf("%s: a topic to publish to has no + and no #", Clean(q.Topic))
	}
	return nil
}

// ExplainCommand is the command that tells the same.
func ExplainCommand(src string) string {
	words := strings.Fields(src)
	if len(words) == 0 {
		return "rmq explain mqtt:TOPIC"
	}
	target := words[0]
	if protocol, _, ok := strings.Cut(target, ":"); !ok || protocol != "mqtt" && protocol != "kafka" && protocol != "amqp" {
		target = "mqtt:" + target
	}
	out := "rmq explain " + quote(target)
	for _, w := range words[1:] {
		name, value, ok := strings.Cut(w, "=")
		if out += " --" + name; ok {
			out += " " + quote(value)
		}
	}
	return out
}

// Explained tells who gets a message, and who does not.
func Explained(x *adminapi.Explanation) []Section {
	about := Section{Fields: []Field{field("address", x.Address)}}
	if x.Rewritten != "" {
		about.Fields = append(about.Fields, Field{"rewritten", Cell{Clean(x.Rewritten) + ", by rule " + Clean(x.Rule), Warn}})
	}
	switch {
	case x.Refused != "":
		about.Fields = append(about.Fields, Field{"refused", Cell{Clean(x.Refused), Bad}})
	case x.Access.Rule != nil:
		about.Fields = append(about.Fields, field("access", x.Access.Rule.String()))
	}
	gets := Section{Title: "gets it", Head: left("WHAT", "NAME", "BY", "HOW"), Empty: "nobody"}
	if x.Refused != "" {
		gets.Title = "would get it otherwise"
	}
	for i := range x.Targets {
		gets.Rows = append(gets.Rows, explainedRow(&x.Targets[i], Good))
	}
	not := Section{Title: "does not, and why", Head: gets.Head, Empty: "nobody else comes near"}
	for i := range x.Misses {
		not.Rows = append(not.Rows, explainedRow(&x.Misses[i], Faint))
	}
	gets.Note, not.Note = more(x.MoreTargets), more(x.MoreMisses)
	if x.Unlooked {
		not.Note = strings.TrimSpace(not.Note + "  there are too many subscriptions to look at all")
	}
	return []Section{about, gets, not}
}

func more(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("and %d more", n)
}

func explainedRow(t *adminapi.ExplainTarget, tone Tone) []Cell {
	var how []string
	add := func(on bool, text string) {
		if on {
			how = append(how, text)
		}
	}
	if t.QoS != nil {
		add(true, fmt.Sprintf("QoS %d", *t.QoS))
	}
	add(t.Where == "here", "connected")
	add(t.Where == "elsewhere", "connected to another node")
	add(t.Where == "away" && t.Why == "", "away")
	add(t.Next != "", "next is "+Clean(t.Next))
	if t.Partition != nil && t.Why == "" {
		add(true, fmt.Sprintf("partition %d", *t.Partition))
	}
	add(t.Why != "", Clean(t.Why))
	name := Clean(t.Name)
	if t.Kind == "exchange" {
		name = Clean(ExchangeName(t.Name))
	}
	return []Cell{{t.Kind, Plain}, {name, Strong}, {Clean(strings.Join(t.Via, "; ")), Plain}, {strings.Join(how, ", "), tone}}
}
