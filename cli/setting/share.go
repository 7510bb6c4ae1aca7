package setting

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/cli/env"
)

// Share returns `rmq share`.
func Share(e *env.Env) *cobra.Command {
	n := &noun{
		kind: setting.KindShare, name: "share",
		short:   "List what is set for the groups of shared subscriptions",
		empty:   "nothing is set: members get messages in turn",
		head:    []string{"GROUP", "STRATEGY"},
		deletes: "Let groups of shared subscriptions go by what is set for every group",
		example: "workers",
		row: func(s *setting.Setting) ([]any, error) {
			var share setting.Share
			err := s.Read(&share)
			return []any{share.Strategy}, err
		},
	}
	return env.Noun("share", "Shared subscriptions of MQTT: which member gets a message", n.list(e), shareSet(e, n), n.delete(e))
}

func shareSet(e *env.Env, n *noun) *cobra.Command {
	var namespace string
	var change env.Change
	cmd := &cobra.Command{
		Use:   "set GROUP STRATEGY",
		Short: "Set how the members of a group of shared subscriptions are chosen",
		Long: "Set how the members of a group of shared subscriptions are chosen.\n\nGROUP is what stands behind $share/, or + for every group that has no strategy of its own. STRATEGY is\n" +
			"  round-robin     in turn; what counts where nothing is set\n" +
			"  sticky          one gets all, until it leaves\n" +
			"  least-inflight  who has the fewest messages to acknowledge\n" +
			"  hash-client     all messages of a publisher to one member, in order\n" +
			"  hash-topic      all messages of a topic to one member, in order\n\n" +
			"It counts at once, on every node.",
		Example: "  rmq share set workers hash-client\n  rmq share set + least-inflight",
		Args:    env.Exactly("GROUP", "STRATEGY"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, typed string) (out []string, _ cobra.ShellCompDirective) {
			if len(args) == 1 {
				for _, s := range setting.Strategies() {
					if strings.HasPrefix(s, typed) {
						out = append(out, s)
					}
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return n.put(cmd, e, &change, namespace, args[0], setting.Share{Strategy: args[1]})
		},
	}
	env.NamespaceFlag(cmd.Flags(), &namespace)
	change.Flags(cmd.Flags(), false)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
