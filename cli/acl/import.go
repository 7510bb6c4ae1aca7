package acl

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/cli/env"
)

// importMax bounds a file of rules, in bytes; importStep is how many rules are sent at once.
const (
	importMax  = 16 << 20
	importStep = 1000
)

func newImport(e *env.Env) *cobra.Command {
	var namespace, anonymous string
	var change env.Change
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Add the rules of a Mosquitto acl_file",
		Long: "Add the rules of a Mosquitto acl_file: its user, topic and pattern lines. FILE may be - for standard input.\n\n" +
			"A line of the file that is not understood is named, and nothing is added. What is there already stays; the rules of the\nfile that are new are added to it.",
		Example: "  rmq acl import /etc/mosquitto/acl\n  rmq acl import acl.txt --dry-run",
		Args:    env.Exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := e.Input(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			rules, err := acl.FromMosquitto(io.LimitReader(in, importMax), anonymous)
			if err != nil {
				return env.Failf(env.Usage, "%s: %v", args[0], err)
			}
			for i := range rules {
				rules[i].Namespace = namespace
				rules[i] = rules[i].Canonical()
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			if change.DryRun {
				e.Say("would add %d rules", len(rules))
				return e.Print(view(rules))
			}
			changed := 0
			for left := rules; len(left) > 0; {
				n := min(len(left), importStep)
				added, err := c.PutRules(cmd.Context(), left[:n])
				if err != nil {
					return err
				}
				changed += added
				left = left[n:]
			}
			e.Say("%d rules read, %d new", len(rules), changed)
			return e.PrintMachine(view(rules))
		},
	}
	env.NamespaceFlag(cmd.Flags(), &namespace)
	cmd.Flags().StringVar(&anonymous, "anonymous", "guest", "user that lines before the first user are about")
	change.Flags(cmd.Flags(), false)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
