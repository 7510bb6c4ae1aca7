// Package simulate holds `rmq simulate`: live traffic as a fixture says it, who sends and who takes.
package simulate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
	"github.com/robustmq/rmq/fixtures"
)

const schema = "rmq.simulate/1"

const (
	// drainMax is how long what is under way at the end may take, and quiet how long consumers wait
	// for more then.
	drainMax = 30 * time.Second
	quiet    = time.Second
	// leaveMax is what drainMax becomes once Ctrl-C was pressed.
	leaveMax = 2 * time.Second
	// againPause is how long a client that failed is away before it comes back.
	againPause = time.Second
)

type simulation struct {
	e       *env.Env
	flags   env.FixtureFlags
	length  env.Duration
	vhost   string
	devices int
	rate    env.Rate

	f  *fixtures.Fixture
	o  link.Options
	at func(protocol string) (link.Target, error)
}

// Command returns `rmq simulate`.
func Command(e *env.Env) *cobra.Command {
	s := &simulation{e: e}
	cmd := &cobra.Command{
		Use:   "simulate NAME",
		Short: "Make the traffic of a fixture: a fleet, a poison pill, a rebalance storm",
		Long: "Make the traffic of a fixture: a fleet of devices, consumers that fail, a group whose members come and go.\n\n" +
			"NAME is a built-in fixture (rmq fixture list says which simulate) or the path of a YAML file with a simulate part\n" +
			"(docs/FIXTURES.md). What it declares is made first; its messages are not sent. It goes on until --for, or Ctrl-C,\n" +
			"which ends the sending, lets consumers take what is under way, and prints what became of all; a second one is at once.",
		Example: "  rmq simulate iot-fleet --devices 1000 --rate 500 --for 30s\n  rmq simulate poison-pill --for 10s -o json\n" +
			"  rmq simulate rebalance-storm --set members=8\n  rmq simulate ./mine.yaml --seed 7",
		Args:              env.Exactly("NAME"),
		ValidArgsFunction: env.CompleteFixture,
		RunE:              func(cmd *cobra.Command, args []string) error { return s.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	s.flags.Add(f)
	f.Var(&s.length, "for", "how long to send (default: until Ctrl-C)")
	f.IntVar(&s.devices, "devices", 0, "how many devices: the same as --set devices=N")
	f.Var(&s.rate, "rate", "messages in a time, as 500, 500/s, 30/m: the same as --set rate=N")
	f.StringVar(&s.vhost, "vhost", "/", "AMQP virtual host")
	e.BrokerFlags(f)
	return cmd
}

func (s *simulation) run(cmd *cobra.Command, name string) error {
	ctx := cmd.Context()
	if cmd.Flags().Changed("devices") {
		s.flags.Set = append(s.flags.Set, "devices="+strconv.Itoa(s.devices))
	}
	if cmd.Flags().Changed("rate") {
		s.flags.Set = append(s.flags.Set, "rate="+strconv.FormatFloat(float64(s.rate), 'f', -1, 64))
	}
	var err error
	if s.f, err = s.flags.Open(name); err != nil {
		return err
	}
	if s.f.Scenario == nil {
		return &env.Failure{Exit: env.Usage, What: fmt.Sprintf("fixture %s has no traffic to make", s.f.Name), Hint: "see which have: rmq fixture list"}
	}
	admin, err := s.e.Admin()
	if err != nil {
		return err
	}
	urls, err := s.e.URLs(ctx)
	if err != nil {
		return err
	}
	base := link.Target{User: s.e.User}
	if s.e.User != "" {
		if base.Password, err = s.e.Password(); err != nil {
			return err
		}
	}
	s.o = link.Options{VHost: s.vhost, Guard: s.e.Guard}
	s.at = func(protocol string) (link.Target, error) {
		t := base
		t.Protocol = protocol
		return t, t.Resolve(urls)
	}
	if err := link.NewLoader(admin, urls, base, s.o).Declare(ctx, s.f); err != nil {
		return err
	}
	r, err := s.play(ctx)
	if err != nil {
		return err
	}
	return s.e.Print(view(r))
}

// Result is what became of all.
type Result struct {
	Name    string      `json:"name"`
	Seed    uint64      `json:"seed"`
	Seconds float64     `json:"seconds"`
	Produce []*Produced `json:"produce"`
	Consume []*Consumed `json:"consume"`
}

// Produced is what the clients of one line have sent.
type Produced struct {
	To      string  `json:"to"`
	Clients int     `json:"clients"`
	Sent    int64   `json:"sent"` // and acknowledged
	Errors  int64   `json:"errors"`
	Error   string  `json:"error,omitempty"` // the first
	Rate    float64 `json:"rate"`

	mu sync.Mutex
}

// Consumed is what the clients of one line have taken.
type Consumed struct {
	From    string  `json:"from"`
	Group   string  `json:"group,omitempty"`
	Clients int     `json:"clients"`
	Taken   int64   `json:"taken"`
	Refused int64   `json:"refused"` // attempts that failed
	Skipped int64   `json:"skipped"` // stepped over after the last attempt
	Joins   int64   `json:"joins"`   // of clients, those that came back too
	Errors  int64   `json:"errors"`
	Error   string  `json:"error,omitempty"`
	Rate    float64 `json:"rate"`

	mu   sync.Mutex
	last atomic.Int64 // when a message came last, ns
}

// play has everybody send and take, until it is time.
func (s *simulation) play(ctx context.Context) (*Result, error) {
	r := &Result{Name: s.f.Name, Seed: s.f.Seed, Produce: []*Produced{}, Consume: []*Consumed{}}
	taking, stopTaking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTaking()
	sending, stopSending := context.WithCancel(ctx)
	defer stopSending()
	if s.length > 0 {
		sending, stopSending = context.WithTimeout(ctx, time.Duration(s.length))
		defer stopSending()
	}
	begun := time.Now()
	var takers, senders sync.WaitGroup
	for _, c := range s.f.Scenario.Consume {
		line := &Consumed{From: c.From.String(), Group: c.Group, Clients: c.Clients}
		r.Consume = append(r.Consume, line)
		t, err := s.at(c.From.Protocol)
		if err != nil {
			return nil, err
		}
		t.Topic, t.Exchange, t.Key, t.Queue = c.From.Topic, c.From.Exchange, c.From.Key, c.From.Queue
		s.take(taking, &takers, t, c, line)
	}
	for _, p := range s.f.Scenario.Produce {
		line := &Produced{To: p.Block.To(), Clients: p.Clients}
		r.Produce = append(r.Produce, line)
		t, err := s.at(p.Block.Protocol())
		if err != nil {
			return nil, err
		}
		for i := range p.Clients {
			producer, err := link.NewProducer(ctx, t, s.o)
			if err != nil {
				return nil, err
			}
			senders.Go(func() { s.send(ctx, sending, producer, p, i, line) })
		}
	}
	s.e.Say("simulating %s with seed %d: Ctrl-C ends it", s.f.Name, s.f.Seed)
	senders.Wait()
	if len(s.f.Scenario.Produce) == 0 {
		<-sending.Done()
	}
	r.Seconds = math.Round(time.Since(begun).Seconds()*1000) / 1000
	s.settle(r)
	stopTaking()
	takers.Wait()
	for _, p := range r.Produce {
		p.Rate = math.Round(float64(p.Sent)/r.Seconds*10) / 10
	}
	for _, c := range r.Consume {
		c.Rate = math.Round(float64(c.Taken)/r.Seconds*10) / 10
	}
	return r, nil
}

// settle waits until nothing has come to any consumer for a while.
func (s *simulation) settle(r *Result) {
	ended := time.Now()
	for _, c := range r.Consume {
		for time.Since(ended) < drainMax {
			last := ended
			if at := time.Unix(0, c.last.Load()); at.After(last) {
				last = at
			}
			pause := quiet - time.Since(last)
			if pause <= 0 {
				break
			}
			time.Sleep(pause) //nolint:forbidigo // of the machine: what is measured is real
		}
	}
}

// send sends what one client sends, each message at its time, until ctx ends. What is under way then is
// waited for, less so once the user has stopped it all.
func (s *simulation) send(stopped, ctx context.Context, p link.Producer, who *fixtures.Producer, client int, line *Produced) {
	done := func(_ link.Receipt, err error) {
		line.mu.Lock()
		defer line.mu.Unlock()
		if err == nil {
			line.Sent++
			return
		}
		line.Errors++
		if line.Error == "" {
			line.Error = env.Explain(err).What
		}
	}
	stream := who.Stream(s.f.Seed, time.Now(), client)
	every := time.Duration(float64(who.Clients) / who.Rate * float64(time.Second))
	due := time.Now().Add(time.Duration(float64(client) / who.Rate * float64(time.Second)))
	timer := time.NewTimer(0)
	defer timer.Stop()
	patient, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(stopped, func() { time.AfterFunc(leaveMax, giveUp) })()
	for ctx.Err() == nil {
		if pause := time.Until(due); pause > 0 {
			timer.Reset(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				continue
			}
		}
		due = due.Add(every)
		m := link.OfFixture(stream.Next(time.Now()))
		if err := p.Send(patient, m, done); err != nil {
			done(link.Receipt{}, err)
			break
		}
	}
	closing, cancel := context.WithTimeout(patient, drainMax)
	defer cancel()
	if err := p.Close(closing); err != nil {
		done(link.Receipt{}, err)
	}
}

// take starts the clients of one line.
func (s *simulation) take(ctx context.Context, work *sync.WaitGroup, t link.Target, c *fixtures.Consumer, line *Consumed) {
	o := link.ConsumeOptions{Options: s.o, QoS: c.QoS, Group: c.Group, From: link.Position{Kind: link.AtEnd}}
	if t.Protocol == link.Kafka && c.Group != "" {
		o.From.Kind = link.AtStart
	}
	leave := make(chan struct{}) // one of the clients is to leave
	if c.Churn > 0 {
		work.Go(func() {
			tick := time.NewTicker(c.Churn)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
				select {
				case leave <- struct{}{}:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	for range c.Clients {
		work.Go(func() {
			for ctx.Err() == nil {
				s.member(ctx, t, o, c, line, leave)
			}
		})
	}
}

// member is one client, until it leaves.
func (s *simulation) member(ctx context.Context, t link.Target, o link.ConsumeOptions, c *fixtures.Consumer, line *Consumed, leave <-chan struct{}) {
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	go func() { // ends with the client
		select {
		case <-leave:
			cancel()
		case <-over:
		}
	}()
	line.mu.Lock()
	line.Joins++
	line.mu.Unlock()
	fail := []byte(c.Fail)
	_, err := link.Consume(own, t, o, func(m *link.Message) error {
		line.last.Store(time.Now().UnixNano())
		bad := len(fail) > 0 && bytes.Contains(m.Value, fail)
		attempts := 1
		if bad && t.Protocol == link.Kafka {
			attempts = c.Attempts // the record is where it was: it is tried again
		}
		for range attempts {
			if c.Takes > 0 && link.Pause(own, c.Takes) != nil {
				return context.Cause(own)
			}
		}
		line.mu.Lock()
		defer line.mu.Unlock()
		switch {
		case !bad:
			line.Taken++
		case t.Protocol == link.Kafka:
			line.Refused += int64(attempts)
			line.Skipped++
		default:
			line.Refused++
			return link.ErrRefused
		}
		return nil
	})
	if err == nil || own.Err() != nil || errors.Is(err, context.Canceled) {
		return
	}
	line.mu.Lock()
	line.Errors++
	if line.Error == "" {
		line.Error = env.Explain(err).What
	}
	line.mu.Unlock()
	_ = link.Pause(ctx, againPause)
}

func view(r *Result) env.View {
	p := env.Table{Title: "produce", Head: []string{"TO", "CLIENTS", "SENT", "ERRORS", "PER-S", "ERROR"}}
	for _, x := range r.Produce {
		p.Rows = append(p.Rows, []any{x.To, x.Clients, x.Sent, x.Errors, x.Rate, x.Error})
	}
	c := env.Table{Title: "consume", Head: []string{"FROM", "GROUP", "CLIENTS", "TAKEN", "REFUSED", "SKIPPED", "JOINS", "ERRORS", "PER-S", "ERROR"}}
	for _, x := range r.Consume {
		c.Rows = append(c.Rows, []any{x.From, x.Group, x.Clients, x.Taken, x.Refused, x.Skipped, x.Joins, x.Errors, x.Rate, x.Error})
	}
	return env.View{
		Schema: schema, Data: r, Tables: []env.Table{p, c},
		Fields: []env.Field{{Name: "fixture", Value: r.Name}, {Name: "seed", Value: r.Seed}, {Name: "seconds", Value: r.Seconds}},
	}
}
