package group

import (
	"cmp"
	"slices"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newList(e *env.Env) *cobra.Command {
	var q adminapi.Query
	var maxLag int64
	sort := "name"
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List groups with their state, members and lag",
		Example: "  rmq group list\n  rmq group list --sort lag -o json\n  rmq group list --max-lag 1000",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			groups, err := c.Groups(cmd.Context(), q)
			if err != nil {
				return err
			}
			slices.SortStableFunc(groups, func(a, b adminapi.Group) int {
				switch sort {
				case "lag":
					return cmp.Compare(b.Lag, a.Lag)
				case "state":
					return cmp.Compare(a.State, b.State)
				}
				return cmp.Compare(a.ID, b.ID)
			})
			t := env.Table{Head: []string{"GROUP", "STATE", "MEMBERS", "LAG", "TYPE"}}
			for _, g := range groups {
				t.Rows = append(t.Rows, []any{g.ID, g.State, len(g.Members), g.Lag, g.Type})
			}
			if err := e.Print(env.View{Schema: adminapi.SchemaGroups, Data: groups, Tables: []env.Table{t}, Empty: "no groups"}); err != nil {
				return err
			}
			return lagVerdict(maxLag, groups...)
		},
	}
	cmd.Flags().Var(&env.Choice{Value: &sort, Of: []string{"name", "lag", "state"}}, "sort", "order; lag puts the largest first")
	cmd.Flags().Int64Var(&maxLag, "max-lag", -1, "exit with 9 when a group lags by more")
	env.ListFlags(cmd.Flags(), &q)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
