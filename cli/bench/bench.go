// Package bench holds `rmq bench`: how fast a broker is, as its clients see it. It works on any broker.
//
// Load is open: messages have a time at which they are due, whatever became of those before, and how
// long one took is counted from then on. A broker that stands still for a second is seen by all that
// were due in that second, and not by the one that happened to be under way.
//
//	bench.go   flags, results, verdict
//	load.go    what is due when, and the four ways to load
package bench

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

const schemaBench = "rmq.bench/1"

// bench is the flags of one run.
type bench struct {
	e     *env.Env
	mode  string
	tls   env.TLS
	vhost string

	rate      env.Rate
	clients   int
	consumers int
	size      env.Size
	length    env.Duration
	warmUp    env.Duration
	count     int64
	qos       int
	acks      string
	failIf    []string

	target link.Target
	link   link.Options
	limits []limit
}

const (
	clientsMax = 10_000
	sizeMax    = 256 << 20 // of a value: no protocol here has more in one
)

// Command returns `rmq bench`.
func Command(e *env.Env) *cobra.Command {
	return env.Noun("bench", "Measure a broker as its clients see it",
		verb(e, "produce", "Measure from when a message is due to its acknowledgement",
			"  rmq bench produce mqtt:bench/a --rate 1000 --for 10s\n  rmq bench produce kafka://host:9092/orders --clients 4 --size 1k --acks all --fail-if 'p99>5ms'\n"+
				"  rmq bench produce amqp:queue:jobs --rate 0 -n 100000 -o json"),
		verb(e, "latency", "Measure from when a message is due to its delivery",
			"  rmq bench latency mqtt:bench/a --rate 1000 --consumers 3\n  rmq bench latency kafka:orders --rate 500 --fail-if 'p99.9>20ms' --fail-if 'errors>0'"),
		verb(e, "consume", "Measure how fast messages are taken that are there, or come",
			"  rmq bench consume kafka:orders --for 10s\n  rmq bench consume amqp:queue:jobs -n 10000 --fail-if 'rate<5000'"),
		verb(e, "connect", "Measure how long a client takes to be let in",
			"  rmq bench connect mqtt:x --rate 200 --for 5s\n  rmq bench connect amqps://host/x/y --rate 20 --fail-if 'p99>50ms'"))
}

