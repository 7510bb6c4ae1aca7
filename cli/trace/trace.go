// Package trace holds the commands that show, while it happens, what the broker sees of its clients and
// does for them.
package trace

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/trace"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq trace`, with more verbs.
func Command(e *env.Env, more ...*cobra.Command) *cobra.Command {
	verbs := append([]*cobra.Command{newClient(e), newTopic(e), newIP(e)}, more...)
	return env.Noun("trace", "What the broker sees of clients and does for them, while it happens", verbs...)
}

func newClient(e *env.Env) *cobra.Command {
	return newVerb(e, &cobra.Command{
		Use:     "client ID",
		Short:   "Show all that a client and the broker say to each other",
		Example: "  rmq trace client dev1\n  rmq trace client dev1 -n 100 -o json",
		Args:    env.Exactly("ID"),
		ValidArgsFunction: e.Complete(func(ctx context.Context, c *adminapi.Client) ([]string, error) {
			sessions, err := c.Sessions(ctx, adminapi.Query{Limit: adminapi.ListMax})
			var out []string
			for _, s := range sessions {
				out = append(out, s.ClientID)
			}
			return out, err
		}),
	}, func(q *adminapi.TraceQuery, arg string) { q.Client = arg })
}

func newTopic(e *env.Env) *cobra.Command {
	return newVerb(e, &cobra.Command{
		Use:     "topic FILTER",
		Short:   "Show what is published under a topic filter, where it goes and who gets it",
		Example: "  rmq trace topic sensors/#\n  rmq trace topic sensors/dev1/temp --timeout 30s",
		Args:    env.Exactly("FILTER"),
	}, func(q *adminapi.TraceQuery, arg string) { q.Topic = arg })
}

func newIP(e *env.Env) *cobra.Command {
	return newVerb(e, &cobra.Command{
		Use:     "ip ADDRESS",
		Short:   "Show all that the clients of an address or a network and the broker say to each other",
		Example: "  rmq trace ip 10.1.2.3\n  rmq trace ip 10.0.0.0/8 -n 1000",
		Args:    env.Exactly("ADDRESS"),
	}, func(q *adminapi.TraceQuery, arg string) { q.IP = arg })
}

// follow is one run of a trace.
type follow struct {
	e     *env.Env
	q     adminapi.TraceQuery
	nodes []env.NodeClient

	mu      sync.Mutex
	begun   int    // nodes that see what happens from now on
	shown   int    // guarded by mu, as what follows
	dropped uint64 // that the nodes said
	last    map[uint64]uint64
	ended   string // the bound that was reached
}

