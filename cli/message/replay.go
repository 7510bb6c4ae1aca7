package message

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/filter"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/recording"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

// replaying is one run of `rmq replay`.
type replaying struct {
	connection
	speed  speed
	where  string
	moves  []string
	dryRun bool

	filter *filter.Filter // nil: all
	rename recording.Moves

	mu     sync.Mutex
	passed int64 // that did not match
	sums   replaySums
}

// speed reads how much faster than it was recorded; 0: as fast as can be.
type speed float64

func (s *speed) Set(text string) error {
	if text == "max" {
		*s = 0
		return nil
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(text, "x"), 64)
	if err != nil || !(n > 0 && n <= 1e6) {
		return fmt.Errorf("%q is neither a number above 0 nor max", text)
	}
	*s = speed(n)
	return nil
}

func (s *speed) String() string {
	if *s == 0 {
		return "max"
	}
	return strconv.FormatFloat(float64(*s), 'g', -1, 64)
}
func (s *speed) Type() string { return "number|max" }

// replaySums is what a recording has of each address.
type replaySums struct {
	first, last int64
	total       int64
	by          map[replayAddress]int64
	more        int64 // messages to addresses beyond addressesMax
}

type replayAddress struct{ Protocol, Address string }

// addressesMax bounds the addresses that a dry run tells of.
const addressesMax = 10_000

// NewReplay returns `rmq replay`.
func NewReplay(e *env.Env) *cobra.Command {
	r := &replaying{connection: connection{e: e}, speed: 1}
	cmd := &cobra.Command{
		Use:   "replay FILE [BROKER...]",
		Short: "Publish a recording again, with its spacing, over each message's own protocol",
		Long: "Publish what rmq record has recorded again, in its order and with its spacing (--speed), each message with all that it\n" +
			"had in its own protocol. Without BROKER it goes to the rmq that --name or --url means, by its administration: Kafka\n" +
			"batches as they were, topics that are missing are made, and time is the broker's. Where that is virtual, the replay\n" +
			"goes on as somebody moves the clock (rmq clock advance), and two brokers that hold the same and get the same\n" +
			"recording hold the same afterwards.\n\n" +
			"BROKER is any broker, by the address of a protocol: mqtt://host:1883, kafka://host:9092, amqp://host:5672. A message\n" +
			"goes to the one of its protocol; what has none goes to the first, in the form that it has there.\n\n" +
			"--map FROM=TO gives an address and all below it another, both in MQTT spelling: --map orders=test/orders makes\n" +
			"orders/eu, which is Kafka's orders.eu, test/orders/eu. FILE is - for standard input.",
		Example: "  rmq replay orders.rmqrec --dry-run\n" +
			"  rmq replay orders.rmqrec --speed 10 --where 'json.amount > 1000'\n" +
			"  rmq replay orders.rmqrec --speed max --map orders=test/orders\n" +
			"  rmq replay orders.rmqrec mqtt://127.0.0.1:1883 kafka://127.0.0.1:9092",
		Args: env.AtLeast("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.Var(&r.speed, "speed", "how much faster than it was recorded: 1, 10, 0.5, or max, as fast as can be")
	f.StringVarP(&r.where, "where", "w", "", "only messages for which this holds, such as 'json.celsius > 30' (docs/FILTER.md)")
	f.StringArrayVar(&r.moves, "map", nil, "FROM=TO: what goes to FROM, or below, goes to TO; may be repeated, and the first that fits counts")
	f.BoolVar(&r.dryRun, "dry-run", false, "say what would be done, and do nothing")
	r.connection.flags(f)
	return cmd
}

func (r *replaying) run(ctx context.Context, args []string) error {
	if r.where != "" {
		var err error
		if r.filter, err = filter.Compile(r.where, filter.Options{Now: r.e.Now}); err != nil {
			return badExpression("--where", err)
		}
	}
	for _, m := range r.moves {
		if err := r.rename.Add(m); err != nil {
			return env.Failf(env.Usage, "--map: %v", err)
		}
	}
	r.sums.by = map[replayAddress]int64{}
	file, err := r.open(args[0])
	if err != nil {
		return err
	}
	defer file.Close()
	in, err := recording.NewReader(file)
	if err != nil {
		return unplayable(err, args[0])
	}
	begun := time.Now()
	var last adminapi.Replayed
	switch {
	case r.dryRun:
		last, err = r.look(in)
	case len(args) > 1:
		last, err = r.send(ctx, in, args[1:])
	default:
		last, err = r.give(ctx, in)
	}
	if errors.Is(err, context.Canceled) {
		err = context.Cause(ctx)
	} else if err != nil {
		err = unplayable(err, args[0])
	}
	r.say(&last, time.Since(begun))
	if err == nil || last.Published > 0 {
		if shown := r.show(&last); shown != nil {
			return shown
		}
	}
	if err == nil && last.Failed > 0 {
		f := env.Failf(env.Partly, "%d were not taken: %s", last.Failed, last.Problems[0])
		f.Hint = "see what there is: rmq exchange list   or begin with what there was: rmq up --snapshot NAME"
		err = f
	}
	return err
}

func (r *replaying) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(r.e.In), nil
	}
	f, err := os.Open(inDir(r.e, name))
	if errors.Is(err, fs.ErrNotExist) {
		f := env.Failf(env.NotFound, "there is no file %s", name)
		f.Hint = "make one: rmq record " + env.Quote(name)
		return nil, f
	}
	return f, err
}