func verb(e *env.Env, mode, short, example string) *cobra.Command {
	b := &bench{e: e, mode: mode, rate: 1000, clients: 1, consumers: 1, size: 256, length: env.Duration(10 * time.Second), warmUp: env.Duration(time.Second), qos: 1, acks: "all"}
	cmd := &cobra.Command{
		Use:   mode + " TARGET",
		Short: short,
		Long: short + ".\n\nTARGET is as for rmq produce: mqtt:TOPIC, kafka:TOPIC, amqp:EXCHANGE/KEY or amqp:queue:NAME, maybe with a host.\n" +
			"Load is open: a message is due at its time whatever became of those before it, and is counted from then on.\n" +
			"What is measured shares this machine with a broker that runs here: generator_cpu says how much of one processor we took.\n\n" +
			"--fail-if takes p50, p90, p99, p99.9, max, mean (durations), rate (a second), errors or late with > >= < <=;\n" +
			"the exit code is 9 when one holds.",
		Example: example,
		Args:    env.Exactly("TARGET"),
		RunE:    func(cmd *cobra.Command, args []string) error { return b.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.IntVar(&b.clients, "clients", b.clients, "how many clients, each with a connection of its own")
	f.Var(&b.length, "for", "how long to measure")
	f.Int64VarP(&b.count, "count", "n", 0, "stop after so many messages (connect: connections)")
	f.Var(&b.warmUp, "warm-up", "how long to go on before it counts")
	f.StringArrayVar(&b.failIf, "fail-if", nil, "end with 9 if this holds, as 'p99>5ms'; repeatable")
	if mode != "consume" {
		f.Var(&b.rate, "rate", "how many are due in a time, of all clients together: 1000, 1000/s, 30/m; 0: the next as soon as there is room")
	}
	if mode == "produce" || mode == "latency" {
		f.Var(&b.size, "size", "bytes of a value")
		f.Var(&env.Choice{Value: &b.acks, Of: []string{"all", "1", "0"}}, "acks", "Kafka: whom an acknowledgement waits for")
	}
	if mode == "latency" {
		f.IntVar(&b.consumers, "consumers", b.consumers, "how many clients take the messages")
	}
	if mode != "connect" {
		f.IntVar(&b.qos, "qos", b.qos, "MQTT QoS; over AMQP 0 is transient, else persistent")
	}
	f.StringVar(&b.vhost, "vhost", "/", "AMQP virtual host")
	b.tls.Flags(f)
	e.BrokerFlags(f)
	return cmd
}

func (b *bench) run(cmd *cobra.Command, arg string) error {
	if err := b.read(cmd.Context(), arg); err != nil {
		return err
	}
	r, err := b.load(cmd.Context())
	if err != nil {
		return err
	}
	r.Mode, r.Target, r.Protocol, r.Clients = b.mode, b.target.String(), b.target.Protocol, b.clients
	if b.mode != "consume" {
		r.RateAsked = float64(b.rate)
	}
	if b.mode == "produce" || b.mode == "latency" {
		r.Size = int64(b.size)
	}
	asking, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), drainMax) // after Ctrl-C too
	b.describe(asking, r)
	cancel()
	r.Failed = []string{}
	for _, l := range b.limits {
		if l.holds(r) {
			r.Failed = append(r.Failed, l.text)
		}
	}
	if err := b.e.Print(view(r)); err != nil {
		return err
	}
	if len(r.Failed) > 0 {
		return env.Failf(env.Negative, "what was not to be is: %s", strings.Join(r.Failed, ", "))
	}
	return nil
}

// read checks the flags and finds the broker.
func (b *bench) read(ctx context.Context, arg string) (err error) {
	switch {
	case b.clients < 1 || b.clients > clientsMax || b.consumers < 1 || b.consumers > clientsMax:
		return env.Failf(env.Usage, "clients and consumers are 1 to %d", clientsMax)
	case b.qos < 0 || b.qos > 2:
		return env.Failf(env.Usage, "--qos %d is none of 0, 1, 2", b.qos)
	case b.count < 0:
		return env.Failf(env.Usage, "-n %d is less than nothing", b.count)
	case b.mode == "latency" && b.size < stampLen:
		return env.Failf(env.Usage, "--size %d: to tell how long it took, a message has at least %d bytes", b.size, stampLen)
	case b.size > sizeMax:
		return env.Failf(env.Usage, "--size %d: a value has %d bytes at most", b.size, int64(sizeMax))
	case b.length == 0:
		return env.Failf(env.Usage, "--for 0 measures nothing")
	}
	for _, s := range b.failIf {
		l, err := parseLimit(s, b.mode)
		if err != nil {
			return err
		}
		b.limits = append(b.limits, l)
	}
	b.link = link.Options{VHost: b.vhost, Acks: b.acks, Guard: b.e.Guard}
	if b.target, err = link.ParseTarget(arg); err != nil {
		return env.WithHint(err, "rmq produce --help shows every form of a target")
	}
	if b.target.Address == "" {
		urls, err := b.e.URLs(ctx)
		if err != nil {
			return err
		}
		if err := b.target.Resolve(urls); err != nil {
			return err
		}
	} else {
		b.e.URL = "-" // of somebody else: there is no API to ask
	}
	if b.e.User != "" && b.target.User == "" {
		b.target.User = b.e.User
	}
	if b.target.User != "" && b.target.Password == "" {
		if b.target.Password, err = b.e.Password(); err != nil {
			return err
		}
	}
	if b.target.TLS {
		b.link.TLS, err = b.tls.Config()
	}
	return err
}

