package message

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

type grep struct {
	reading
	n     int64
	from  string
	tell  bool // only how many
	qos   int
	found int64
}

// NewGrep returns `rmq grep`.
func NewGrep(e *env.Env) *cobra.Command {
	g := &grep{reading: newReading(e), from: "start", qos: 1}
	cmd := &cobra.Command{
		Use:   "grep EXPR TARGET...",
		Short: "Search stored messages, over MQTT, Kafka and AMQP",
		Long: "Search stored messages from start to end: the records of a Kafka topic, the messages of an AMQP queue, which\n" +
			"stay in it, and what is retained below an MQTT filter. EXPR is in the filter language (docs/FILTER.md).\n\n" +
			"The exit code is 0 when something matched, 5 when nothing did, 8 when --timeout came before the end.\n\n" + targetHelp,
		Example: "  rmq grep 'value.contains(\"timeout\")' kafka:orders\n" +
			"  rmq grep 'json.amount > 1000 && headers[\"source\"] == \"shop\"' kafka:orders amqp:queue:jobs -o json\n" +
			"  rmq grep 'time > now - duration(\"1h\")' kafka:orders --from -2h -n 1\n" +
			"  rmq grep 'json < 0' mqtt:sensors/# --tally",
		Args: func(cmd *cobra.Command, args []string) error {
			return env.Between([]string{"EXPR", "TARGET"}, make([]string, targetsMax)...)(cmd, args)
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return g.completeTargets(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return g.run(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.Int64VarP(&g.n, "count", "n", 0, "stop after so many messages")
	f.StringVar(&g.from, "from", "start", "Kafka: where to begin: start, an offset (1200), a count from the end (-5), a time (2026-01-31T12:00:00Z) or an age (-15m)")
	f.BoolVar(&g.tell, "tally", false, "print only how many match, of each target")
	g.showFlags(f)
	return cmd
}

// plainWord is an expression that was meant as text to look for.
var plainWord = regexp.MustCompile(`^[\w -]+$`)

func (g *grep) run(ctx context.Context, args []string) error {
	if g.n < 0 {
		return env.Failf(env.Usage, "-n %d is less than nothing", g.n)
	}
	from, err := link.ParsePosition(g.from, g.e.Now())
	if err != nil {
		return err
	}
	if g.where = args[0]; g.where == "" {
		return env.Failf(env.Usage, "EXPR is empty")
	}
	if err := g.compile("EXPR"); err != nil {
		if f := env.Explain(err); plainWord.MatchString(args[0]) {
			f.Hint = "to look for text: rmq grep " + env.Quote("value.contains("+strconv.Quote(args[0])+")") + " …"
		}
		return err
	}
	o := link.ConsumeOptions{UntilEnd: true, Peek: true, QoS: uint8(g.qos), Where: g.meant}
	sources, err := g.sources(ctx, args[1:], o)
	if err != nil {
		return err
	}
	limited := ctx
	if g.timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, time.Duration(g.timeout))
		defer cancel()
	}
	begun := time.Now()
	for _, s := range sources {
		if err = g.search(limited, s, from); err != nil || g.n > 0 && g.found == g.n {
			break
		}
	}
	if g.e.ErrTTY || g.found > 0 && errors.Is(err, context.Canceled) || g.decoding.tally() != "" {
		g.e.Say("%d of %d match in %v%s", g.found, g.found+g.passed, time.Since(begun).Round(time.Millisecond), g.lacking()+g.decoding.tally())
	}
	switch {
	case errors.Is(err, context.Canceled):
		return context.Cause(ctx)
	case limited.Err() != nil && ctx.Err() == nil:
		return env.Failf(env.TimedOut, "%v passed before the end; %d of %d match so far", time.Duration(g.timeout), g.found, g.found+g.passed)
	case err != nil:
		return err
	case g.found == 0:
		return env.Failf(env.NotFound, "none of %d messages matches%s", g.passed, g.lacking())
	}
	return nil
}

// lacking says how many messages could not be decided; "" when all could.
func (g *grep) lacking() string {
	if g.lacked == 0 {
		return ""
	}
	return "; " + strconv.FormatInt(g.lacked, 10) + " for want of what the expression asks for"
}

// search reads one target to its end.
func (g *grep) search(ctx context.Context, s stream, from link.Position) error {
	o := s.options
	o.From = link.Position{Kind: link.AtStart}
	if s.Protocol == link.Kafka {
		o.From = from
	}
	if s.Queue == "" {
		o.Peek = false
	}
	before := g.found
	show := func(m *link.Message) error {
		g.found++
		if !g.tell {
			if err := g.show(m, s.name); err != nil {
				return err
			}
		}
		if g.found == g.n {
			return errStop
		}
		return nil
	}
	_, err := link.Consume(ctx, s.Target, o, show)
	switch {
	case errors.Is(err, errStop): // as many as were wanted
	case fault.Is(err, fault.Unsupported) && s.Protocol == link.AMQP:
		return env.WithHint(err, "an exchange keeps nothing: search a queue, as amqp:queue:NAME")
	case err != nil:
		return g.explain(ctx, s.Target, err)
	}
	if g.tell {
		return g.tallyOf(s, g.found-before)
	}
	return nil
}

// tallyOf prints how many messages of a target match.
func (g *grep) tallyOf(s stream, n int64) error {
	type tally struct {
		Target string `json:"target"`
		Match  int64  `json:"match"`
	}
	t := tally{s.String(), n}
	switch g.e.Format() {
	case env.FormatJSON:
		return g.e.PrintLine(t)
	case env.FormatYAML:
		return g.e.PrintDocument(t)
	}
	line := strconv.FormatInt(n, 10) + "\n"
	if s.name != "" {
		line = s.name + "\t" + line
	}
	_, err := g.e.Out.Write([]byte(line))
	return err
}
