// Command embedded measures brokers inside a Go test, side by side: testkit, kfake, mochi and a nats-server with
// JetStream, which is what its MQTT needs. It is a module of its own, so that rmq does not depend on them.
//
//	cd testkit/bench/embedded && go run . [-rounds 200]
//
// In each round every broker is started, sent its first message, and closed, in an order by chance, in this one process.
// A first message is: connect, subscribe, publish at QoS 1 or acks=all, and have it, by the same client library on
// both sides of a comparison. What is left is counted after all of that, beside what there was before. All of them keep
// what they have in memory, but nats-server, which keeps the sessions of MQTT in files: its directory is the system's
// for temporary files, or -dir.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/nats-io/nats-server/v2/server"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/testkit"
)

// subject is a broker in one use.
type subject struct {
	broker, protocol string
	start            func() (address string, closing func() error, err error)
	first            func(address string) error
}

// figures are those of one round.
type figures struct {
	start, first, close time.Duration
	goroutines, files   int // left
}

func main() {
	rounds := flag.Int("rounds", 200, "how often each is measured")
	dir := flag.String("dir", os.TempDir(), "where nats-server keeps its files")
	flag.Parse()
	nats := func() (string, func() error, error) { return startNATS(*dir) }
	all := []subject{
		{"testkit", "MQTT", startTestkit((*testkit.Broker).MQTT), firstMQTT},
		{"mochi", "MQTT", startMochi, firstMQTT},
		{"nats-server", "MQTT", nats, firstMQTT},
		{"testkit", "Kafka", startTestkit((*testkit.Broker).Bootstrap), firstKafka},
		{"kfake", "Kafka", startKfake, firstKafka},
		{"testkit", "AMQP", startTestkit((*testkit.Broker).AMQP), firstAMQP},
	}
	seen := make([][]figures, len(all))
	for round := range *rounds + 1 {
		for _, i := range rand.Perm(len(all)) {
			f, err := measure(all[i])
			if err != nil {
				fmt.Fprintf(os.Stderr, "embedded: %s over %s: %v\n", all[i].broker, all[i].protocol, err)
				os.Exit(1)
			}
			if round > 0 { // the first is for what a process does once
				seen[i] = append(seen[i], f)
			}
		}
	}
	print(os.Stdout, *rounds, all, seen)
}

// measure is one round of one broker.
func measure(s subject) (f figures, err error) {
	runtime.GC() // what another has left behind is not this one's to sweep
	goroutines, files := runtime.NumGoroutine(), openFiles()
	at := time.Now()
	address, closing, err := s.start()
	if err != nil {
		return f, err
	}
	f.start = time.Since(at)
	at = time.Now()
	if err = s.first(address); err == nil {
		f.first = time.Since(at)
	}
	at = time.Now()
	if cerr := closing(); err == nil {
		err = cerr
	}
	f.close = time.Since(at)
	f.goroutines, f.files = left(goroutines, files)
	return f, err
}

// leftMax bounds how long goroutines that were told to end may take to be gone, and clients' with them.
const leftMax = 500 * time.Millisecond

func left(goroutines, files int) (g, n int) {
	for end := time.Now().Add(leftMax); ; time.Sleep(time.Millisecond) {
		g, n = runtime.NumGoroutine()-goroutines, openFiles()-files
		if g <= 0 && n <= 0 || time.Now().After(end) {
			return max(g, 0), max(n, 0)
		}
	}
}

// openFiles counts those of this process, sockets included; 0 where the system does not tell.
func openFiles() int {
	all, _ := os.ReadDir("/proc/self/fd")
	return len(all)
}

// print prints the medians, and the 99th percentile, with what testkit's are of each other's.
func print(out io.Writer, rounds int, all []subject, seen [][]figures) {
	fmt.Fprintf(out, "%d rounds, interleaved; %s, %s/%s, %d processors; median (99th percentile) in ms\n\n", rounds, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "protocol\tbroker\tstart\tfirst message\tclose\tall three\tgoroutines left\tfiles left\ttestkit takes\t")
	ours := map[string]float64{}
	for i, s := range all {
		of := func(d func(figures) time.Duration) (median, p99 float64) {
			var v []float64
			for _, f := range seen[i] {
				v = append(v, d(f).Seconds()*1000)
			}
			slices.Sort(v)
			return v[len(v)/2], v[len(v)*99/100]
		}
		cell := func(d func(figures) time.Duration) string {
			m, p := of(d)
			return fmt.Sprintf("%.2f (%.2f)", m, p)
		}
		whole := func(f figures) time.Duration { return f.start + f.first + f.close }
		m, _ := of(whole)
		ratio := ""
		if s.broker == "testkit" {
			ours[s.protocol] = m
		} else {
			ratio = fmt.Sprintf("%.2fx", ours[s.protocol]/m)
		}
		g, n := 0, 0
		for _, f := range seen[i] {
			g, n = max(g, f.goroutines), max(n, f.files)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t\n", s.protocol, s.broker,
			cell(func(f figures) time.Duration { return f.start }), cell(func(f figures) time.Duration { return f.first }),
			cell(func(f figures) time.Duration { return f.close }), cell(whole), g, n, ratio)
	}
	_ = w.Flush() // of a terminal, or a pipe that nobody reads any more
}

