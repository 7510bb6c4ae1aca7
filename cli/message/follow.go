package message

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/trace"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

const (
	schemaWay = "rmq.way/1"
	// followIdle is how long nothing is to happen to a message before it is shown: acknowledgements take
	// as long as clients do.
	followIdle = time.Second
	// followMost bounds the steps of one message.
	followMost = 10_000
)

// follow is one run of `rmq trace message`.
type follow struct {
	connection
	namespace string
	next      bool
	qos       int
	headers   []string
	idle      env.Duration
	timeout   env.Duration

	mark string

	mu    sync.Mutex
	steps []step
	more  chan struct{} // capacity 1: something happened
	lost  uint64
}

// step is one thing that happened to the message.
type step struct {
	trace.Event
	After float64 `json:"after_seconds"` // since the first
}

// way is what happened to a message, all of it.
type way struct {
	Mark    string                `json:"mark,omitempty"`
	Target  string                `json:"target"`
	Address string                `json:"address"`
	Explain *adminapi.Explanation `json:"explain,omitempty"`
	Receipt *link.Receipt         `json:"receipt,omitempty"`
	Steps   []step                `json:"steps"`
	Lost    uint64                `json:"lost,omitempty"` // steps that were not seen, for there were too many
}

// NewFollow returns `rmq trace message`.
func NewFollow(e *env.Env) *cobra.Command {
	w := &follow{connection: connection{e: e}, more: make(chan struct{}, 1)}
	cmd := &cobra.Command{
		Use:   "message TARGET [VALUE]",
		Short: "Publish one message and show its whole way: in, where it goes and why, where it rests, to whom and when",
		Long: "Publish one message, which really goes to whoever wants it, and show its whole way through the broker, across protocols\n" +
			"and nodes: how it came, where it goes and by which filter or bindings, where it rests (shard, entry, offset), each\n" +
			"delivery and each acknowledgement, with times since it came. It is marked by a header (MQTT: a user property),\n" +
			"x-rmq-trace, by which it is known wherever it goes. It is over when nothing has happened to it for --idle.\n\n" +
			"With --next nothing is published: the next message that somebody publishes to TARGET is followed, by where it rests.\n\n" + targetHelp,
		Example: "  rmq trace message mqtt:sensors/dev1/temp 21.5\n" +
			"  rmq trace message amqp:work/now '{\"id\":7}' -o json\n" +
			"  rmq trace message kafka:orders --next --timeout 1m",
		Args:              env.Between([]string{"TARGET"}, "VALUE"),
		ValidArgsFunction: w.completeTarget,
		RunE:              func(cmd *cobra.Command, args []string) error { return w.run(cmd.Context(), args) },
	}
	w.timeout, w.idle = env.Duration(30*time.Second), env.Duration(followIdle)
	f := cmd.Flags()
	env.NamespaceFlag(f, &w.namespace)
	f.BoolVar(&w.next, "next", false, "publish nothing: follow the next message that comes")
	f.IntVar(&w.qos, "qos", 1, "MQTT QoS; over AMQP 0 is transient, else persistent")
	f.StringArrayVarP(&w.headers, "header", "H", nil, "header (MQTT: user property), as name=value; repeatable")
	f.Var(&w.idle, "idle", "it is over when nothing has happened for so long")
	f.Var(&w.timeout, "timeout", "how long to follow it at most, and to wait for the next one")
	w.flags(f)
	return cmd
}

func (w *follow) run(ctx context.Context, args []string) error {
	if w.qos < 0 || w.qos > 2 {
		return env.Failf(env.Usage, "--qos %d is none of 0, 1, 2", w.qos)
	}
	if w.next && len(args) == 2 {
		return env.Failf(env.Usage, "--next publishes nothing, and %q is a value", args[1])
	}
	t, o, err := w.target(ctx, args[0])
	if err != nil {
		return err
	}
	if t.Broker != "" {
		return env.Failf(env.Usage, "%s is a broker elsewhere: only one that --name or --url means can be looked into", t)
	}
	admin, err := w.e.Admin()
	if err != nil {
		return err
	}
	q := adminapi.ExplainQuestion{Namespace: w.namespace, Protocol: t.Protocol, Topic: t.Topic, Exchange: t.Exchange, Key: t.Key, QoS: uint8(w.qos), Size: 1}
	if t.Queue != "" {
		q.Key = t.Queue
	}
	m, err := w.message(args, &q)
	if err != nil {
		return err
	}
	explained, err := admin.Explain(ctx, q)
	if err != nil {
		return err
	}
	out := &way{Target: t.String(), Address: explained.Address, Explain: &explained}
	limited := ctx
	if w.timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, time.Duration(w.timeout))
		defer cancel()
	}
	stop, err := w.look(limited, explained.Address)
	if err != nil {
		return err
	}
	defer stop()
	if !w.next {
		if out.Receipt, err = w.publish(limited, t, o, m); err != nil {
			return w.explain(ctx, t, err)
		}
	}
	err = w.wait(limited)
	stop()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w.collect(out)
	if err == nil && len(out.Steps) == 0 {
		err = env.Failf(env.TimedOut, "nothing was seen of it within %v", time.Duration(w.timeout))
	}
	if len(out.Steps) == 0 {
		return err
	}
	return w.e.Print(wayView(out))
}

