package message

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/filter"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

// Schemas of what the commands about dead letters print.
const (
	schemaDead      = "rmq.dead-letters/1"
	schemaLetters   = "rmq.letters/1"
	schemaRedriven  = "rmq.redriven/1"
	lettersShown    = 20 // when -n does not say
	failuresShown   = 10 // of those that could not be sent back
	preview         = 60 // columns of a value
	redriveGroup    = "rmq-redrive"
	closingPatience = time.Minute
)

const dlqHelp = `Dead letters are what nobody could take. They are in queues that an x-dead-letter-exchange leads to, and in
topics that are called so by custom: orders.DLT, orders-dlt (Spring), orders.dlq (Kafka Connect). Where they come from
is read from x-death, kafka_dlt-… and __connect.errors.… headers.

TARGET is amqp:queue:NAME or kafka:TOPIC on this broker, or the same after a host, for any broker:
amqp://user@host/queue:NAME, kafka://host/TOPIC.`

// NewDLQ returns `rmq dlq`.
func NewDLQ(e *env.Env) *cobra.Command {
	cmd := env.Noun("dlq", "Dead letters: find them, look at them, send them back", newDeadList(e), newDeadShow(e), newRedrive(e), newDeadPurge(e))
	cmd.Long = cmd.Short + ".\n\n" + dlqHelp
	return cmd
}

// ---- list

// deadPlace is a queue or a topic in which there are dead letters.
type deadPlace struct {
	Target   string   `json:"target"`
	Messages int64    `json:"messages"`
	Of       []string `json:"of"` // queues that give up what goes there, or the topic of which it is
	Why      string   `json:"why"`
}

