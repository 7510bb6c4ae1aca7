package local

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
)

// NewDown returns `rmq down`.
func NewDown(e *env.Env) *cobra.Command {
	timeout := env.Duration(closeTimeout)
	var all, force, ifRunning bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop a broker",
		Long: "Stop a broker.\n\nIt finishes what it has begun, and is gone when the command returns. --url stops one on another machine, if you\n" +
			"may; the command then returns at once.",
		Example: "  rmq down\n  rmq down --name other --timeout 5s --force\n  rmq down --all",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := e.Guard("stop a broker"); err != nil {
				return err
			}
			d := down{e, time.Duration(timeout), force}
			if e.URL != "" {
				c, err := e.Admin()
				if err != nil {
					return err
				}
				return c.Shutdown(cmd.Context())
			}
			runs := e.Runs()
			if !all {
				run, err := e.Running()
				if err != nil && ifRunning && env.Explain(err).Exit == env.Unreachable {
					return nil
				}
				if err != nil {
					return err
				}
				runs = []env.Run{run}
			}
			for _, run := range runs {
				if err := d.stop(cmd.Context(), run); err != nil {
					return err
				}
				e.Say("stopped %s (process %d)", run.Name, run.PID)
			}
			return e.PrintMachine(env.View{Schema: "rmq.runs/1", Data: runs})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "stop every broker of yours on this machine")
	cmd.Flags().BoolVar(&force, "force", false, "kill what has not ended when time is up")
	cmd.Flags().BoolVar(&ifRunning, "if-running", false, "none that runs is no failure")
	cmd.Flags().Var(&timeout, "timeout", "how long to wait for its end")
	e.BrokerFlags(cmd.Flags())
	return cmd
}

type down struct {
	e       *env.Env
	timeout time.Duration
	force   bool
}

// stop asks the broker to end and waits until it has.
func (d down) stop(ctx context.Context, run env.Run) error {
	e := *d.e
	e.URL = run.URLs.HTTP
	c, err := e.Admin()
	if err != nil {
		return err
	}
	// One that does not answer is either ending already, or not ours: a process may have
	// got the number of a broker that crashed. It is never signalled, only waited for.
	if (env.Listens(run.URLs.HTTP) || run.Control != "" && answers(run.Control)) && !env.Terminate(run.PID) {
		if err := c.Shutdown(ctx); err != nil {
			return err
		}
	}
	limit := time.NewTimer(d.timeout)
	defer limit.Stop()
	// A process that is not our child tells nobody of its end: there is only asking.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if now, ok, err := d.e.ReadRun(run.Name); err == nil && (!ok || now.PID != run.PID) {
			return nil // it took its run file away, the last thing it does
		}
		if !env.Alive(run.PID) {
			d.e.RemoveRun(run.Name, run.PID)
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit.C:
			if !d.force {
				return &env.Failure{
					Exit: env.TimedOut, What: fmt.Sprintf("process %d has not ended after %v", run.PID, d.timeout),
					Hint: "rmq down" + nameFlag(run.Name) + " --force kills it; nothing acknowledged is lost",
				}
			}
			if err := env.Kill(run.PID); err != nil && !os.IsNotExist(err) {
				return err
			}
			d.e.RemoveRun(run.Name, run.PID)
			return nil
		}
	}
}
