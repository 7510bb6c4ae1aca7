package message

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

const schemaSought = "rmq.group-seek/1"

// seek is one run of `rmq group seek`.
type seek struct {
	connection
	change env.Change
	to     string
}

// sought is what it prints.
type sought struct {
	Group      string       `json:"group"`
	DryRun     bool         `json:"dry_run,omitempty"`
	Partitions []link.Moved `json:"partitions"`
}

// NewGroupSeek returns `rmq group seek`; groups are those that there are.
func NewGroupSeek(e *env.Env, groups env.Names) *cobra.Command {
	s := &seek{connection: connection{e: e}}
	cmd := &cobra.Command{
		Use:   "seek GROUP TARGET...",
		Short: "Have a consumer group go on from elsewhere",
		Long: "Have a consumer group go on from elsewhere in topics, or single partitions: it reads again what it has read, or\n" +
			"leaves out what it has not. The group must have no members, for they would commit over it; one that is not there\n" +
			"yet begins where it is told. Before the first record that is kept, and behind the last, it goes on from there.\n\n" +
			"TARGET is kafka:TOPIC or kafka:TOPIC/PARTITION on this broker, or the same after a host, for any broker of Kafka:\n" +
			"kafka://user@host:9092/TOPIC.",
		Example: "  rmq group seek billing kafka:orders --to start --dry-run\n" +
			"  rmq group seek billing kafka:orders/0 --to 3\n" +
			"  rmq group seek billing kafka:orders --to -15m",
		Args:              env.AtLeast("GROUP", "TARGET"),
		ValidArgsFunction: s.complete(groups),
		RunE:              func(cmd *cobra.Command, args []string) error { return s.run(cmd.Context(), args[0], args[1:]) },
	}
	f := cmd.Flags()
	f.StringVar(&s.to, "to", "", "where: start, end, an offset (1200), a count from the end (-5), a time (2026-01-31T12:00:00Z) or an age (-15m)")
	s.change.Flags(f, false)
	s.flags(f)
	return cmd
}

// complete completes the group, then topics.
func (s *seek) complete(groups env.Names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) (out []string, _ cobra.ShellCompDirective) {
		if len(args) == 0 {
			return s.e.Complete(groups)(cmd, args, typed)
		}
		for _, t := range s.topics(cmd.Context()) {
			out = append(out, "kafka:"+t)
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func (s *seek) run(ctx context.Context, group string, targets []string) error {
	if s.to == "" {
		return env.WithHint(env.Failf(env.Usage, "--to says where, and is missing"), "rmq group seek %s %s --to start --dry-run", env.Quote(group), env.Quote(targets[0]))
	}
	to, err := link.ParsePosition(s.to, s.e.Now())
	if err != nil {
		return err
	}
	out := sought{Group: group, DryRun: s.change.DryRun}
	for _, arg := range targets {
		t, o, err := s.target(ctx, arg)
		if err != nil {
			return err
		}
		if t.Protocol != link.Kafka {
			return env.WithHint(fault.New(fault.Invalid, "seek", arg, "only topics of Kafka have groups that commit offsets"), "rmq group seek --help")
		}
		moved, err := link.Seek(ctx, t, o, group, to, s.change.DryRun)
		if fault.Is(err, fault.Conflict) {
			err = env.WithHint(err, "who they are: rmq group get %s", env.Quote(group))
		}
		if err != nil {
			return s.explain(ctx, t, err)
		}
		out.Partitions = append(out.Partitions, moved...)
	}
	table := env.Table{Head: []string{"TOPIC", "PARTITION", "FROM", "TO"}}
	for _, m := range out.Partitions {
		var from any = ""
		if m.From != nil {
			from = *m.From
		}
		table.Rows = append(table.Rows, []any{m.Topic, m.Partition, from, m.To})
	}
	if err := s.e.Print(env.View{Schema: schemaSought, Data: out, Tables: []env.Table{table}}); err != nil {
		return err
	}
	if s.change.DryRun {
		s.e.Say("group %s would go on from there", group)
	}
	return nil
}
