// Package retained holds the commands about retained messages: the last value of an
// address.
package retained

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq retained`.
func Command(e *env.Env) *cobra.Command {
	return env.Noun("retained", "Retained messages: the last value of an address", newList(e), newGet(e), newDelete(e))
}

// previewMax is how much of a value a table shows.
const previewMax = 60

func newList(e *env.Env) *cobra.Command {
	var q adminapi.Query
	cmd := &cobra.Command{
		Use:     "list [FILTER]",
		Short:   "List retained messages, all or those that match an MQTT filter",
		Example: "  rmq retained list\n  rmq retained list 'sensors/+/temp' -o json",
		Args:    env.Between(nil, "FILTER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			filter := ""
			if len(args) == 1 {
				filter = args[0]
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			messages, err := c.Retained(cmd.Context(), q, filter)
			if err != nil {
				return err
			}
			t := env.Table{Head: []string{"ADDRESS", "SINCE", "SIZE", "VALUE"}}
			for _, m := range messages {
				t.Rows = append(t.Rows, []any{m.Address, env.Ago{At: m.Time, Now: e.Now()}, env.Bytes(m.Size), env.Preview(m.Value, previewMax)})
			}
			return e.Print(env.View{Schema: adminapi.SchemaMessages, Data: messages, Tables: []env.Table{t}, Empty: "no retained messages"})
		},
	}
	env.ListFlags(cmd.Flags(), &q)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