// ---- brokers ------------------------------------------------------------------

// tb is a test to testkit.
type tb struct {
	testing.TB
	ends   []func()
	failed error
}

func (t *tb) Helper()          {}
func (t *tb) Name() string     { return "embedded" }
func (t *tb) Failed() bool     { return false }
func (t *tb) Cleanup(f func()) { t.ends = append(t.ends, f) }
func (t *tb) Errorf(format string, args ...any) {
	t.failed = fmt.Errorf(format, args...)
}
func (t *tb) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (t *tb) Logf(string, ...any)               {}

// startTestkit ends as a test does: with the search for what it has left.
func startTestkit(address func(*testkit.Broker) string) func() (string, func() error, error) {
	return func() (string, func() error, error) {
		t := new(tb)
		b := testkit.Run(t)
		return address(b), func() error {
			for _, f := range slices.Backward(t.ends) {
				f()
			}
			return t.failed
		}, nil
	}
}

func startKfake() (string, func() error, error) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1))
	if err != nil {
		return "", nil, err
	}
	return c.ListenAddrs()[0], func() error { c.Close(); return nil }, nil
}

func startMochi() (string, func() error, error) {
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		return "", nil, err
	}
	tcp := listeners.NewTCP(listeners.Config{ID: "mqtt", Address: "127.0.0.1:0"})
	if err := s.AddListener(tcp); err != nil {
		return "", nil, err
	}
	if err := s.Serve(); err != nil {
		return "", nil, err
	}
	return "mqtt://" + tcp.Address(), s.Close, nil
}

func startNATS(dir string) (string, func() error, error) {
	dir, err := os.MkdirTemp(dir, "nats-")
	if err != nil {
		return "", nil, err
	}
	o := &server.Options{Host: "127.0.0.1", Port: -1, ServerName: "one", NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir}
	o.MQTT.Host, o.MQTT.Port = "127.0.0.1", -1
	s, err := server.NewServer(o)
	if err != nil {
		return "", nil, err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return "", nil, fmt.Errorf("not ready")
	}
	return fmt.Sprintf("mqtt://127.0.0.1:%d", o.MQTT.Port), func() error {
		s.Shutdown()
		s.WaitForShutdown()
		return os.RemoveAll(dir)
	}, nil
}

// ---- first messages -------------------------------------------------------------

func firstMQTT(address string) error {
	c := paho.NewClient(paho.NewClientOptions().AddBroker(address).SetClientID("first").SetAutoReconnect(false))
	wait := func(t paho.Token) error { t.Wait(); return t.Error() }
	if err := wait(c.Connect()); err != nil {
		return err
	}
	defer c.Disconnect(0)
	got := make(chan struct{})
	if err := wait(c.Subscribe("plant/#", 1, func(paho.Client, paho.Message) { close(got) })); err != nil {
		return err
	}
	if err := wait(c.Publish("plant/dev1", 1, false, "21.5")); err != nil {
		return err
	}
	<-got
	return nil
}

func firstKafka(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0),
		kgo.ConsumeTopics("plant"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "plant", Value: []byte("21.5")}).FirstErr(); err != nil {
		return err
	}
	f := c.PollFetches(ctx)
	if f.NumRecords() != 1 {
		return fmt.Errorf("%d records: %w", f.NumRecords(), f.Err())
	}
	return nil
}

func firstAMQP(address string) error {
	c, err := amqp.Dial(address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // it has done what it was to
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	q, err := ch.QueueDeclare("plant", true, false, false, false, nil)
	if err != nil {
		return err
	}
	got, err := ch.Consume(q.Name, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	if err := ch.Confirm(false); err != nil {
		return err
	}
	if err := ch.Publish("", q.Name, false, false, amqp.Publishing{Body: []byte("21.5")}); err != nil {
		return err
	}
	d, ok := <-got
	if !ok {
		return fmt.Errorf("the connection has ended")
	}
	return d.Ack(false)
}