// message is what is published, marked.
func (w *follow) message(args []string, q *adminapi.ExplainQuestion) (*link.Message, error) {
	qos := uint8(w.qos)
	m := &link.Message{QoS: &qos, Value: []byte{}}
	if len(args) == 2 {
		m.Value = []byte(args[1])
	}
	m.Size = len(m.Value)
	if !w.next {
		w.mark = strings.ToLower(rand.Text()[:16])
		m.Headers = append(m.Headers, link.Header{Name: trace.MarkHeader, Value: []byte(w.mark)})
	}
	for _, s := range w.headers {
		name, value, err := env.Pair(s)
		if err != nil {
			return nil, env.Failf(env.Usage, "--header: %v", err)
		}
		m.Headers = append(m.Headers, link.Header{Name: name, Value: []byte(value)})
		if q.Headers == nil {
			q.Headers = map[string]string{}
		}
		q.Headers[name] = value
	}
	return m, nil
}

func (w *follow) publish(ctx context.Context, t link.Target, o link.Options, m *link.Message) (*link.Receipt, error) {
	p, err := link.NewProducer(ctx, t, o)
	if err != nil {
		return nil, err
	}
	type answer struct {
		r   link.Receipt
		err error
	}
	answers := make(chan answer, 1)
	err = p.Send(ctx, m, func(r link.Receipt, err error) { answers <- answer{r, err} })
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closingPatience)
	defer cancel()
	if err = errors.Join(err, p.Close(closing)); err != nil {
		return nil, err
	}
	a := <-answers
	return &a.r, a.err
}

