package message

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/format"
	"github.com/robustmq/rmq/cli/link"
)

// How produce reads standard input.
const (
	inputLines = "lines" // each line is a value
	inputNul   = "nul"   // each NUL-terminated run of bytes is a value
	inputWhole = "whole" // all of it is one value
	inputJSON  = "json"  // each line is a message, as consume -o json prints it
)

// inputMax bounds one message that is read from standard input.
const inputMax = 64 << 20

type produce struct {
	connection
	input  string
	format string
	nul    bool
	compose
	repeat int
}

// NewProduce returns `rmq produce`.
func NewProduce(e *env.Env) *cobra.Command {
	p := &produce{connection: connection{e: e}, input: inputLines}
	cmd := &cobra.Command{
		Use:   "produce TARGET [VALUE]",
		Short: "Send messages over MQTT, Kafka or AMQP",
		Long: "Send messages over MQTT, Kafka or AMQP, and wait until the broker has them.\n\nWithout VALUE, each line of standard input is a message; --input says otherwise. " +
			"With -o json a receipt is\nprinted for each message, one a line.\n\n" + savedHelp + targetHelp,
		Example: "  rmq produce mqtt:sensors/dev1/temp 21.5 --retain\n" +
			"  rmq produce kafka:orders '{\"id\":7}' -k 7 -H source=shop -P content-type=application/json\n" +
			"  seq 1000 | rmq produce amqp:queue:jobs\n" +
			"  rmq produce mqtt://test.example:1883/a/b --input whole < photo.jpg\n" +
			"  printf 'k1=a\\nk2=b\\n' | rmq produce kafka:orders -f '%k=%v\\n'\n" +
			"  rmq consume kafka:orders --from start --until-end -o json | rmq produce kafka:copy --input json",
		Args:              env.Between([]string{"TARGET"}, "VALUE"),
		ValidArgsFunction: p.completeSaved,
		RunE:              func(cmd *cobra.Command, args []string) error { return p.run(cmd, args) },
	}
	f := cmd.Flags()
	f.Var(&env.Choice{Value: &p.input, Of: []string{inputLines, inputNul, inputWhole, inputJSON}}, "input", "what standard input holds")
	f.StringVarP(&p.format, "format", "f", "", "how each message stands in standard input, such as '%k %v\\n' (docs/FORMAT.md)")
	f.BoolVarP(&p.nul, "null-separated", "0", false, "end each value with a NUL instead of a line end: the same as --input nul")
	p.compose.flags(f)
	f.IntVar(&p.repeat, "repeat", 1, "send each message so many times")
	p.connection.flags(f)
	return cmd
}

func (p *produce) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	args, err := p.e.Saved(cmd, args)
	if err != nil {
		return err
	}
	if p.nul {
		p.input = inputNul
	}
	if p.repeat < 1 {
		return env.Failf(env.Usage, "--repeat %d sends nothing", p.repeat)
	}
	base, err := p.base(cmd)
	if err != nil {
		return err
	}
	t, o, err := p.target(ctx, args[0])
	if err != nil {
		return err
	}
	p.at(&t, &base)
	source, err := p.source(t.Protocol, args, base)
	if err != nil {
		return err
	}
	producer, err := link.NewProducer(ctx, t, o)
	if err != nil {
		return p.explain(ctx, t, err)
	}
	return p.send(ctx, t, producer, source)
}

