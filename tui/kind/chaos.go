package kind

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/chaos"
)

// Rules are what goes wrong by plan, on the node that answers, and how often it has.
func Rules() *Kind[chaos.State] {
	type T = chaos.State
	k := &Kind[T]{
		One: "rule", Many: "rules", SortBy: "RULE",
		Empty: "nothing is planned to go wrong; a adds a rule, as :chaos add mqtt/PUBACK drop times=3 does",
		Columns: []Column[T]{
			{Title: "RULE", Width: 14, Grow: 1, Keep: 9, Text: func(r *T, _ Look) string { return r.Name }},
			{Title: "AT", Width: 14, Grow: 1, Keep: 9, Text: func(r *T, _ Look) string { return r.At }},
			{Title: "DO", Width: 10, Keep: 9, Text: func(r *T, _ Look) string { return string(r.Do) }},
			{Title: "FOR", Width: 12, Grow: 2, Keep: 6, Text: func(r *T, _ Look) string { return ruleWhom(&r.Rule) }},
			{Title: "HOW", Width: 12, Grow: 2, Keep: 5, Text: func(r *T, _ Look) string { return ruleHow(&r.Rule) }},
			{Title: "SEEN", Width: 6, Keep: 7, Number: func(r *T, _ Look) float64 { return float64(r.Seen) }},
			{Title: "FIRED", Width: 6, Keep: 8, Number: func(r *T, _ Look) float64 { return float64(r.Fired) }, Show: func(r *T, _ Look) Cell { return lag(int64(r.Fired)) }},
			{Title: "LAST", Width: 8, Keep: 4, Text: func(r *T, l Look) string { return l.Clock(r.Last) }},
			{Title: "STATE", Width: 6, Keep: 7, Text: func(r *T, _ Look) string { return ruleState(r).Text }, Show: func(r *T, _ Look) Cell { return ruleState(r) }},
		},
		ID: func(r *T) string { return r.Name },
		List: func(ctx context.Context, src adminapi.Source, _ string, limit int) ([]T, error) {
			all, err := src.Chaos(ctx)
			return all.Rules[:min(limit, len(all.Rules))], err
		},
		Counter: func(r *T) int64 { return int64(r.Fired) }, Span: 10 * time.Second,
		Detail: func(r *T, l Look) []Section {
			return []Section{
				{Fields: []Field{
					field("rule", r.Name), field("at", r.At), field("does", string(r.Do)), field("for", ruleWhom(&r.Rule)), field("how", ruleHow(&r.Rule)),
					{"state", ruleState(r)}, field("seen", Count(int64(r.Seen))+" that it is about"), field("fired", Count(int64(r.Fired))+" times"),
					field("last", l.Stamp(r.Last)), field("now", perSecond(l.rate(r.Name))),
				}},
				{Title: "the same again", Lines: []Line{{{Text: RuleCommand(&r.Rule), Tone: Strong}}}},
				{Title: "take it back", Lines: []Line{{{Text: "rmq chaos remove " + quote(r.Name), Tone: Strong}}}},
			}
		},
		Command: func(*T) string { return "rmq chaos list" },
	}
	k.Get = again(k)
	return k
}

func ruleState(r *chaos.State) Cell {
	if r.Over {
		return Cell{"over", Faint}
	}
	return Cell{"active", Warn}
}

// ruleWhom says for whom something goes wrong.
func ruleWhom(r *chaos.Rule) string {
	return words(pair("client", r.Client), pair("topic", r.Topic), pair("listener", r.Listener))
}

// ruleHow says when, and what with.
func ruleHow(r *chaos.Rule) string {
	var out []string
	for _, p := range RuleParts(r) {
		switch p[0] {
		case "client", "topic", "listener":
		default:
			out = append(out, p[0]+"="+p[1])
		}
	}
	return strings.Join(out, " ")
}

func pair(name, value string) string {
	if value == "" {
		return ""
	}
	return name + "=" + value
}

// RuleParts are what a rule says beside its name, place and effect: by the names that a plan has for them.
func RuleParts(r *chaos.Rule) (out [][2]string) {
	add := func(on bool, name, value string) {
		if on {
			out = append(out, [2]string{name, value})
		}
	}
	add(r.Client != "", "client", r.Client)
	add(r.Topic != "", "topic", r.Topic)
	add(r.Listener != "", "listener", r.Listener)
	add(r.After > 0, "after", strconv.Itoa(r.After))
	add(r.Times > 0, "times", strconv.Itoa(r.Times))
	add(r.Chance > 0, "chance", strconv.FormatFloat(r.Chance, 'g', -1, 64))
	add(r.From > 0, "from", r.From.String())
	add(r.For > 0, "for", r.For.String())
	add(r.Code != "", "code", string(r.Code))
	add(r.Delay > 0, "delay", r.Delay.String())
	add(r.Jitter > 0, "jitter", r.Jitter.String())
	add(r.Bytes > 0, "bytes", fmt.Sprint(int64(r.Bytes)))
	return out
}

// RuleCommand is the command that makes a rule.
func RuleCommand(r *chaos.Rule) string {
	out := []string{"rmq chaos add", quote(r.At), string(r.Do)}
	if r.Name != "" {
		out = append(out, "--rule", quote(r.Name))
	}
	for _, p := range RuleParts(r) {
		flag := p[0]
		switch flag {
		case "listener":
			flag = "listener-url"
		case "from":
			flag = "starts-in"
		}
		out = append(out, "--"+flag, quote(p[1]))
	}
	return strings.Join(out, " ")
}