// look begins to trace on every node, and returns when all of them do: by the mark, and by the address, for
// what does not carry it.
func (w *follow) look(ctx context.Context, address string) (stop func(), err error) {
	nodes, warnings, err := w.e.EveryNode(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range warnings {
		w.e.Say("warning: %s", s)
	}
	queries := []adminapi.TraceQuery{{Topic: address}}
	if w.mark != "" {
		queries = append(queries, adminapi.TraceQuery{Mark: w.mark})
	}
	following, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	begun := make(chan error, len(nodes)*len(queries))
	for _, n := range nodes {
		for _, q := range queries {
			all.Go(func() {
				first := true
				err := n.Trace(following, q, func(l adminapi.TraceLine) error {
					if first {
						first = false
						begun <- nil
						return nil
					}
					w.saw(&l)
					return nil
				})
				if first {
					begun <- cmp.Or(err, following.Err())
				}
			})
		}
	}
	stop = func() { cancel(); all.Wait() }
	for range cap(begun) {
		if err := <-begun; err != nil {
			stop()
			return nil, err
		}
	}
	return stop, nil
}

func (w *follow) saw(l *adminapi.TraceLine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = max(w.lost, l.Dropped)
	if l.Event == nil {
		return
	}
	if len(w.steps) == followMost {
		w.lost++
		return
	}
	w.steps = append(w.steps, step{Event: *l.Event})
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// wait returns when nothing has happened for a while, once something has; that ctx has ended is no failure.
func (w *follow) wait(ctx context.Context) error {
	for seen := 0; ; {
		w.mu.Lock()
		mine := len(mineOf(w.steps, w.mark))
		w.mu.Unlock()
		var quiet <-chan time.Time
		if mine > 0 {
			quiet = time.After(time.Duration(w.idle))
		}
		if mine > seen {
			seen = mine
		}
		select {
		case <-w.more:
		case <-quiet:
			return nil
		case <-ctx.Done():
			if mine > 0 {
				return nil
			}
			return env.Failf(env.TimedOut, "no message came within %v", time.Duration(w.timeout))
		}
	}
}

// mineOf picks the steps of one message: of the marked one, or of the first that came in; and what is done
// where it rests.
func mineOf(all []step, mark string) []step {
	number := ""
	places := map[trace.Place]bool{}
	place := func(e *trace.Event) trace.Place {
		return trace.Place{Shard: e.Place.Shard, Log: e.Place.Log, Offset: e.Place.Offset}
	}
	client, from := "", -1
	for i := range all {
		e := &all[i].Event
		if mark == "" && e.What == trace.In && (e.Message != "" || e.Packet == "Produce") && from < 0 {
			number, client, from = e.Message, e.Client, i
		}
		mine := mark != "" && e.Mark == mark || number != "" && e.Message == number ||
			mark == "" && from >= 0 && number == "" && e.What == trace.Log && e.Client == client
		if mine && e.Place != nil && e.What == trace.Log {
			places[place(e)] = true
		}
	}
	var out []step
	seen := map[string]bool{}
	for i := range all {
		e := &all[i].Event
		mine := mark != "" && e.Mark == mark || number != "" && e.Message == number || i == from || e.Place != nil && e.Place.Shard != 0 && places[place(e)]
		if e.What == trace.Ack && e.Place != nil && e.Place.Shard == 0 { // a group's commit: of all below it
			for p := range places {
				mine = mine || p.Offset < e.Place.Offset && ofPartition(all, p, e.Place)
			}
		}
		if !mine {
			continue
		}
		key := fmt.Sprint(e.At.UnixNano(), e.Node, e.Client, e.What, e.Packet, e.Remote, e.Fields)
		if seen[key] { // told by both queries
			continue
		}
		seen[key] = true
		out = append(out, all[i])
	}
	slices.SortStableFunc(out, func(a, b step) int { return a.At.Compare(b.At) })
	return out
}

// ofPartition tells whether a place is in the partition of which a group has committed an offset.
func ofPartition(all []step, p trace.Place, commit *trace.Place) bool {
	return slices.ContainsFunc(all, func(s step) bool {
		x := s.Place
		return x != nil && s.What == trace.Log && x.Shard == p.Shard && x.Log == p.Log && x.Offset == p.Offset && x.Stream == commit.Stream && x.Partition == commit.Partition
	})
}

func (w *follow) collect(out *way) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out.Mark, out.Lost = w.mark, w.lost
	out.Steps = mineOf(w.steps, w.mark)
	for i := range out.Steps {
		out.Steps[i].After = out.Steps[i].At.Sub(out.Steps[0].At).Seconds()
	}
}

func wayView(out *way) env.View {
	v := env.View{
		Schema: schemaWay, Data: out,
		Fields: []env.Field{{Name: "target", Value: out.Target}, {Name: "address", Value: out.Address}},
		Tables: []env.Table{{Title: "step", Head: []string{"AFTER", "NODE", "PROTOCOL", "CLIENT", "STEP", "WHAT"}}},
	}
	if out.Lost > 0 {
		v.Warnings = append(v.Warnings, fmt.Sprintf("%d steps were not seen: there were too many", out.Lost))
	}
	for i := range out.Steps {
		s := &out.Steps[i]
		v.Tables[0].Rows = append(v.Tables[0].Rows, []any{
			"+" + (time.Duration(s.After * float64(time.Second))).Round(time.Microsecond).String(), s.Node, s.Protocol, cmp.Or(s.Client, s.Remote), s.What, stepText(s),
		})
	}
	return v
}

// stepText is a step in words.
func stepText(s *step) string {
	var parts []string
	if s.Packet != "" {
		parts = append(parts, s.Packet)
	}
	if s.Topic != "" {
		parts = append(parts, s.Topic)
	}
	for _, f := range s.Fields {
		if f.Value != trace.MarkHeader+"="+s.Mark {
			parts = append(parts, f.Name+"="+f.Value)
		}
	}
	if p := s.Place; p != nil {
		where := fmt.Sprintf("offset %d of the bodies of shard %d", p.Offset, p.Shard)
		if p.Stream != "" {
			where = fmt.Sprintf("offset %d of %s/%d", p.Offset, p.Stream, p.Partition)
			if p.Shard != 0 {
				where += fmt.Sprintf(", shard %d", p.Shard)
			}
		}
		if p.Entry != 0 {
			where += fmt.Sprintf(", entry %d", p.Entry)
		}
		parts = append(parts, "at "+where)
	}
	if s.Text != "" {
		parts = append(parts, s.Text)
	}
	return strings.Join(parts, "; ")
}