func newDeadList(e *env.Env) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the queues and topics that dead letters are kept in",
		Long:    "List the queues and topics that dead letters are kept in, with what is in each and where it comes from.\n\n" + dlqHelp,
		Example: "  rmq dlq list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			places, err := deadPlaces(cmd.Context(), c, namespace)
			if err != nil {
				return err
			}
			v := env.View{
				Schema: schemaDead, Data: places, Empty: "no queue or topic is one of dead letters",
				Tables: []env.Table{{Head: []string{"TARGET", "MESSAGES", "OF", "WHY"}}},
			}
			for _, p := range places {
				v.Tables[0].Rows = append(v.Tables[0].Rows, []any{p.Target, p.Messages, p.Of, p.Why})
			}
			return e.Print(v)
		},
	}
	env.NamespaceFlag(cmd.Flags(), &namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func deadPlaces(ctx context.Context, c *adminapi.Client, ns string) ([]deadPlace, error) {
	every := adminapi.Query{Namespace: ns, Limit: adminapi.ListMax}
	queues, err := c.Queues(ctx, every)
	if err != nil {
		return nil, err
	}
	bindings, err := c.Bindings(ctx, every)
	if err != nil {
		return nil, err
	}
	topics, err := c.Topics(ctx, every)
	if err != nil {
		return nil, err
	}
	of := map[string][]string{} // by queue
	note := func(queue, from string) {
		if !slices.Contains(of[queue], from) {
			of[queue] = append(of[queue], from)
		}
	}
	for _, q := range queues {
		exchange, dead := argumentOf(&q, "x-dead-letter-exchange")
		if !dead {
			continue
		}
		key, keyed := argumentOf(&q, "x-dead-letter-routing-key")
		if exchange == "" {
			if keyed {
				note(key, q.Name)
			}
			continue
		}
		leads(bindings, exchange, key, keyed, map[string]bool{}, func(queue string) { note(queue, q.Name) })
	}
	places := []deadPlace{}
	for _, q := range queues {
		p := deadPlace{Target: "amqp:queue:" + q.Name, Messages: q.Ready + q.Unacked, Of: of[q.Name], Why: "a dead-letter exchange leads there"}
		if p.Of == nil {
			name, ok := link.DeadName(q.Name)
			if !ok {
				continue
			}
			p.Of, p.Why = []string{name}, "by its name"
		}
		places = append(places, p)
	}
	for _, t := range topics {
		if name, ok := link.DeadName(t.Names.Kafka); ok {
			places = append(places, deadPlace{Target: "kafka:" + t.Names.Kafka, Messages: t.Records, Of: []string{name}, Why: "by its name"})
		}
	}
	return places, nil
}

// leads calls found with the queues that an exchange may lead to: with a key of its own, that are bound with
// it or with a pattern.
func leads(bindings []adminapi.Binding, exchange, key string, keyed bool, seen map[string]bool, found func(string)) {
	if seen[exchange] {
		return
	}
	seen[exchange] = true
	for _, b := range bindings {
		switch {
		case b.Source != exchange || keyed && b.Key != key && b.Key != "" && !strings.ContainsAny(b.Key, "*#"):
		case b.ToExchange:
			leads(bindings, b.Destination, key, keyed, seen, found)
		default:
			found(b.Destination)
		}
	}
}

func argumentOf(q *adminapi.Queue, name string) (string, bool) {
	for _, a := range q.Arguments {
		if a.Name == name {
			_, value, _ := strings.Cut(a.Value, ":")
			return value, true
		}
	}
	return "", false
}

// ---- show

// letterView is a dead letter as it is printed.
type letterView struct {
	Message *link.Message `json:"message"`
	Death   *link.Death   `json:"death,omitempty"`
	To      string        `json:"to,omitempty"` // where redrive sends it
}

type dead struct {
	connection
	count int64
	group string
	queue bool
}

func (d *dead) common(cmd *cobra.Command, count int64, usage string) {
	f := cmd.Flags()
	f.Int64VarP(&d.count, "count", "n", count, usage)
	f.StringVarP(&d.group, "group", "g", redriveGroup, "Kafka: the group whose offsets say what was sent back before")
	f.BoolVar(&d.queue, "to-queue", false, "AMQP: back to the queue in which each died, and to no other that its exchange leads to")
	d.flags(f)
}

func newDeadShow(e *env.Env) *cobra.Command {
	d := &dead{connection: connection{e: e}}
	cmd := &cobra.Command{
		Use:               "show TARGET",
		Short:             "Show dead letters, where they come from and why, and leave them where they are",
		Long:              "Show dead letters, where they come from and why, and leave them where they are. Of a topic, what was sent back before\nis not shown.\n\n" + dlqHelp,
		Example:           "  rmq dlq show amqp:queue:jobs.dead\n  rmq dlq show kafka:orders.DLT -n 5 -o json",
		Args:              env.Exactly("TARGET"),
		ValidArgsFunction: d.completeTarget,
		RunE:              func(cmd *cobra.Command, args []string) error { return d.show(cmd.Context(), args[0]) },
	}
	d.common(cmd, lettersShown, "show at most so many")
	return cmd
}

func (d *dead) open(ctx context.Context, arg string) (link.Target, link.Letters, link.Options, error) {
	if d.count < 0 {
		return link.Target{}, nil, link.Options{}, env.Failf(env.Usage, "-n %d is less than nothing", d.count)
	}
	t, o, err := d.target(ctx, arg)
	if err != nil {
		return t, nil, o, err
	}
	letters, err := link.OpenLetters(ctx, t, o, d.group)
	if err != nil {
		return t, nil, o, d.explain(ctx, t, err)
	}
	return t, letters, o, nil
}

func (d *dead) show(ctx context.Context, arg string) error {
	t, letters, _, err := d.open(ctx, arg)
	if err != nil {
		return err
	}
	defer func() { _ = letters.Close(context.WithoutCancel(ctx)) }() // nothing was taken out
	view := env.View{
		Schema: schemaLetters, Empty: "there are no dead letters in " + t.String(),
		Tables: []env.Table{{Head: []string{"DIED", "IN", "REASON", "COUNT", "BACK TO", "KEY", "VALUE"}}},
	}
	all := []letterView{}
	for n := int64(0); d.count == 0 || n < d.count; n++ {
		l, err := letters.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return d.explain(ctx, t, err)
		}
		x, row := d.letter(l)
		all = append(all, x)
		view.Tables[0].Rows = append(view.Tables[0].Rows, row)
	}
	view.Data = all
	return d.e.Print(view)
}

