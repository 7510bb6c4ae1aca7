// Package binding holds the commands about AMQP bindings: which messages lead from an
// exchange to a queue or another exchange.
package binding

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq binding`.
func Command(e *env.Env) *cobra.Command {
	return env.Noun("binding", "AMQP bindings: which messages an exchange passes on, and where",
		newList(e), newGet(e), newCreate(e), newDelete(e))
}

func table(bindings []adminapi.Binding) env.Table {
	t := env.Table{Head: []string{"EXCHANGE", "KEY", "TO", "DESTINATION", "ARGUMENTS"}}
	for _, b := range bindings {
		var args []string
		for _, a := range b.Arguments {
			args = append(args, a.Name+"="+a.Value)
		}
		source := b.Source
		if source == "" {
			source = env.DefaultExchange
		}
		t.Rows = append(t.Rows, []any{source, b.Key, env.DestinationKind(b), b.Destination, strings.Join(args, " ")})
	}
	return t
}

// flags are what makes a binding, for create and delete.
type flags struct {
	binding   adminapi.Binding
	arguments []string
	change    env.Change
}

func (f *flags) add(e *env.Env, cmd *cobra.Command, ask bool) {
	cmd.Flags().StringVarP(&f.binding.Key, "key", "k", "", "binding key")
	cmd.Flags().BoolVar(&f.binding.ToExchange, "to-exchange", false, "DESTINATION is an exchange, not a queue")
	cmd.Flags().StringArrayVar(&f.arguments, "argument", nil, "AMQP argument, as name=value or name=type:value; repeatable")
	f.change.Flags(cmd.Flags(), ask)
	env.NamespaceFlag(cmd.Flags(), &f.binding.Namespace)
	e.BrokerFlags(cmd.Flags())
}

func (f *flags) read(args []string) (adminapi.Binding, error) {
	b := f.binding
	b.Source, b.Destination = args[0], args[1]
	var err error
	b.Arguments, err = env.Arguments(f.arguments)
	return b, err
}
