package env

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
)

// The verbs that every noun has in the same form.

// ListFlags adds the flags of a list.
func ListFlags(fs *pflag.FlagSet, q *adminapi.Query) {
	NamespaceFlag(fs, &q.Namespace)
	fs.StringVar(&q.Prefix, "prefix", "", "only names that begin so")
	fs.IntVar(&q.Limit, "limit", adminapi.ListMax, "at most that many")
}

// NamespaceFlag adds --namespace.
func NamespaceFlag(fs *pflag.FlagSet, namespace *string) {
	fs.StringVar(namespace, "namespace", adminapi.DefaultNamespace, "namespace (AMQP: virtual host)")
}

// DurabilityHelp says what the durabilities are.
const DurabilityHelp = "A durability is what an acknowledgement waits for: sync, the device, and nothing is lost; async, the operating\n" +
	"system, and the last second may be lost with the machine; memory, nothing, and all of it ends with the broker."

// DurabilityFlag adds --durability.
func DurabilityFlag(fs *pflag.FlagSet, value *string, usage string) {
	fs.Var(&Choice{Value: value, Of: []string{"sync", "async", "memory"}}, "durability", "what acknowledgements wait for, "+usage)
}

// Ref reads a name that may say whose spelling it is in: "kafka:orders.eu".
func Ref(namespace, arg string) adminapi.Ref {
	r := adminapi.Ref{Namespace: namespace, Name: arg}
	for _, spelling := range []string{"mqtt", "kafka", "amqp"} {
		if name, ok := strings.CutPrefix(arg, spelling+":"); ok {
			r.Name, r.Spelling = name, spelling
		}
	}
	return r
}

// Names lists the names of one kind of thing, to complete and to correct what is typed.
type Names func(ctx context.Context, c *adminapi.Client) ([]string, error)

// List returns the names as they can be had: none when the broker does not answer.
func (n Names) List(ctx context.Context, c *adminapi.Client) []string {
	names, err := n(ctx, c)
	if err != nil {
		return nil // a missing suggestion is no failure of its own
	}
	return names
}

// Complete completes arguments from a running broker.
func (e *Env) Complete(names Names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		c, err := e.Admin()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, n := range names.List(cmd.Context(), c) {
			if strings.HasPrefix(n, typed) {
				out = append(out, n)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// PrintMachine prints the result of a change for those who asked for one; a person is
// told nothing when all went well.
func (e *Env) PrintMachine(v View) error {
	if e.Output == "" && !e.Picks() {
		return nil
	}
	return e.Print(v)
}

// Exists tells whether err says that the thing is there already.
func Exists(err error) bool {
	a, ok := errors.AsType[*adminapi.Error](err)
	return ok && a.Code == adminapi.Code(fault.Exists)
}

// Missing tells whether err says that the thing is not there.
func Missing(err error) bool {
	a, ok := errors.AsType[*adminapi.Error](err)
	return ok && a.Category == adminapi.CategoryNotFound
}

// HintExists gives an error that the thing is there already a way out.
func HintExists(err error, hint string) error {
	if f := Explain(err); f != nil && f.Exit == Conflict {
		return WithHint(err, "%s", hint)
	}
	return err
}

// SortedKeys returns the keys of a map in order.
func SortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Change is the flags of a command that changes something.
type Change struct {
	DryRun bool
	Yes    bool
}

// Flags adds them; yes only where the change cannot be taken back.
func (c *Change) Flags(fs *pflag.FlagSet, yes bool) {
	fs.BoolVar(&c.DryRun, "dry-run", false, "say what would be done, and do nothing")
	if yes {
		fs.BoolVarP(&c.Yes, "yes", "y", false, "do not ask; only a terminal is asked")
	}
}

// Confirm asks before what cannot be taken back. A pipe is not asked: whoever wrote the
// script has decided.
func (e *Env) Confirm(c Change, what string) error {
	if c.Yes || c.DryRun || !e.InTTY || !e.ErrTTY {
		return nil
	}
	if mark := e.Mark(e.ErrTTY); mark != "" {
		what += " (" + mark + ")"
	}
	fmt.Fprintf(e.Err, "%s? [y/N] ", what)
	answer, _ := bufio.NewReader(e.In).ReadString('\n') // no answer is no
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return Failf(Failed, "not done")
}

// Done is what became of one named thing.
type Done struct {
	Name     string          `json:"name"`
	Done     bool            `json:"done"`
	DryRun   bool            `json:"dry_run,omitempty"`
	Messages *int64          `json:"messages,omitempty"`
	Error    *adminapi.Error `json:"error,omitempty"`
}

// Removal is a verb that takes things away by name.
type Removal struct {
	Verb, Noun string // "delete", "topic"
	Short      string
	Example    string
	Flags      func(*pflag.FlagSet)
	Names      Names
	// Find fails when the thing is not there; nil: dry runs find everything.
	Find func(ctx context.Context, c *adminapi.Client, name string) error
	// Remove takes it away; it tells how many messages went, where that means something.
	Remove func(ctx context.Context, c *adminapi.Client, name string) (*int64, error)
}

// RemovalCommand makes the command of a removal. Each name is tried; when some
// succeed and some do not, the exit code is Partly.
func (e *Env) RemovalCommand(r Removal) *cobra.Command {
	var change Change
	var ifExists bool
	cmd := &cobra.Command{
		Use:               r.Verb + " " + strings.ToUpper(r.Noun) + "...",
		Short:             r.Short,
		Example:           r.Example,
		Args:              AtLeast(strings.ToUpper(r.Noun)),
		ValidArgsFunction: e.Complete(r.Names),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			if err := e.Confirm(change, fmt.Sprintf("%s %s %s", r.Verb, r.Noun, strings.Join(args, " "))); err != nil {
				return err
			}
			return e.each(cmd, r, c, args, change, ifExists)
		},
	}
	change.Flags(cmd.Flags(), true)
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "one that does not exist is no failure")
	if r.Flags != nil {
		r.Flags(cmd.Flags())
	}
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func (e *Env) each(cmd *cobra.Command, r Removal, c *adminapi.Client, names []string, change Change, ifExists bool) error {
	ctx := cmd.Context()
	view := View{Schema: "rmq.changes/1", Tables: []Table{{Head: []string{strings.ToUpper(r.Noun), "DONE"}}}}
	var done []Done
	var failed []error
	for _, name := range names {
		d := Done{Name: name, DryRun: change.DryRun}
		var err error
		switch {
		case !change.DryRun:
			d.Messages, err = r.Remove(ctx, c, name)
		case r.Find != nil:
			err = r.Find(ctx, c, name)
		}
		if ifExists && Missing(err) {
			err = nil
		} else {
			d.Done = err == nil && !change.DryRun
		}
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			err = NamedNotFound(err, cmd.CommandPath(), name, func() []string { return r.Names.List(ctx, c) })
			d.Error = Explain(err).Wire()
			failed = append(failed, err)
		}
		done = append(done, d)
		view.Tables[0].Rows = append(view.Tables[0].Rows, []any{name, d.Done})
		if change.DryRun && err == nil {
			e.Say("would %s %s %s", r.Verb, r.Noun, Clean(name))
		}
	}
	view.Data = done
	if err := e.PrintMachine(view); err != nil {
		return err
	}
	switch {
	case len(failed) == 0:
		return nil
	case len(names) == 1:
		return failed[0]
	}
	for _, err := range failed {
		e.Say("%s", Clean(Explain(err).What))
	}
	exit := Partly
	if len(failed) == len(names) {
		exit = Explain(failed[0]).Exit
	}
	return Failf(exit, "%d of %d not done", len(failed), len(names))
}