func newVerb(e *env.Env, cmd *cobra.Command, what func(*adminapi.TraceQuery, string)) *cobra.Command {
	var count int64
	var timeout env.Duration
	var size env.Size
	cmd.Long = cmd.Short + ", on whichever node, until Ctrl-C or a bound: packets\n" +
		"both ways (> from the client, < to it) with their fields, where a message goes, what is dropped, and why a connection\n" +
		"ends. Payloads are shortened; of passwords, and of what proves one, the length is told. Clients of Kafka are known by\n" +
		"their client id, those of AMQP by the name of their connection; topics are written as MQTT has them.\n\n" +
		"Nobody waits for who looks: what does not get here in time is lost, and counted. -o json is one event a line."
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if count < 0 {
			return env.Failf(env.Usage, "-n %d is less than nothing", count)
		}
		f := &follow{e: e, last: make(map[uint64]uint64), q: adminapi.TraceQuery{Count: int(count), Bytes: int(size), For: time.Duration(timeout)}}
		what(&f.q, args[0])
		return f.run(cmd.Context())
	}
	cmd.Flags().Int64VarP(&count, "count", "n", 0, fmt.Sprintf("stop after so many events; 0: %d of each node", adminapi.TraceCount))
	cmd.Flags().Var(&timeout, "timeout", "stop after so long; 0: "+env.HumanDuration(adminapi.TraceFor))
	cmd.Flags().Var(&size, "bytes", "stop after so many bytes of events; 0: "+env.Bytes(adminapi.TraceBytes).String()+" of each node")
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func (f *follow) run(ctx context.Context) error {
	nodes, warnings, err := f.e.EveryNode(ctx)
	if err != nil {
		return err
	}
	f.nodes = nodes
	for _, w := range warnings {
		f.e.Say("warning: %s", w)
	}
	follow, stop := context.WithCancel(ctx)
	defer stop()
	_, lost, err := env.AskEvery(follow, nodes, func(ctx context.Context, n env.NodeClient) (struct{}, error) {
		err := n.Trace(ctx, f.q, func(l adminapi.TraceLine) error { return f.line(n.Node, &l) })
		if errors.Is(err, errEnough) {
			stop() // the others too
			err = nil
		}
		return struct{}{}, err
	})
	for _, w := range lost {
		f.e.Say("warning: %s", w)
	}
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%d events", f.shown)
	if f.dropped > 0 {
		text += fmt.Sprintf(", and %d were lost", f.dropped)
	}
	if f.ended != "" {
		text += "; the bound of " + f.ended + " is reached"
	}
	if f.e.ErrTTY || f.dropped > 0 || f.ended != "" {
		f.e.Say("%s", text)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// errEnough ends the trace at every node.
var errEnough = errors.New("enough events")

// line shows what one node tells.
func (f *follow) line(node uint64, l *adminapi.TraceLine) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *l == (adminapi.TraceLine{}) {
		if f.begun++; f.begun == len(f.nodes) {
			f.e.Say("tracing on %d %s", f.begun, map[bool]string{true: "node", false: "nodes"}[f.begun == 1])
		}
		return nil
	}
	if l.Dropped > 0 {
		f.dropped += l.Dropped - f.last[node]
		f.last[node] = l.Dropped
	}
	if l.End != "" {
		f.ended = l.End
	}
	if l.Event == nil {
		return nil
	}
	if f.q.Count > 0 && f.shown >= f.q.Count {
		return errEnough
	}
	f.shown++
	if err := f.show(l.Event); err != nil {
		return err
	}
	if f.q.Count > 0 && f.shown >= f.q.Count {
		f.ended = "count"
		return errEnough
	}
	return nil
}

func (f *follow) show(e *trace.Event) error {
	switch f.e.Format() {
	case env.FormatJSON:
		return f.e.PrintLine(e)
	case env.FormatYAML:
		return f.e.PrintDocument(e)
	case env.FormatText:
		return f.write(strings.Join([]string{
			e.At.Format(time.RFC3339Nano), fmt.Sprint(e.Node), e.Protocol, env.Clean(e.Client), e.Remote, e.What, e.Packet, env.Clean(e.Topic),
			fields(e), env.Preview(e.Payload, payloadWidth), env.Clean(e.Text),
		}, "\t") + "\n")
	}
	mark := map[string]string{trace.In: ">", trace.Out: "<"}[e.What]
	if mark == "" {
		mark = e.What
	}
	who := env.Clean(e.Client)
	if who == "" {
		who = e.Remote
	}
	parts := []string{f.e.Faint(fmt.Sprintf("%s %d %s", e.At.Format("15:04:05.000"), e.Node, who)), mark}
	for _, s := range []string{e.Packet, env.Clean(e.Topic), f.e.Faint(fields(e)), payload(e), env.Clean(e.Text)} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return f.write(strings.Join(parts, " ") + "\n")
}

func (f *follow) write(s string) error {
	_, err := f.e.Out.Write([]byte(s))
	return err
}

const payloadWidth = 80 // columns

func payload(e *trace.Event) string {
	if e.Size == 0 {
		return ""
	}
	s := env.Preview(e.Payload, payloadWidth)
	if e.Size > len(e.Payload) {
		s = strings.TrimSuffix(s, "…") + "…"
	}
	return fmt.Sprintf("%q (%d bytes)", s, e.Size)
}

func fields(e *trace.Event) string {
	var b strings.Builder
	for i, x := range e.Fields {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(env.Clean(x.Name) + "=" + env.Clean(x.Value))
	}
	return b.String()
}