// Result is what was measured.
type Result struct {
	Mode      string  `json:"mode"`
	Target    string  `json:"target"`
	Protocol  string  `json:"protocol"`
	Clients   int     `json:"clients"`
	Size      int64   `json:"size,omitempty"`
	RateAsked float64 `json:"rate_asked,omitempty"` // 0: as fast as there is room

	// What an acknowledgement stands for: without it no figure means anything.
	Acknowledged string `json:"acknowledged"`
	Durability   string `json:"durability"` // sync, async, memory, or unknown: the broker does not say
	Replicas     int    `json:"replicas,omitempty"`
	InSync       int    `json:"min_in_sync,omitempty"`

	Seconds  float64 `json:"seconds"`
	Messages int64   `json:"messages"`
	Bytes    int64   `json:"bytes,omitempty"`
	Errors   int64   `json:"errors"`
	Error    string  `json:"error,omitempty"` // the first
	Rate     float64 `json:"rate"`            // messages a second
	// Late is how far behind its time the generator has sent at most: what is due late is counted so.
	Late float64 `json:"late_ms"`
	CPU  float64 `json:"generator_cpu"` // processors that we took

	Latency *Latency `json:"latency_ms,omitempty"`
	Failed  []string `json:"failed"` // of --fail-if
}

// Latency is in ms.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
	Mean float64 `json:"mean"`
}

func latencyOf(h *hdrhistogram.Histogram) *Latency {
	if h.TotalCount() == 0 {
		return nil
	}
	ms := func(us int64) float64 { return float64(us) / 1000 }
	return &Latency{
		ms(h.ValueAtQuantile(50)), ms(h.ValueAtQuantile(90)), ms(h.ValueAtQuantile(99)), ms(h.ValueAtQuantile(99.9)), ms(h.Max()), math.Round(h.Mean()) / 1000,
	}
}

func view(r *Result) env.View {
	v := env.View{Schema: schemaBench, Data: r}
	add := func(name string, value any) { v.Fields = append(v.Fields, env.Field{Name: name, Value: value}) }
	add("target", r.Target)
	add("clients", r.Clients)
	if r.Size > 0 {
		add("size", env.Bytes(r.Size))
	}
	add("acknowledged", r.Acknowledged)
	add("durability", r.Durability)
	if r.Replicas > 0 {
		add("replicas", r.Replicas)
	}
	add("seconds", math.Round(r.Seconds*1000)/1000)
	add("messages", r.Messages)
	add("errors", r.Errors)
	if r.Error != "" {
		add("error", r.Error)
	}
	add("rate", math.Round(r.Rate*10)/10)
	if l := r.Latency; l != nil {
		for _, x := range []struct {
			name string
			ms   float64
		}{{"p50", l.P50}, {"p90", l.P90}, {"p99", l.P99}, {"p99.9", l.P999}, {"max", l.Max}, {"mean", l.Mean}} {
			add(x.name, strconv.FormatFloat(x.ms, 'f', 3, 64)+" ms")
		}
		add("late", strconv.FormatFloat(r.Late, 'f', 3, 64)+" ms")
	}
	add("generator-cpu", math.Round(r.CPU*100)/100)
	return v
}

