package acl

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newTest(e *env.Env) *cobra.Command {
	var s subject
	cmd := &cobra.Command{
		Use:   "test WHO ACTION RESOURCE",
		Short: "Tell whether somebody may do something, and which rule says so",
		Long: "Tell whether somebody may do something, and which rule says so. When not, the exit code is 9.\n\n" + about + "\n\n" +
			"Of a filter with wildcards it tells whether all of it is allowed, or a part.",
		Example: "  rmq acl test ann publish sensors/dev1/temp\n  rmq acl test '*' subscribe 'devices/dev1/#' --client dev1",
		Args:    env.Exactly("WHO", "ACTION", "RESOURCE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := adminapi.AccessQuestion{Client: s.client, Host: s.host, Namespace: s.namespace}
			if args[0] != everybody {
				q.User = args[0]
			}
			var err error
			if q.Action, err = acl.ParseActions(args[1]); err != nil {
				return env.Failf(env.Usage, "%v", err)
			}
			if q.Action&(q.Action-1) != 0 {
				return env.Failf(env.Usage, "%s is more than one action; ask about each", q.Action)
			}
			q.Kind, q.Name = acl.ParseResource(args[2])
			c, err := e.Admin()
			if err != nil {
				return err
			}
			v, err := c.TestAccess(cmd.Context(), q)
			if err != nil {
				return err
			}
			verdict, rule := "denied", ""
			switch {
			case v.Partly:
				verdict = "allowed in part"
			case v.Allowed:
				verdict = "allowed"
			}
			if v.Rule != nil {
				rule = v.Rule.String()
			}
			if err := e.Print(env.View{Schema: adminapi.SchemaVerdict, Data: v, Fields: []env.Field{
				{Name: "verdict", Value: verdict}, {Name: "why", Value: v.Why}, {Name: "rule", Value: rule},
			}}); err != nil {
				return err
			}
			if !v.Allowed {
				return env.Failf(env.Negative, "%s may not %s %s", env.Clean(args[0]), q.Action, env.Clean(args[2]))
			}
			return nil
		},
	}
	s.flags(cmd)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