// unplayable says what is wrong with a file.
func unplayable(err error, name string) error {
	what := fmt.Sprintf("recording %s: %v", name, err)
	switch {
	case errors.Is(err, recording.ErrVersion):
		return &env.Failure{Exit: env.Conflict, What: what, Hint: "use the release that wrote it, or a newer one", Err: err}
	case errors.Is(err, recording.ErrCorrupt), errors.Is(err, recording.ErrTorn):
		return &env.Failure{Exit: env.Failed, What: what, Hint: "make another: rmq record FILE", Err: err}
	}
	return err
}

// next returns the next item that is meant, as it is to be published; with nil, a mark.
func (r *replaying) next(in *recording.Reader) (*recording.Item, recording.Mark, error) {
	for {
		it, mark, err := in.Next()
		if it == nil || err != nil {
			return nil, mark, err
		}
		if r.filter != nil {
			passed, err := it.Only(func(m *message.Message) bool { return r.filter.Match(filter.Of(m)) })
			if err != nil {
				return nil, mark, err
			}
			r.mu.Lock()
			r.passed += int64(passed)
			r.mu.Unlock()
			if it.Batch == nil {
				continue
			}
		}
		if len(r.rename) > 0 {
			if err := it.Rename(r.rename.Of); err != nil {
				return nil, mark, err
			}
		}
		return it, mark, r.sum(it)
	}
}

func (r *replaying) sum(it *recording.Item) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.sums
	if s.total == 0 {
		s.first = it.Time
	}
	s.last = it.Time
	return it.Each(func(m *message.Message) error {
		s.total++
		at := replayAddress{m.Source.String(), m.Address}
		if _, known := s.by[at]; known || len(s.by) < addressesMax {
			s.by[at]++
		} else {
			s.more++
		}
		return nil
	})
}

// look reads all, and publishes nothing.
func (r *replaying) look(in *recording.Reader) (last adminapi.Replayed, err error) {
	for {
		it, mark, err := r.next(in)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, recording.ErrTorn):
			last.Torn = !errors.Is(err, io.EOF)
			return last, nil
		case err != nil:
			return last, err
		case it == nil:
			last.LeftOut = int64(mark.LeftOut)
		}
	}
}

// give has a broker of rmq publish it.
func (r *replaying) give(ctx context.Context, in *recording.Reader) (last adminapi.Replayed, err error) {
	c, err := r.e.PatientAdmin()
	if err != nil {
		return last, err
	}
	from, to := io.Pipe()
	wrong := make(chan error, 1)
	go func() { // ends with from, at the latest when give returns
		err := r.pass(in, to)
		wrong <- err
		to.CloseWithError(err)
	}()
	waiting := false
	err = c.Replay(ctx, adminapi.ReplayQuery{Speed: float64(r.speed)}, from, func(now adminapi.Replayed) error {
		last = now
		if now.Waiting && !waiting {
			r.e.Say("its time is virtual and stands still: rmq clock advance DURATION goes on")
		}
		waiting = now.Waiting
		if r.e.ErrTTY && !r.e.Quiet && !now.Done {
			fmt.Fprintf(r.e.Err, "\r\x1b[Kpublished %d", now.Published)
		}
		return nil
	})
	if r.e.ErrTTY && !r.e.Quiet {
		fmt.Fprint(r.e.Err, "\r\x1b[K")
	}
	_ = from.Close()
	if own := <-wrong; own != nil && !errors.Is(own, io.ErrClosedPipe) {
		err = own
	}
	return last, err
}