// describe says what the broker keeps, as far as it tells.
func (b *bench) describe(ctx context.Context, r *Result) {
	t := b.target
	switch {
	case b.mode == "connect":
		r.Acknowledged = "let in"
	case t.Protocol == link.MQTT:
		r.Acknowledged = fmt.Sprintf("QoS %d", b.qos)
	case t.Protocol == link.Kafka && b.mode != "consume":
		r.Acknowledged = "acks " + b.acks
	case t.Protocol == link.Kafka:
		r.Acknowledged = "read"
	case b.mode == "consume":
		r.Acknowledged = "ack"
	case b.qos == 0:
		r.Acknowledged = "confirm, transient"
	default:
		r.Acknowledged = "confirm, persistent"
	}
	r.Durability = "unknown"
	if t.Protocol == link.Kafka && b.mode != "connect" {
		if replicas, inSync, err := link.Replicas(ctx, t, b.link); err == nil { // it is told as unknown else
			r.Replicas, r.InSync = replicas, inSync
		}
	}
	if b.e.URL == "-" || b.mode == "connect" {
		return
	}
	admin, err := b.e.Admin()
	if err != nil {
		return
	}
	shard := int64(-1)
	if t.Queue != "" {
		if q, err := admin.Queue(ctx, adminapi.Ref{Name: t.Queue}); err == nil {
			r.Durability, shard = q.Durability, int64(q.Shard)
		}
	} else {
		// What is published over MQTT and AMQP rests in the topic that is home to it.
		name, spelling := cmp.Or(t.Topic, t.Key), t.Protocol
		topic, err := admin.Topic(ctx, adminapi.Ref{Name: name, Spelling: spelling})
		if err != nil {
			first, _, _ := strings.Cut(strings.ReplaceAll(name, ".", "/"), "/")
			topic, err = admin.Topic(ctx, adminapi.Ref{Name: first})
		}
		if err == nil {
			r.Durability = topic.Durability
			if len(topic.Partitions) > 0 {
				shard = int64(topic.Partitions[0].Shard)
			}
		}
	}
	if shards, err := admin.Shards(ctx); err == nil {
		for _, s := range shards {
			if int64(s.ID) == shard {
				r.Replicas = len(s.Voters)
			}
		}
	}
}

// ---- limits ------------------------------------------------------------------

// limit is what --fail-if says.
type limit struct {
	text, metric, op string
	value            float64 // ms for durations
}

var metrics = []string{"p50", "p90", "p99", "p99.9", "max", "mean", "late", "rate", "errors"}

func parseLimit(s, mode string) (l limit, err error) {
	i := strings.IndexAny(s, "<>")
	if i < 0 {
		return l, &env.Failure{Exit: env.Usage, What: fmt.Sprintf("--fail-if %q compares nothing", s), Hint: "--fail-if 'p99>5ms'"}
	}
	l = limit{text: s, metric: strings.TrimSpace(s[:i]), op: s[i : i+1]}
	value := s[i+1:]
	if strings.HasPrefix(value, "=") {
		l.op, value = l.op+"=", value[1:]
	}
	value = strings.TrimSpace(value)
	known := false
	for _, m := range metrics {
		known = known || m == l.metric
	}
	switch {
	case !known:
		f := env.Failf(env.Usage, "--fail-if: there is no %q to compare", l.metric)
		f.Hint = "one of " + strings.Join(metrics, ", ")
		if near := env.Closest(l.metric, metrics); near != "" {
			f.Hint = "did you mean " + near + "?"
		}
		return l, f
	case l.metric == "rate" || l.metric == "errors":
		if l.value, err = strconv.ParseFloat(value, 64); err != nil {
			return l, env.Failf(env.Usage, "--fail-if: %q is not a number", value)
		}
	case mode == "consume":
		return l, env.Failf(env.Usage, "--fail-if: consume has no %s: only rate and errors", l.metric)
	default:
		d, err := env.ParseDuration(value)
		if err != nil {
			return l, env.Failf(env.Usage, "--fail-if: %v", err)
		}
		l.value = float64(d) / float64(time.Millisecond)
	}
	return l, nil
}

// holds tells whether the result is what it was not to be. Without a latency, as when nothing came, a
// limit on it holds.
func (l limit) holds(r *Result) bool {
	var v float64
	switch l.metric {
	case "rate":
		v = r.Rate
	case "errors":
		v = float64(r.Errors)
	case "late":
		v = r.Late
	default:
		if r.Latency == nil {
			return true
		}
		v = map[string]float64{"p50": r.Latency.P50, "p90": r.Latency.P90, "p99": r.Latency.P99, "p99.9": r.Latency.P999, "max": r.Latency.Max, "mean": r.Latency.Mean}[l.metric]
	}
	switch l.op {
	case ">":
		return v > l.value
	case ">=":
		return v >= l.value
	case "<":
		return v < l.value
	}
	return v <= l.value
}
