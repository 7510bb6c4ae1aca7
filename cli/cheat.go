package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
)

// cheatTopic is one part of the cheat sheet.
type cheatTopic struct {
	Name  string      `json:"topic"`
	Title string      `json:"title"`
	Lines []cheatLine `json:"lines"`
}

type cheatLine struct {
	Command string `json:"command"`
	Text    string `json:"text"`
}

// cheatSheet is what people need, by task and protocol. A test types all of it, from the first line to
// the last, at one broker; a line fits a terminal of 80 columns.
var cheatSheet = []cheatTopic{
	{"start", "Start", []cheatLine{
		{"rmq up -d --memory", "a broker behind this shell; without -d, here"},
		{"rmq status", "where it listens, how it is"},
		{"eval \"$(rmq env)\"", "its addresses for other programs"},
		{"rmq tui", "all of it, live; ? tells the keys"},
	}},
	{"mqtt", "MQTT", []cheatLine{
		{"rmq produce mqtt:home/door open --retain", "send, and keep as the last"},
		{"rmq consume 'mqtt:home/#' -n 1", "read; without -n, on and on"},
		{"rmq retained list", "what is kept"},
		{"rmq session list", "who is connected, or away"},
	}},
	{"kafka", "Kafka", []cheatLine{
		{"rmq topic create orders --partitions 3", "or let the first message"},
		{"rmq produce kafka:orders '{\"id\":7}' -k 7", "send, with a key"},
		{"rmq consume kafka:orders --from start -n 1", "or --from -10, -15m, a time"},
		{"rmq consume kafka:orders -g bill --from start -n 1", "as one of a group"},
		{"rmq group get bill", "members, offsets, lag"},
		{"rmq group seek bill kafka:orders --to start", "read it all again"},
	}},
	{"amqp", "AMQP", []cheatLine{
		{"rmq queue create jobs", "durable; --help for limits"},
		{"rmq binding create amq.topic jobs --key 'job.#'", "what the queue gets"},
		{"rmq produce amqp:amq.topic/job.new '{\"n\":1}'", "to an exchange"},
		{"rmq consume amqp:queue:jobs --peek -n 1", "look, and leave it there"},
		{"rmq consume amqp:queue:jobs -n 1", "take it"},
	}},
	{"across", "Across protocols", []cheatLine{
		{"rmq produce mqtt:sensors/d1/temp '{\"c\":31}'", "what MQTT sends"},
		{"rmq consume kafka:sensors --from start -n 1", "Kafka has, and AMQP"},
		{"rmq explain mqtt:sensors/d1/temp", "who would get it, and why"},
		{"rmq trace message mqtt:sensors/d1/temp x", "where it went, step by step"},
		{"rmq copy kafka:sensors amqp:queue:jobs --until-end", "any to any, any broker"},
	}},
	{"find", "Find and print", []cheatLine{
		{"rmq grep 'json.c > 30' kafka:sensors", "docs/FILTER.md"},
		{"rmq tail kafka:sensors --from start -n 1 -f '%t %v\\n'", "docs/FORMAT.md"},
		{"rmq topic list -o json", "any command: json, yaml"},
		{"rmq topic list --jq '.[].name'", "and jq"},
	}},
	{"trouble", "When something is wrong", []cheatLine{
		{"rmq fixture load dlq-storm", "dead letters, to try"},
		{"rmq dlq list", "what could not be dealt with"},
		{"rmq dlq redrive amqp:queue:payments.dlq -n 1", "send back; also --where, --edit"},
		{"rmq doctor", "what is wrong with a broker"},
		{"rmq session slow", "who takes messages too slowly"},
		{"rmq help exit-codes", "what scripts go by"},
	}},
	{"test", "Test", []cheatLine{
		{"rmq test -- sh -c 'rmq status --url $RMQ_URL'", "any command, its own broker"},
		{"rmq snapshot save before", "all of it, under a name"},
		{"rmq snapshot list", "rmq up --snapshot before"},
		{"rmq chaos list", "what goes wrong by plan"},
		{"rmq bench produce kafka:load -n 100", "how fast it is"},
	}},
	{"end", "End", []cheatLine{
		{"rmq down", "what was in memory is gone"},
	}},
}

// newCheat returns `rmq cheat`.
func newCheat(e *env.Env) *cobra.Command {
	var names []string
	for _, t := range cheatSheet {
		names = append(names, t.Name)
	}
	return &cobra.Command{
		Use:       "cheat [TOPIC]",
		Short:     "Show the commands that people need, on one page",
		Long:      "Show the commands that people need, by task and protocol.\n\nTOPIC is one of " + strings.Join(names, ", ") + ".",
		Example:   "  rmq cheat\n  rmq cheat kafka\n  rmq cheat trouble -o json",
		Args:      env.Between(nil, "TOPIC"),
		ValidArgs: names,
		RunE: func(_ *cobra.Command, args []string) error {
			shown := cheatSheet
			if len(args) == 1 {
				shown = nil
				for _, t := range cheatSheet {
					if t.Name == args[0] {
						shown = append(shown, t)
					}
				}
				if shown == nil {
					f := env.Failf(env.Usage, "no cheat sheet about %s", env.Quote(args[0]))
					f.Hint = "one of " + strings.Join(names, ", ")
					if near := env.Closest(args[0], names); near != "" {
						f.Hint = "did you mean rmq cheat " + near + "?"
					}
					return f
				}
			}
			v := env.View{Schema: "rmq.cheat/1", Data: shown}
			for _, t := range shown {
				table := env.Table{Title: t.Name, Head: []string{strings.ToUpper(t.Title), ""}}
				for _, l := range t.Lines {
					table.Rows = append(table.Rows, []any{l.Command, l.Text})
				}
				v.Tables = append(v.Tables, table)
			}
			return e.Print(v)
		},
	}
}
