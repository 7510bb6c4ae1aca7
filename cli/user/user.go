// Package user holds the commands about users: one identity for every protocol.
package user

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq user`.
func Command(e *env.Env) *cobra.Command {
	return env.Noun("user", "Users: one identity for every protocol",
		newList(e), newGet(e), newCreate(e), newAlter(e), newDelete(e), newImport(e))
}

func names(ctx context.Context, c *adminapi.Client) ([]string, error) {
	users, err := c.Users(ctx)
	var out []string
	for _, u := range users {
		out = append(out, u.Name)
	}
	return out, err
}

func view(u adminapi.User) env.View {
	return env.View{Schema: adminapi.SchemaUser, Data: u, Fields: []env.Field{
		{Name: "user", Value: u.Name},
		{Name: "tags", Value: strings.Join(u.Tags, " ")},
	}}
}