// pass writes what is meant to a broker.
func (r *replaying) pass(in *recording.Reader, to io.Writer) error {
	w, err := recording.NewWriter(to, in.About)
	for err == nil {
		var it *recording.Item
		var mark recording.Mark
		it, mark, err = r.next(in)
		switch {
		case errors.Is(err, io.EOF):
			return w.End()
		case errors.Is(err, recording.ErrTorn):
			return nil // as it is: the broker says so too
		case err != nil:
		case it == nil:
			err = w.Mark(mark)
		default:
			err = w.Item(it)
		}
	}
	return err
}

// send publishes it over the public protocols, to brokers of any kind.
func (r *replaying) send(ctx context.Context, in *recording.Reader, args []string) (last adminapi.Replayed, err error) {
	producers := map[string]link.Producer{}
	targets := map[string]link.Target{}
	first := ""
	var mu sync.Mutex
	for _, arg := range args {
		t, o, err := r.broker(ctx, arg)
		if err != nil {
			return last, err
		}
		if _, had := targets[t.Protocol]; had {
			return last, env.Failf(env.Usage, "%s: one broker of each protocol", arg)
		}
		targets[t.Protocol] = t
		first = cmp.Or(first, t.Protocol)
		p, err := link.NewProducer(ctx, t, o)
		if err != nil {
			return last, r.explain(ctx, t, err)
		}
		producers[t.Protocol] = p
	}
	failed := func(what string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			last.Published++
			return
		}
		last.Failed++
		if text := fmt.Sprintf("%s: %v", what, err); len(last.Problems) < 8 && !slices.Contains(last.Problems, text) {
			last.Problems = append(last.Problems, text)
		}
	}
	begun, at := time.Now(), int64(0)
	for some := false; err == nil; {
		var it *recording.Item
		var mark recording.Mark
		it, mark, err = r.next(in)
		if err != nil {
			break
		}
		if it == nil {
			mu.Lock()
			last.LeftOut = int64(mark.LeftOut)
			mu.Unlock()
			continue
		}
		if !some {
			some, at = true, it.Time
		}
		if r.speed > 0 {
			due := begun.Add(time.Duration(float64(it.Time-at) / float64(r.speed) * float64(time.Millisecond)))
			if err = link.Pause(ctx, time.Until(due)); err != nil {
				break
			}
		}
		err = it.Each(func(m *message.Message) error {
			protocol := m.Source.String()
			if producers[protocol] == nil {
				protocol = first
			}
			out := letter(it, m, protocol)
			what := m.Address
			return producers[protocol].Send(ctx, out, func(_ link.Receipt, err error) { failed(what, err) })
		})
	}
	torn := errors.Is(err, recording.ErrTorn)
	if torn || errors.Is(err, io.EOF) {
		err = nil
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	for _, protocol := range slices.Sorted(maps.Keys(producers)) {
		if closed := producers[protocol].Close(closing); err == nil {
			err = closed
		}
	}
	mu.Lock()
	defer mu.Unlock()
	last.Torn, last.Done = torn, err == nil
	return last, err
}

// broker reads the address of a broker.
func (r *replaying) broker(ctx context.Context, arg string) (link.Target, link.Options, error) {
	plain := strings.TrimSuffix(arg, "/")
	if _, rest, ok := strings.Cut(plain, "://"); !ok || strings.Contains(rest, "/") {
		f := env.Failf(env.Usage, "%s is no broker: messages say themselves where they go", arg)
		f.Hint = "give its address alone: mqtt://host:1883, kafka://host:9092 or amqp://host:5672; another place is --map FROM=TO"
		return link.Target{}, link.Options{}, f
	}
	t, o, err := r.target(ctx, plain+"/x")
	t.Topic, t.Exchange, t.Key, t.Queue = "", "", "", ""
	o.Routed = true
	return t, o, err
}