func (d *dead) letter(l *link.Letter) (letterView, []any) {
	x := letterView{Message: l.Message}
	row := []any{l.Time, "", "", nil, "", env.Preview(l.Key, keyWidth), env.Preview(l.Value, preview)}
	if death, ok := link.DeathOf(l.Message); ok {
		x.Death = &death
		if row[0] = death.Time; death.Time.IsZero() {
			row[0] = l.Time
		}
		row[1] = death.Queue
		if death.Topic != "" {
			row[1] = death.Topic
			if death.Partition != nil && death.Offset != nil {
				row[1] = fmt.Sprintf("%s/%d@%d", death.Topic, *death.Partition, *death.Offset)
			}
		}
		row[2] = death.Reason
		if i := strings.LastIndexByte(death.Reason, '.'); i >= 0 {
			row[2] = death.Reason[i+1:] // of a class in Java
		}
		if death.Message != "" {
			row[2] = fmt.Sprintf("%v: %s", row[2], env.Preview([]byte(death.Message), preview))
		}
		if death.Count > 0 {
			row[3] = death.Count
		}
	}
	if to, ok := l.Origin(d.queue); ok {
		x.To = to.String()
		row[4] = x.To
	}
	return x, row
}

// ---- purge

func newDeadPurge(e *env.Env) *cobra.Command {
	d := &dead{connection: connection{e: e}}
	var change env.Change
	cmd := &cobra.Command{
		Use:               "purge TARGET",
		Short:             "Drop all dead letters that are in a queue or a topic",
		Long:              "Drop all dead letters that are in a queue or a topic. It cannot be taken back.\n\n" + dlqHelp,
		Example:           "  rmq dlq purge amqp:queue:jobs.dead --yes",
		Args:              env.Exactly("TARGET"),
		ValidArgsFunction: d.completeTarget,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			t, o, err := d.target(ctx, args[0])
			if err != nil {
				return err
			}
			if err := e.Confirm(change, "drop all dead letters in "+t.String()); err != nil {
				return err
			}
			done := env.Done{Name: t.String(), DryRun: change.DryRun}
			if !change.DryRun {
				n, err := link.PurgeLetters(ctx, t, o)
				if err != nil {
					return d.explain(ctx, t, err)
				}
				done.Done, done.Messages = true, &n
				e.Say("dropped %d from %s", n, t)
			} else {
				e.Say("would drop all in %s", t)
			}
			return e.PrintMachine(env.View{Schema: "rmq.changes/1", Data: []env.Done{done}, Tables: []env.Table{{Head: []string{"TARGET", "DONE"}, Rows: [][]any{{done.Name, done.Done}}}}})
		},
	}
	change.Flags(cmd.Flags(), true)
	d.flags(cmd.Flags())
	return cmd
}

// ---- redrive

type redrive struct {
	dead
	where  string
	to     string
	edit   string
	rate   env.Rate
	change env.Change
}

// redriven is what came of a redrive.
type redriven struct {
	From     string         `json:"from"`
	Redriven int64          `json:"redriven"`
	Passed   int64          `json:"passed_over"` // that were not asked for
	Failed   int64          `json:"failed"`      // that stay where they are
	DryRun   bool           `json:"dry_run,omitempty"`
	Failures []string       `json:"failures,omitempty"` // the first of them
	To       map[string]int `json:"to,omitempty"`

	first error
}