// source yields the messages to send; io.EOF ends it.
func (p *produce) source(protocol string, args []string, base link.Message) (func() (*link.Message, error), error) {
	fresh := func(value []byte) (*link.Message, error) {
		return p.fresh(base, value)
	}
	if p.format != "" && (p.null || len(args) == 2 || p.base64 || p.input != inputLines) {
		return nil, env.Failf(env.Usage, "--format reads standard input: leave VALUE, --null, --base64 and --input out")
	}
	if p.null || len(args) == 2 {
		if p.null && len(args) == 2 {
			return nil, env.Failf(env.Usage, "--null sends no value, and %q is one", args[1])
		}
		done := false
		return func() (*link.Message, error) {
			if done {
				return nil, io.EOF
			}
			done = true
			if p.null {
				m := base
				return &m, nil
			}
			return fresh([]byte(args[1]))
		}, nil
	}
	if p.format != "" {
		return p.formatted(protocol, base)
	}
	if p.e.InTTY {
		p.e.Say("each line is a message; Ctrl-D ends")
	}
	switch p.input {
	case inputWhole:
		done := false
		return func() (*link.Message, error) {
			if done {
				return nil, io.EOF
			}
			done = true
			b, err := io.ReadAll(io.LimitReader(p.e.In, inputMax+1))
			if err != nil {
				return nil, err
			}
			if len(b) > inputMax {
				return nil, env.Failf(env.Usage, "standard input holds more than %v", env.Bytes(inputMax))
			}
			return fresh(b)
		}, nil
	case inputJSON:
		next := p.scan('\n')
		line := 0
		return func() (*link.Message, error) {
			for {
				b, err := next()
				if err != nil {
					return nil, err
				}
				line++
				if len(bytes.TrimSpace(b)) == 0 {
					continue
				}
				m, err := overlay(protocol, b, base)
				if err != nil {
					return nil, env.Failf(env.Usage, "line %d is no message as consume -o json prints it: %v", line, err)
				}
				return m, nil
			}
		}, nil
	case inputNul:
		next := p.scan(0)
		return func() (*link.Message, error) {
			b, err := next()
			if err != nil {
				return nil, err
			}
			return fresh(b)
		}, nil
	}
	next := p.scan('\n')
	return func() (*link.Message, error) {
		b, err := next()
		if err != nil {
			return nil, err
		}
		return fresh(bytes.TrimSuffix(b, []byte{'\r'}))
	}, nil
}

// formatted reads standard input by --format.
func (p *produce) formatted(protocol string, base link.Message) (func() (*link.Message, error), error) {
	r, err := format.NewReader(p.format, p.e.In)
	if err != nil {
		return nil, env.BadFormat("--format", err)
	}
	return func() (*link.Message, error) {
		m, err := r.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				err = env.Failf(env.Usage, "%v", err)
			}
			return nil, err
		}
		partition := m.Partition
		if m = merge(protocol, m, base); partition != nil && m.Partition == nil {
			m.Partition = partition
		}
		return m, nil
	}, nil
}

// overlay reads a message that was consumed and puts this call's own on top of it.
func overlay(protocol string, line []byte, base link.Message) (*link.Message, error) {
	var m link.Message
	if err := json.Unmarshal(line, &m); err != nil {
		return nil, err
	}
	return merge(protocol, &m, base), nil
}

// merge readies a message that was read for a protocol, with this call's own on top.
func merge(protocol string, m *link.Message, base link.Message) *link.Message {
	if m.Protocol != protocol {
		link.Carry(m)
	}
	m.Headers = append(m.Headers, base.Headers...)
	if base.Key != nil {
		m.Key = base.Key
	}
	for name, value := range base.Properties {
		if m.Properties == nil {
			m.Properties = map[string]string{}
		}
		m.Properties[name] = value
	}
	if m.QoS == nil {
		m.QoS = base.QoS
	}
	m.Retain = m.Retain || base.Retain
	if base.Priority != 0 {
		m.Priority = base.Priority
	}
	m.Partition = base.Partition // that of the topic it came from means nothing here
	return m
}

// scan splits standard input at a byte.
func (p *produce) scan(at byte) func() ([]byte, error) {
	r := bufio.NewReaderSize(p.e.In, 64<<10)
	return func() ([]byte, error) {
		var whole []byte
		for {
			part, err := r.ReadSlice(at)
			whole = append(whole, part...)
			switch {
			case err == nil:
				return whole[:len(whole)-1], nil
			case len(whole) > inputMax:
				return nil, env.Failf(env.Usage, "a message of standard input is larger than %v", env.Bytes(inputMax))
			case errors.Is(err, bufio.ErrBufferFull):
			case errors.Is(err, io.EOF) && len(whole) > 0:
				return whole, nil
			default:
				return nil, err
			}
		}
	}
}

