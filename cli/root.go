// Package cli is the command line of rmq: it puts the commands together, and says what
// holds for all of them.
//
// Commands live in packages by noun (cli/topic, cli/queue…), those that run a broker in
// cli/local, those that send and read messages in cli/message. What they share is in
// cli/env. The command tree is built anew by New, so that tests have as many as they
// like; the documentation in docs/cli and the completions in completions/ are generated
// from it (generate.go) and compared with it by a test.
package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/acl"
	"github.com/robustmq/rmq/cli/ban"
	"github.com/robustmq/rmq/cli/bench"
	"github.com/robustmq/rmq/cli/binding"
	"github.com/robustmq/rmq/cli/bridge"
	"github.com/robustmq/rmq/cli/chaos"
	"github.com/robustmq/rmq/cli/clock"
	"github.com/robustmq/rmq/cli/config"
	"github.com/robustmq/rmq/cli/conform"
	clicontext "github.com/robustmq/rmq/cli/context"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/exchange"
	"github.com/robustmq/rmq/cli/fixture"
	"github.com/robustmq/rmq/cli/group"
	"github.com/robustmq/rmq/cli/local"
	"github.com/robustmq/rmq/cli/message"
	"github.com/robustmq/rmq/cli/namespace"
	"github.com/robustmq/rmq/cli/queue"
	"github.com/robustmq/rmq/cli/retained"
	"github.com/robustmq/rmq/cli/sendraw"
	"github.com/robustmq/rmq/cli/session"
	"github.com/robustmq/rmq/cli/setting"
	"github.com/robustmq/rmq/cli/simulate"
	"github.com/robustmq/rmq/cli/topic"
	"github.com/robustmq/rmq/cli/trace"
	"github.com/robustmq/rmq/cli/tui"
	"github.com/robustmq/rmq/cli/user"
	"github.com/robustmq/rmq/cli/wait"
)

// Groups of commands in the help.
const (
	groupBroker   = "broker"
	groupMessages = "messages"
	groupThings   = "things"
	groupRest     = "rest"
)

// New returns the command tree. open starts a broker for `rmq up`.
func New(e *env.Env, open local.Open) *cobra.Command {
	root := env.Noun("rmq", "A broker for MQTT, Kafka and AMQP, and the tools around it")
	root.Long = "rmq is a broker that speaks MQTT, Kafka and AMQP over one kernel, and the tools around it.\n\n" +
		"Results go to standard output, everything else to standard error. A terminal gets tables, a pipe gets\n" +
		"tab-separated text, and -o json works on every command. Every flag can be set in rmq.yaml or as RMQ_<FLAG>."
	root.Example = "  rmq up\n  rmq produce mqtt:sensors/dev1/temp 21.5\n  rmq consume kafka:sensors --from start -n 1"
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.Err)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(env.FlagError)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := e.Configure(cmd); err != nil {
			return err
		}
		return e.PreparePick(cmd.Context())
	}

	f := root.PersistentFlags()
	f.VarP(&env.Choice{Value: &e.Output, Of: env.Formats}, "output", "o", "how to print (default: table on a terminal, text in a pipe)")
	e.PickFlags(f)
	f.BoolVarP(&e.Quiet, "quiet", "q", false, "say nothing but results and failures")
	e.Color = "auto"
	f.Var(&env.Choice{Value: &e.Color, Of: []string{"auto", "always", "never"}}, "color", "when to colour; NO_COLOR and CLICOLOR_FORCE count too")

	f.StringVar(&e.Context, "context", "", "the context to use: named settings for one broker (rmq context)")
	f.BoolVar(&e.Protected, env.KeyProtected, false, "change nothing on the broker; contexts that are protected set it")
	f.Var(&env.Choice{Value: &e.MarkColor, Of: env.MarkColors}, env.KeyMark, "what the name of the context is painted with")

	root.AddGroup(
		&cobra.Group{ID: groupBroker, Title: "Run a broker"},
		&cobra.Group{ID: groupMessages, Title: "Send and read messages, on any broker"},
		&cobra.Group{ID: groupThings, Title: "See and change what a broker holds"},
		&cobra.Group{ID: groupRest, Title: "And"},
	)
	add := func(id string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = id
		}
		root.AddCommand(cmds...)
	}
	add(groupBroker,
		local.NewUp(e, open),
		local.NewDown(e),
		local.NewStatus(e),
		local.NewNode(e),
		tui.Command(e, func() tui.Tell { return local.Teller(e) }, reopen(e)),
		local.NewEnv(e),
		local.NewDoctor(e),
		local.NewLog(e),
		local.NewLogs(e),
		wait.Command(e),
		clock.Command(e),
		local.NewTest(e, open),
		local.NewSnapshot(e),
	)
	add(groupMessages,
		message.NewProduce(e),
		message.NewConsume(e),
		message.NewRequest(e),
		message.NewCopy(e),
		message.NewTail(e),
		message.NewGrep(e),
		message.NewRecord(e),
		message.NewReplay(e),
		message.NewDLQ(e),
		fixture.Command(e),
		simulate.Command(e),
		bench.Command(e),
		sendraw.Command(e),
	)
	add(groupThings,
		namespace.Command(e),
		topic.Command(e),
		queue.Command(e),
		exchange.Command(e),
		binding.Command(e),
		bridge.Command(e),
		session.Command(e),
		session.Subscriptions(e),
		retained.Command(e),
		group.Command(e, message.NewGroupSeek(e, group.Names)),
		user.Command(e),
		acl.Command(e),
		setting.Share(e),
		setting.Rewrite(e),
		setting.Subscription(e),
		ban.Command(e),
		setting.Quota(e),
		trace.Command(e, message.NewFollow(e)),
		trace.NewExplain(e),
		chaos.Command(e),
	)
	add(groupRest,
		conform.Command(e),
		clicontext.Command(e, newForDocs),
		config.Command(e, newConfigShow(e)),
		newCheat(e),
		newCompletion(e),
		newDocs(e),
		newVersion(e),
		newExitCodes(),
	)
	root.SetHelpCommand(newHelp(e))
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if env.Misnamed(cmd) == nil { // Main says so otherwise
			help(cmd, args)
		}
	})
	root.SetHelpCommandGroupID(groupRest)
	return root
}

// reopen is how `rmq tui` has a snapshot or a bundle opened.
func reopen(e *env.Env) tui.Reopen {
	return func(ctx context.Context, file string) (string, map[string]string, func() error, error) {
		return local.Reopen(ctx, e, file)
	}
}

// Main runs one command line and returns its exit code.
func Main(ctx context.Context, e *env.Env, open local.Open, args []string) int {
	root := New(e, open)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = env.Misnamed(cmd)
	}
	// Whoever is stopped has told what was done until then, and was not done.
	if ctx.Err() != nil && (err == nil && cmd.Annotations[env.EndsStopped] == "" || errors.Is(err, context.Canceled)) {
		err = env.ErrInterrupted
	}
	return e.Fail(env.LastHint(cmd, err))
}