func newRedrive(e *env.Env) *cobra.Command {
	r := &redrive{dead: dead{connection: connection{e: e}}}
	cmd := &cobra.Command{
		Use:   "redrive TARGET",
		Short: "Send dead letters back to where they come from",
		Long: "Send dead letters back to what they were published to, or elsewhere: those that are in TARGET when it begins. A letter\n" +
			"is taken out when the broker has confirmed that it has it elsewhere, and not before: what nobody would have, or a\n" +
			"full queue refuses, stays where it is, in its place. What is sent back has no history of deaths any more, so that it\n" +
			"begins anew, but a header rmq-redriven, which tells where it was; killed in the middle, it is sent again next time,\n" +
			"up to 1 from a queue and 100 from a topic.\n\n" +
			"Of a topic nothing can be taken out: offsets that are committed for --group say what was sent back, also between\n" +
			"others that were not. The exit code is 3 when some could not be sent.\n\n" + dlqHelp,
		Example: "  rmq dlq redrive amqp:queue:jobs.dead --dry-run\n" +
			"  rmq dlq redrive amqp:queue:jobs.dead -n 100 --rate 10/s\n" +
			"  rmq dlq redrive amqp:queue:jobs.dead --where 'json.tries < 3' --to-queue\n" +
			"  rmq dlq redrive kafka:orders.DLT --edit '.value.currency //= \"EUR\"'\n" +
			"  rmq dlq redrive kafka:orders.DLT --to kafka:orders.fixed",
		Args:              env.Exactly("TARGET"),
		ValidArgsFunction: r.completeTarget,
		RunE:              func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args[0]) },
	}
	r.common(cmd, 0, "send back at most so many; 0: all")
	f := cmd.Flags()
	f.StringVarP(&r.where, "where", "w", "", "only letters for which this holds, such as 'json.id > 30' (docs/FILTER.md), or @NAME of a saved filter; others stay")
	f.StringVar(&r.to, "to", "", "where to send all of them: another TARGET, also of another protocol")
	f.StringVar(&r.edit, "edit", "", editHelp)
	f.Var(&r.rate, "rate", "how fast at most: 100/s, 30/m")
	r.change.Flags(f, false)
	return cmd
}

func (r *redrive) run(ctx context.Context, arg string) error {
	edit, err := newEditor(r.edit)
	if err != nil {
		return err
	}
	var meant *filter.Filter
	if r.where != "" {
		src, err := r.e.Filter(r.where)
		if err != nil {
			return err
		}
		if meant, err = filter.Compile(src, filter.Options{Now: r.e.Now}); err != nil {
			return badExpression("--where", err)
		}
	}
	t, letters, o, err := r.open(ctx, arg)
	if err != nil {
		return err
	}
	var elsewhere *link.Target
	if r.to != "" {
		to, other, err := r.target(ctx, r.to)
		if err != nil {
			return errors.Join(err, letters.Close(ctx))
		}
		elsewhere, o = &to, other
	}
	sender := link.NewSender(o)
	done := &redriven{From: t.String(), DryRun: r.change.DryRun, To: map[string]int{}}
	begun := time.Now()
	err = r.each(ctx, t, letters, func(l *link.Letter) error {
		if meant != nil && !meant.Match(l.ForFilter()) {
			done.Passed++
			return nil
		}
		ok, err := edit.edit(l.Message)
		if err != nil {
			return err
		}
		if !ok {
			done.Passed++
			return nil
		}
		return r.send(ctx, t, elsewhere, letters, sender, l, done)
	}, done)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closingPatience)
	defer cancel()
	err = errors.Join(err, sender.Close(closing), letters.Close(closing))
	return r.tell(ctx, t, done, begun, err)
}

