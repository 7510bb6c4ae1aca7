// Package clock holds the commands about the time that a broker goes by: a test moves it, and need not
// wait for it.
package clock

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq clock`.
func Command(e *env.Env) *cobra.Command {
	return env.Noun("clock", "The time that a broker goes by, and to move it in tests", newNow(e), newDue(e), newAdvance(e), newSet(e), newFreeze(e), newResume(e))
}

const about = "The broker has to have a clock of its own: rmq up --memory --clock virtual, or rmq test. By it messages and sessions expire,\n" +
	"wills and delayed messages are published, and records are too old to be kept. Keep alives, heartbeats and session\n" +
	"timeouts of consumer groups go by the machine's, so that clients stay connected; with --liveness those who have one\n" +
	"that is shorter count as silent meanwhile, and are gone."

func view(c adminapi.Clock) env.View {
	state := "runs with the machine's"
	switch {
	case c.Kind == adminapi.ClockReal:
		state = "is the machine's"
	case c.Frozen:
		state = "stands still"
	}
	return env.View{Schema: adminapi.SchemaClock, Data: c, Fields: []env.Field{
		{Name: "now", Value: c.Now.Format(time.RFC3339Nano)}, {Name: "clock", Value: c.Kind}, {Name: "state", Value: state},
	}}
}

// newVerb makes a command that calls the API once and shows the clock as it is then.
func newVerb(e *env.Env, cmd *cobra.Command, call func(ctx context.Context, c *adminapi.Client, args []string) (adminapi.Clock, error)) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := e.PatientAdmin()
		if err != nil {
			return err
		}
		now, err := call(cmd.Context(), c, args)
		if err != nil {
			return err
		}
		return e.Print(view(now))
	}
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func newNow(e *env.Env) *cobra.Command {
	return newVerb(e, &cobra.Command{
		Use:     "now",
		Short:   "Show what time it is for the broker",
		Example: "  rmq clock now\n  rmq clock now -o json",
		Args:    env.Exactly(),
	}, func(ctx context.Context, c *adminapi.Client, _ []string) (adminapi.Clock, error) { return c.Clock(ctx) })
}

func newDue(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "due",
		Short: "Show what time will bring: what expires, is published or ends next",
		Long: "Show what time will bring, by kind, of what waits for a time of its own on the node that answers: sessions and queues that\n" +
			"end, messages and offsets that expire, wills and delayed messages that are published. What topics are to forget by their\n" +
			"retention is not among it.",
		Example: "  rmq clock due\n  rmq clock due -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			all, err := c.Due(cmd.Context())
			if err != nil {
				return err
			}
			t := env.Table{Head: []string{"IN", "WHAT", "OF", "ALL", "AT"}}
			for _, d := range all.Due {
				in := env.Duration(max(0, d.Next.Sub(all.Now).Truncate(time.Second)))
				t.Rows = append(t.Rows, []any{in.String(), cmp.Or(adminapi.DueKinds[d.Kind], d.Kind), d.Name, d.Count, d.Next})
			}
			var warnings []string
			if all.More {
				warnings = []string{"too much is due to look at all of it: what is last may be missing, and counts are too low"}
			}
			return e.Print(env.View{Schema: adminapi.SchemaDue, Data: all, Tables: []env.Table{t}, Empty: "nothing waits for its time", Warnings: warnings})
		},
	}
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func newFreeze(e *env.Env) *cobra.Command {
	return newVerb(e, &cobra.Command{
		Use:     "freeze",
		Short:   "Have the broker's time stand still",
		Long:    "Have the broker's time stand still, until it is moved, or goes on with rmq clock resume.\n\n" + about,
		Example: "  rmq clock freeze",
		Args:    env.Exactly(),
	}, func(ctx context.Context, c *adminapi.Client, _ []string) (adminapi.Clock, error) {
		return c.FreezeClock(ctx, true)
	})
}

func newResume(e *env.Env) *cobra.Command {
	return newVerb(e, &cobra.Command{
		Use:     "resume",
		Short:   "Have the broker's time go on by itself",
		Long:    "Have the broker's time go on by itself, from where it stands, as fast as the machine's.\n\n" + about,
		Example: "  rmq clock resume",
		Args:    env.Exactly(),
	}, func(ctx context.Context, c *adminapi.Client, _ []string) (adminapi.Clock, error) {
		return c.FreezeClock(ctx, false)
	})
}

const moves = "What falls due on the way happens in the order of its times, and when the command returns, all of it has: messages are in\n" +
	"their dead-letter queue, wills are published.\n\n"

func newAdvance(e *env.Env) *cobra.Command {
	var m adminapi.ClockMove
	cmd := newVerb(e, &cobra.Command{
		Use:     "advance DURATION",
		Short:   "Move the broker's time on, and wait until all that was due has happened",
		Long:    "Move the broker's time on, and wait until all that was due has happened.\n\n" + moves + about,
		Example: "  rmq clock advance 24h\n  rmq clock advance 7d\n  rmq clock advance 90s --liveness",
		Args:    env.Exactly("DURATION"),
	}, func(ctx context.Context, c *adminapi.Client, args []string) (adminapi.Clock, error) {
		var by env.Duration
		if err := by.Set(args[0]); err != nil {
			return adminapi.Clock{}, env.Failf(env.Usage, "%v", err)
		}
		m.By = time.Duration(by)
		return c.MoveClock(ctx, m)
	})
	livenessFlag(cmd, &m)
	return cmd
}

func newSet(e *env.Env) *cobra.Command {
	var m adminapi.ClockMove
	cmd := newVerb(e, &cobra.Command{
		Use:     "set TIME",
		Short:   "Move the broker's time on to a given one",
		Long:    "Move the broker's time on to a given one. It does not go back.\n\n" + moves + about,
		Example: "  rmq clock set 2030-01-01\n  rmq clock set 2030-01-01T12:00:00Z",
		Args:    env.Exactly("TIME"),
	}, func(ctx context.Context, c *adminapi.Client, args []string) (adminapi.Clock, error) {
		at, err := grammar.ParseTime(args[0])
		if err != nil {
			return adminapi.Clock{}, env.Failf(env.Usage, "%v", err)
		}
		m.To = at
		return c.MoveClock(ctx, m)
	})
	livenessFlag(cmd, &m)
	return cmd
}

func livenessFlag(cmd *cobra.Command, m *adminapi.ClockMove) {
	cmd.Flags().BoolVar(&m.Liveness, "liveness", false, "clients count as silent meanwhile, and end if they may not be for so long")
}
