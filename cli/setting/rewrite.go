package setting

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/cli/env"
)

// Rewrite returns `rmq rewrite`.
func Rewrite(e *env.Env) *cobra.Command {
	n := &noun{
		kind: setting.KindRewrite, name: "rewrite",
		short:   "List the rules by which topics of MQTT are rewritten, in the order in which they are asked",
		empty:   "no rules: topics stay as clients name them",
		head:    []string{"NAME", "ON", "FILTER", "REGEX", "TO"},
		deletes: "Delete rules by which topics are rewritten",
		example: "10-old",
		row: func(s *setting.Setting) ([]any, error) {
			var r setting.Rewrite
			err := s.Read(&r)
			return []any{string(r.On), r.Filter, r.Regex, r.To}, err
		},
	}
	return env.Noun("rewrite", "Topics of MQTT that are put in place of those that clients name", n.list(e), rewriteSet(e, n), n.delete(e))
}

func rewriteSet(e *env.Env, n *noun) *cobra.Command {
	var namespace string
	var change env.Change
	on := string(setting.OnAll)
	cmd := &cobra.Command{
		Use:   "set NAME FILTER REGEX TO",
		Short: "Set a rule by which topics of MQTT are rewritten",
		Long: "Set a rule by which topics of MQTT are rewritten.\n\nRules are asked in the order of their names. The first whose FILTER matches a topic decides: where REGEX (RE2) matches\n" +
			"it too, TO is put in its place, and otherwise it stays. In TO, $1 to $9 stand for the groups of REGEX, %c or\n${clientid} for the client identifier, %u or ${username} for the user name.\n\n" +
			"The rules of access are asked about what comes of it. It counts at once, on every node.",
		Example: "  rmq rewrite set 10-old 'old/#' '^old/(.+)$' 'new/$1'\n  rmq rewrite set 20-own 'mine/+' '^mine/(.+)$' 'devices/%c/$1' --on publish",
		Args:    env.Exactly("NAME", "FILTER", "REGEX", "TO"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return n.put(cmd, e, &change, namespace, args[0], setting.Rewrite{On: setting.Use(on), Filter: args[1], Regex: args[2], To: args[3]})
		},
	}
	cmd.Flags().Var(&env.Choice{Value: &on, Of: []string{"all", "publish", "subscribe"}}, "on", "which topics: of what is published (wills too), of subscriptions, or all")
	env.NamespaceFlag(cmd.Flags(), &namespace)
	change.Flags(cmd.Flags(), false)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