// each calls do with the letters, no faster than it is to be, until there are no more or enough were sent.
// What is wrong with a letter is counted; what is wrong with the broker ends it.
func (r *redrive) each(ctx context.Context, t link.Target, letters link.Letters, do func(*link.Letter) error, done *redriven) error {
	var pace <-chan time.Time
	if r.rate > 0 {
		ticker := time.NewTicker(r.rate.Every())
		defer ticker.Stop()
		pace = ticker.C
	}
	for r.count == 0 || done.Redriven < r.count {
		l, err := letters.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		before := done.Redriven
		err = do(l)
		if err != nil && lasting(err) {
			return err
		}
		if err != nil {
			if done.Failed++; done.first == nil {
				done.first = err
			}
			if len(done.Failures) < failuresShown {
				done.Failures = append(done.Failures, env.Explain(err).What)
			}
		}
		if pace == nil || done.Redriven == before {
			continue
		}
		select {
		case <-pace:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// errBoth is that a letter was sent and could not be taken out.
var errBoth = errors.New("not taken out")

// lasting tells whether an error is not of the one letter.
func lasting(err error) bool {
	f, ok := errors.AsType[*fault.Error](err)
	switch {
	case errors.Is(err, errBoth):
		return true
	case !ok:
		_, ours := errors.AsType[*env.Failure](err)
		return !ours
	}
	switch f.Kind {
	case fault.NotFound, fault.Exhausted, fault.TooLarge, fault.Invalid:
		return false
	}
	return true
}

func (r *redrive) send(ctx context.Context, t link.Target, elsewhere *link.Target, letters link.Letters, sender *link.Sender, l *link.Letter, done *redriven) error {
	to, ok := l.Origin(r.queue)
	if elsewhere != nil {
		to, ok = *elsewhere, true
	}
	switch {
	case !ok:
		return env.Failf(env.Failed, "a letter does not say where it comes from: --to says where it is to go")
	case to.Same(t):
		return env.Failf(env.Usage, "%s is where they are", to)
	}
	if r.change.DryRun {
		done.To[to.String()]++
		done.Redriven++
		return nil
	}
	if err := sender.Send(ctx, to, l); err != nil {
		return err
	}
	// It rests elsewhere: it must be taken out, even if the user has just left.
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), closingPatience)
	defer cancel()
	if err := letters.Done(settling, l); err != nil {
		return &env.Failure{Exit: env.Failed, What: "it was sent to " + to.String() + ", and is here too: " + env.Explain(err).What, Err: fmt.Errorf("%w: %w", errBoth, err)}
	}
	done.To[to.String()]++
	done.Redriven++
	return nil
}

// tell says what came of it.
func (r *redrive) tell(ctx context.Context, t link.Target, done *redriven, begun time.Time, err error) error {
	view := env.View{Schema: schemaRedriven, Data: done, Tables: []env.Table{{Head: []string{"TO", "LETTERS"}}}}
	for _, to := range env.SortedKeys(done.To) {
		view.Tables[0].Rows = append(view.Tables[0].Rows, []any{to, done.To[to]})
	}
	if len(done.To) > 0 || r.e.Machine() {
		if printErr := r.e.Print(view); err == nil {
			err = printErr
		}
	}
	verb := "sent back"
	if done.DryRun {
		verb = "would send back"
	}
	text := fmt.Sprintf("%s %d from %s in %v", verb, done.Redriven, t, time.Since(begun).Round(time.Millisecond))
	if done.Passed > 0 {
		text += fmt.Sprintf("; passed over %d", done.Passed)
	}
	if done.Failed > 0 {
		text += fmt.Sprintf("; %d stay: %s", done.Failed, env.Clean(done.Failures[0]))
	}
	r.e.Say("%s", text)
	switch {
	case errors.Is(err, context.Canceled):
		return context.Cause(ctx)
	case err == nil && done.Failed == 0:
		return nil
	case err == nil && done.Redriven > 0:
		return env.Failf(env.Partly, "%d of %d were not sent back", done.Failed, done.Failed+done.Redriven)
	case err == nil:
		return done.first
	case done.Redriven > 0:
		f := env.Explain(r.explain(ctx, t, err))
		return &env.Failure{Exit: env.Partly, What: fmt.Sprintf("%d sent back, then: %s", done.Redriven, f.What), Hint: f.Hint, Err: err}
	}
	return r.explain(ctx, t, err)
}
