package message

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

// requestTimeout is how long replies are waited for when nothing else is said.
const requestTimeout = 30 * time.Second

type request struct {
	reading
	compose
	n       int64
	replyTo string
}

// NewRequest returns `rmq request`.
func NewRequest(e *env.Env) *cobra.Command {
	r := &request{reading: newReading(e)}
	cmd := &cobra.Command{
		Use:   "request TARGET [VALUE]",
		Short: "Send a request and print the replies, over MQTT, Kafka or AMQP",
		Long: "Send a request and print the replies. Where replies go, and what tells whose they are, is said as each protocol\n" +
			"says it: MQTT 5 by response topic and correlation data, AMQP by reply-to and correlation-id, with a queue that\n" +
			"lives as long as the request, Kafka by the headers reply-to and correlation-id (for Spring kafka_replyTopic and\n" +
			"kafka_correlationId too); the topic of replies is TOPIC.replies, which is made if it is not there.\n\n" +
			"Without VALUE, all of standard input is the value. The exit code is 8 when not all replies came in time.\n\n" + savedHelp + targetHelp,
		Example: "  rmq request mqtt:rpc/echo hello\n" +
			"  rmq request amqp:queue:jobs '{\"id\":7}' -P content-type=application/json --timeout 5s --jq .json\n" +
			"  rmq request kafka:orders '{\"id\":7}' -k 7 -n 3 --timeout 2s\n" +
			"  rmq request mqtt:rpc/echo < request.json",
		Args:              env.Between([]string{"TARGET"}, "VALUE"),
		ValidArgsFunction: r.completeSaved,
		RunE:              func(cmd *cobra.Command, args []string) error { return r.run(cmd, args) },
	}
	f := cmd.Flags()
	f.Int64VarP(&r.n, "count", "n", 1, "how many replies to wait for")
	f.StringVar(&r.replyTo, "reply-to", "", "where replies go: an MQTT topic, a Kafka topic, an AMQP queue (default: one is made up)")
	r.compose.flags(f)
	r.showFlags(f)
	return cmd
}

func (r *request) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	args, err := r.e.Saved(cmd, args)
	if err != nil {
		return err
	}
	if r.n < 1 {
		return env.Failf(env.Usage, "-n %d waits for no reply", r.n)
	}
	if r.timeout == 0 {
		r.timeout = env.Duration(requestTimeout)
	}
	m, err := r.base(cmd)
	if err != nil {
		return err
	}
	var o link.ConsumeOptions
	if err := r.prepare(&o); err != nil {
		return err
	}
	t, connect, err := r.target(ctx, args[0])
	if err != nil {
		return err
	}
	r.at(&t, &m)
	value, err := r.value(args)
	if err != nil {
		return err
	}
	if !r.null {
		whole, err := r.fresh(m, value)
		if err != nil {
			return err
		}
		m = *whole
	}
	if r.expires > 0 {
		m.ExpiresAt = time.Now().Add(time.Duration(r.expires))
	}
	replies := r.replies(t)
	id := r.mark(&m, replies)
	o.Options, o.N, o.Make = connect, r.n, true
	o.QoS = 1
	// Of what comes, the replies to this request are meant.
	o.Where = func(reply *link.Message) bool { return answers(reply, id, r.replyTo == "" && t.Protocol != link.Kafka) }
	var sent sync.WaitGroup
	var sendErr error
	limited, stop := context.WithCancel(ctx)
	defer stop()
	o.Ready = func() error {
		producer, err := link.NewProducer(limited, t, connect)
		if err != nil {
			return err
		}
		sent.Go(func() { // ends with the acknowledgement, or with limited
			sendErr = sendOne(limited, producer, &m)
			if sendErr != nil {
				stop()
			}
		})
		return nil
	}
	begun := time.Now()
	n, err := link.Consume(limited, replies, o, func(m *link.Message) error { return r.show(m, "") })
	if err == nil || ctx.Err() != nil {
		stop()
	}
	sent.Wait()
	if sendErr != nil && n == 0 && ctx.Err() == nil {
		err = sendErr
	}
	if r.e.ErrTTY {
		r.e.Say("%d replies in %v%s", n, time.Since(begun).Round(time.Millisecond), r.tally())
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		return nil
	}
	if f := env.Explain(err); f.Exit == env.TimedOut && sendErr == nil {
		return env.Failf(env.TimedOut, "wanted %d replies from %s, got %d in %v", r.n, t, n, time.Duration(r.timeout))
	}
	return r.explain(ctx, t, err)
}

// value is what is asked.
func (r *request) value(args []string) ([]byte, error) {
	switch {
	case r.null && len(args) == 2:
		return nil, env.Failf(env.Usage, "--null sends no value, and %q is one", args[1])
	case r.null:
		return nil, nil
	case len(args) == 2:
		return []byte(args[1]), nil
	}
	if r.e.InTTY {
		r.e.Say("standard input is the request; Ctrl-D ends it")
	}
	b, err := io.ReadAll(io.LimitReader(r.e.In, inputMax+1))
	if err == nil && len(b) > inputMax {
		err = env.Failf(env.Usage, "standard input holds more than %v", env.Bytes(inputMax))
	}
	return b, err
}

// replies is where replies are read.
func (r *request) replies(t link.Target) link.Target {
	out := t
	out.Topic, out.Queue, out.Exchange, out.Key, out.Partition = "", "", "", "", nil
	name := r.replyTo
	switch t.Protocol {
	case link.AMQP:
		if out.Queue = name; name == "" {
			out.Queue = "rmq-reply-" + strings.ToLower(rand.Text())
		}
	case link.Kafka:
		if out.Topic = name; name == "" {
			out.Topic = t.Topic + ".replies"
		}
	default:
		if out.Topic = name; name == "" {
			out.Topic = "rmq-reply/" + strings.ToLower(rand.Text())
		}
	}
	return out
}

// mark says in a request where replies go, and returns what tells that they are its own.
func (r *request) mark(m *link.Message, replies link.Target) (id string) {
	properties := map[string]string{}
	for name, value := range m.Properties {
		properties[name] = value
	}
	m.Properties = properties
	if id = properties[link.CorrelationID]; id == "" {
		id = strings.ToLower(rand.Text()[:16])
		properties[link.CorrelationID] = id
	}
	properties[link.ReplyTo] = replies.Topic + replies.Queue
	if replies.Protocol == link.Kafka {
		m.Headers = append(m.Headers, link.Header{Name: "kafka_replyTopic", Value: []byte(replies.Topic)}, link.Header{Name: "kafka_correlationId", Value: []byte(id)})
	}
	return id
}

// answers tells whether a message is a reply to the request with an id. One that says no id
// is, where nobody else's come.
func answers(m *link.Message, id string, alone bool) bool {
	found := false
	if v, ok := m.Properties[link.CorrelationID]; ok {
		if v == id {
			return true
		}
		found = true
	}
	for _, h := range m.Headers {
		switch h.Name {
		case link.CorrelationID, "kafka_correlationId", "x-correlation-id":
			if string(h.Value) == id {
				return true
			}
			found = true
		}
	}
	return alone && !found
}

// sendOne sends a message and waits for its acknowledgement.
func sendOne(ctx context.Context, p link.Producer, m *link.Message) error {
	answer := make(chan error, 1)
	err := p.Send(ctx, m, func(_ link.Receipt, err error) { answer <- err })
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if closeErr := p.Close(closing); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	select {
	case err = <-answer:
	default: // Close has waited
		err = errors.New("the request was not acknowledged")
	}
	return err
}