// outcome collects what became of the messages; receipts come from another goroutine.
type outcome struct {
	mu        sync.Mutex
	handed    int // over to the producer
	sent      int // and acknowledged
	unmatched int
	failed    int
	err       error // the first
}

// send hands every message over and waits for all receipts.
func (p *produce) send(ctx context.Context, t link.Target, producer link.Producer, source func() (*link.Message, error)) error {
	machine := p.e.Machine()
	var o outcome
	done := func(r link.Receipt, err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		switch {
		case err != nil:
			o.failed++
			if o.err == nil {
				o.err = err
			}
			return
		case r.Unmatched:
			o.unmatched++
		}
		o.sent++
		if machine {
			if err := p.e.PrintLine(r); err != nil && o.err == nil {
				o.err = err
			}
		}
	}
	begun := time.Now()
	told := p.tellWaiting(t, &o)
	defer told()
	err := p.feed(ctx, producer, source, done, &o)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if closeErr := producer.Close(closing); err == nil {
		err = closeErr
	}
	told()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
	if o.sent > 0 && (o.sent > 1 || p.e.ErrTTY) {
		p.e.Say("%s", o.summary(t, time.Since(begun)))
	}
	switch {
	case o.err == nil:
		return nil
	case errors.Is(o.err, context.Canceled):
		return context.Cause(ctx)
	case o.sent > 0:
		f := env.Explain(p.explain(ctx, t, o.err))
		return &env.Failure{Exit: env.Partly, What: fmt.Sprintf("%d sent, then: %s", o.sent, f.What), Hint: f.Hint, Err: o.err}
	}
	return p.explain(ctx, t, o.err)
}

func (o *outcome) hand(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.handed += n
}

// patience is how long a broker may acknowledge nothing before it is said that it is waited for.
const patience = time.Second

// tellWaiting says on standard error what is waited for, once whenever nothing is acknowledged for a
// while, until it is told to stop.
func (p *produce) tellWaiting(t link.Target, o *outcome) (stop func()) {
	done, gone := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(gone)
		tick := time.NewTicker(patience / 4)
		defer tick.Stop()
		answered, since, told := -1, time.Now(), false
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			o.mu.Lock()
			waiting, now := o.handed-o.sent-o.failed, o.sent+o.failed
			o.mu.Unlock()
			switch {
			case now != answered || waiting == 0:
				answered, since, told = now, time.Now(), false
			case !told && time.Since(since) >= patience:
				p.e.Say("%d sent to %s: waiting for %s to acknowledge", waiting, t, t.Address)
				told = true
			}
		}
	}()
	return sync.OnceFunc(func() { close(done); <-gone })
}

func (o *outcome) summary(t link.Target, took time.Duration) string {
	s := fmt.Sprintf("sent %d to %s in %v", o.sent, t, took.Round(time.Millisecond))
	switch {
	case o.unmatched == o.sent:
		s += "; no MQTT client was subscribed"
	case o.unmatched > 0:
		s += fmt.Sprintf("; no MQTT client was subscribed for %d", o.unmatched)
	}
	if o.failed > 0 {
		s += fmt.Sprintf("; %d failed", o.failed)
	}
	return s
}

func (p *produce) feed(ctx context.Context, producer link.Producer, source func() (*link.Message, error), done func(link.Receipt, error), o *outcome) error {
	for {
		m, err := source()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.expires > 0 {
			m.ExpiresAt = time.Now().Add(time.Duration(p.expires))
		}
		for range p.repeat {
			if err := ctx.Err(); err != nil {
				return err
			}
			o.hand(1)
			if err := producer.Send(ctx, m, done); err != nil {
				o.hand(-1)
				return err
			}
		}
	}
}