// letter is a message as it is published over a protocol.
func letter(it *recording.Item, m *message.Message, protocol string) *link.Message {
	shift := time.Now().UnixMilli() - it.Time
	kafka := m.Source.String() == link.Kafka
	sent := *m
	if sent.ExpiresAt != 0 && !kafka {
		sent.ExpiresAt += shift
	}
	out := adminapi.MessageOf("", &sent, len(m.Value))
	if !kafka {
		out.Time = time.Time{}
	}
	switch {
	case protocol != m.Source.String():
		link.Carry(&out)
		out.Exchange, out.RoutingKey = message.TopicExchange, message.AMQPKey(m.Address)
		if out.Topic = m.Address; protocol == link.Kafka {
			out.Topic = message.KafkaName(m.Address)
		}
	case kafka:
		out.Partition = &it.Partition
	case it.ViaExchange:
		out.Exchange, out.RoutingKey = it.Exchange, it.Key
	}
	return &out
}

// takes is the time that the recording is of.
func (r *replaying) takes() time.Duration {
	return time.Duration(r.sums.last-r.sums.first) * time.Millisecond
}

func (r *replaying) say(last *adminapi.Replayed, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range last.Created {
		r.e.Say("made topic %s, which was not there", message.KafkaName(name))
	}
	text := fmt.Sprintf("published %d in %v", last.Published, took.Round(time.Millisecond))
	if r.dryRun {
		text = fmt.Sprintf("would publish %d, recorded in %v", r.sums.total, r.takes())
	}
	if r.passed > 0 {
		text += fmt.Sprintf("; %d did not match", r.passed)
	}
	if last.LeftOut > 0 {
		text += fmt.Sprintf("; %d are missing, for they came faster than they were recorded", last.LeftOut)
	}
	if last.Torn {
		text += "; the recording was cut short"
	}
	r.e.Say("%s", text)
}

// show is for programs; of a dry run also for people.
func (r *replaying) show(last *adminapi.Replayed) error {
	if !r.e.Machine() && !r.dryRun {
		return nil
	}
	type address struct {
		Protocol string `json:"protocol"`
		Address  string `json:"address"`
		Messages int64  `json:"messages"`
	}
	type result struct {
		DryRun    bool      `json:"dry_run"`
		Messages  int64     `json:"messages"` // that are meant
		Published int64     `json:"published"`
		Failed    int64     `json:"failed"`
		Passed    int64     `json:"passed"`
		LeftOut   int64     `json:"left_out"`
		Torn      bool      `json:"torn"`
		Seconds   float64   `json:"seconds"` // that they were recorded in
		Created   []string  `json:"created,omitempty"`
		Problems  []string  `json:"problems,omitempty"`
		Addresses []address `json:"addresses"`
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := result{
		DryRun: r.dryRun, Messages: r.sums.total, Published: last.Published, Failed: last.Failed, Passed: r.passed, LeftOut: last.LeftOut, Torn: last.Torn,
		Seconds: r.takes().Seconds(), Created: last.Created, Problems: last.Problems, Addresses: []address{},
	}
	v := env.View{Schema: "rmq.replayed/1"}
	table := env.Table{Head: []string{"PROTOCOL", "ADDRESS", "MESSAGES"}}
	for at, n := range r.sums.by {
		out.Addresses = append(out.Addresses, address{at.Protocol, at.Address, n})
	}
	slices.SortFunc(out.Addresses, func(a, b address) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), strings.Compare(a.Protocol, b.Protocol))
	})
	for _, a := range out.Addresses {
		table.Rows = append(table.Rows, []any{a.Protocol, a.Address, a.Messages})
	}
	if r.sums.more > 0 {
		v.Warnings = append(v.Warnings, fmt.Sprintf("only the first %d addresses: %d messages go to others", addressesMax, r.sums.more))
	}
	v.Data, v.Tables = out, []env.Table{table}
	return r.e.Print(v)
}
