package message

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/filter"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/recording"
	"github.com/robustmq/rmq/cli/env"
)

// markMax bounds how long a recording goes on for what was committed before its end: a broker says four
// times a second how far it is.
const markMax = 3 * time.Second

// taping is one run of `rmq record`.
type taping struct {
	e      *env.Env
	q      adminapi.RecordQuery
	n      int64
	length env.Duration
	force  bool

	mu     sync.Mutex
	w      *recording.Writer // nil: no node has begun
	file   *bufio.Writer
	size   counted
	counts map[string]int64 // by protocol
	total  int64
	left   map[uint64]uint64 // by node
	noted  uint64            // of left, in the file
	ending bool              // each node ends at its next mark
	enough chan struct{}     // closed when there are n
}

// NewRecord returns `rmq record`.
func NewRecord(e *env.Env) *cobra.Command {
	t := &taping{e: e, counts: map[string]int64{}, left: map[uint64]uint64{}, enough: make(chan struct{})}
	cmd := &cobra.Command{
		Use:   "record FILE [FILTER]",
		Short: "Record what is published and committed, over all protocols, to a file for rmq replay",
		Long: "Record what is published and committed on a running broker, here or elsewhere (--url), over all protocols, to a file\n" +
			"for rmq replay, until -n, --for or Ctrl-C. FILTER is an MQTT filter of what goes where: orders is Kafka's topic\n" +
			"orders, orders/# all below it too.\n\n" +
			"What is recorded is what the logs got, in their order, with all that a message had in its own protocol; batches of\n" +
			"Kafka producers stay as they were compressed. What follows by itself follows again in a replay, and is left out:\n" +
			"dead letters, and what was delayed when its time comes. Nobody waits for who records: what comes faster than it is\n" +
			"read is left out, and counted, here and in the file.\n\n" +
			"FILE is - for standard output. To have the broker as it was at the beginning too: rmq snapshot save, before.",
		Example: "  rmq record orders.rmqrec orders/#\n" +
			"  rmq record all.rmqrec --for 10m\n" +
			"  rmq record big.rmqrec --where 'json.amount > 1000' -n 100 --url http://10.0.0.7:15672",
		Args: env.Between([]string{"FILE"}, "FILTER"),
		RunE: func(cmd *cobra.Command, args []string) error { return t.run(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.Int64VarP(&t.n, "count", "n", 0, "stop after so many messages")
	f.Var(&t.length, "for", "stop after so long (default: until Ctrl-C)")
	f.StringVarP(&t.q.Where, "where", "w", "", "only messages for which this holds, such as 'json.celsius > 30' (docs/FILTER.md)")
	f.Var(&env.Choice{Value: &t.q.Protocol, Of: []string{"mqtt", "kafka", "amqp"}}, "protocol", "only what came over this one")
	f.BoolVar(&t.force, "force", false, "replace what there is")
	env.NamespaceFlag(f, &t.q.Namespace)
	e.BrokerFlags(f)
	return cmd
}

func (t *taping) run(ctx context.Context, args []string) error {
	if t.n < 0 {
		return env.Failf(env.Usage, "-n %d is less than nothing", t.n)
	}
	if len(args) > 1 {
		t.q.Filter = args[1]
		if why := badFilter(t.q.Filter); why != "" {
			return env.Failf(env.Usage, "%q is no topic filter: %s", t.q.Filter, why)
		}
	}
	if t.q.Where != "" {
		if _, err := filter.Compile(t.q.Where, filter.Options{Now: t.e.Now}); err != nil {
			return badExpression("--where", err)
		}
	}
	nodes, warnings, err := t.e.EveryNode(ctx)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		t.e.Say("warning: %s", w)
	}
	to, closing, err := t.open(args[0])
	if err != nil {
		return err
	}
	t.size.to = to
	t.file = bufio.NewWriterSize(&t.size, 64<<10)
	begun := time.Now()
	err = t.record(ctx, nodes)
	if t.w != nil {
		if end := t.w.End(); err == nil {
			err = end
		}
	}
	if flushed := t.file.Flush(); err == nil {
		err = flushed
	}
	if closed := closing(); err == nil {
		err = closed
	}
	if t.w == nil {
		return err
	}
	t.told(args[0], time.Since(begun))
	if t.e.Machine() && args[0] != "-" {
		if err := t.e.Print(t.view(args[0])); err != nil {
			return err
		}
	}
	if err == nil && t.total < t.n {
		err = env.Failf(env.TimedOut, "wanted %d messages, got %d", t.n, t.total)
	}
	return err
}

// badFilter says why a text is no MQTT filter; "": it is one.
func badFilter(text string) string {
	levels := strings.Split(text, "/")
	for i, l := range levels {
		switch {
		case strings.ContainsAny(l, "+#") && len(l) > 1:
			return "a wildcard stands for a whole level"
		case l == "#" && i < len(levels)-1:
			return "# stands last"
		}
	}
	if text == "" {
		return "it is empty"
	}
	return ""
}

// open opens what is written to.
func (t *taping) open(name string) (to io.Writer, closing func() error, err error) {
	if name == "-" {
		if t.e.OutTTY {
			f := env.Failf(env.Usage, "a recording is not for a terminal")
			f.Hint = "give it a file, or a pipe: rmq record - | gzip > orders.rmqrec.gz"
			return nil, nil, f
		}
		return t.e.Out, func() error { return nil }, nil
	}
	path := inDir(t.e, name)
	how := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if !t.force {
		how |= os.O_EXCL
	}
	f, err := os.OpenFile(path, how, 0o600) // it may hold secrets
	if errors.Is(err, os.ErrExist) {
		f := env.Failf(env.Conflict, "there is a file %s already", name)
		f.Hint = "replace it: rmq record " + env.Quote(name) + " --force"
		return nil, nil, f
	}
	if err != nil {
		return nil, nil, err
	}
	return f, func() error {
		err := f.Close()
		if t.w == nil && !t.force { // nothing has been begun
			_ = os.Remove(path)
		}
		return err
	}, nil
}

func inDir(e *env.Env, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(e.Dir, name)
}

// counted counts what is written.
type counted struct {
	to    io.Writer
	bytes int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.bytes += int64(n)
	return n, err
}

// record reads every node until it is to end.
func (t *taping) record(ctx context.Context, nodes []env.NodeClient) error {
	reading, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	ended := make(chan struct{})
	defer close(ended)
	go func() { // ends with record
		var over <-chan time.Time
		if t.length > 0 {
			timer := time.NewTimer(time.Duration(t.length))
			defer timer.Stop()
			over = timer.C
		}
		select {
		case <-ctx.Done():
		case <-over:
		case <-t.enough:
			stop(errStop)
			return
		case <-ended:
			return
		}
		t.mu.Lock()
		t.ending = true
		t.mu.Unlock()
		timer := time.NewTimer(markMax)
		defer timer.Stop()
		select {
		case <-timer.C:
			stop(errStop)
		case <-ended:
		}
	}()
	_, lost, err := env.AskEvery(reading, nodes, func(ctx context.Context, n env.NodeClient) (struct{}, error) {
		err := t.node(ctx, n)
		if errors.Is(context.Cause(ctx), errStop) {
			err = nil
		}
		return struct{}{}, err
	})
	for _, w := range lost {
		t.e.Say("warning: %s", w)
	}
	return err
}

// node writes what a node records, until it ends, or the recording does.
func (t *taping) node(ctx context.Context, n env.NodeClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from, to := io.Pipe()
	go func() { to.CloseWithError(n.Record(ctx, t.q, to)) }() // ends with ctx
	defer from.Close()
	in, err := recording.NewReader(from)
	if err != nil {
		return recordFailed(err)
	}
	t.mu.Lock()
	if t.w == nil {
		t.w, err = recording.NewWriter(t.file, in.About)
		t.e.Say("recording; Ctrl-C ends it")
	}
	t.mu.Unlock()
	for err == nil {
		var it *recording.Item
		var mark recording.Mark
		if it, mark, err = in.Next(); err != nil {
			return recordFailed(err)
		}
		var over bool
		if over, err = t.write(n.Node, it, mark); over {
			return err
		}
	}
	return err
}

// recordFailed is the error of the broker, and not that of the file which it has cut short.
func recordFailed(err error) error {
	if a, ok := errors.AsType[*adminapi.Error](err); ok {
		return a
	}
	if errors.Is(err, recording.ErrTorn) || errors.Is(err, io.EOF) {
		return env.Failf(env.Unreachable, "the broker has ended; what came before that is recorded")
	}
	return err
}

// write takes what a node has sent; over: there is to be no more of it.
func (t *taping) write(node uint64, it *recording.Item, mark recording.Mark) (over bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if it == nil {
		t.left[node] = mark.LeftOut
		if all := t.leftOut(); all > t.noted || t.ending {
			if t.noted == 0 && all > 0 {
				t.e.Say("warning: some is left out, for it comes faster than it is read")
			}
			t.noted = all
			if err := t.w.Mark(recording.Mark{Time: mark.Time, LeftOut: all}); err != nil {
				return true, err
			}
		}
		return t.ending, t.file.Flush()
	}
	if t.n > 0 {
		room := t.n - t.total
		if _, err := it.Only(func(*message.Message) bool { room--; return room >= 0 }); err != nil || it.Batch == nil {
			return true, err
		}
	}
	if err := t.w.Item(it); err != nil {
		return true, err
	}
	err = it.Each(func(m *message.Message) error {
		t.counts[m.Source.String()]++
		t.total++
		return nil
	})
	if t.n > 0 && t.total >= t.n {
		close(t.enough)
		return true, err
	}
	return false, err
}

func (t *taping) leftOut() (n uint64) {
	for _, of := range t.left {
		n += of
	}
	return n
}

func (t *taping) told(name string, took time.Duration) {
	text := fmt.Sprintf("recorded %d messages in %v, %s", t.total, took.Round(time.Millisecond), env.Bytes(t.size.bytes))
	if n := t.leftOut(); n > 0 {
		text += fmt.Sprintf("; %d were left out, for they came faster than they were read", n)
	}
	if name != "-" {
		text += "; publish them again: rmq replay " + env.Quote(name)
	}
	t.e.Say("%s", text)
}

func (t *taping) view(name string) env.View {
	type recorded struct {
		File     string           `json:"file"`
		Messages int64            `json:"messages"`
		By       map[string]int64 `json:"by_protocol"`
		Bytes    int64            `json:"bytes"`
		LeftOut  uint64           `json:"left_out"`
	}
	return env.View{Schema: "rmq.recorded/1", Data: recorded{name, t.total, t.counts, t.size.bytes, t.leftOut()}}
}
