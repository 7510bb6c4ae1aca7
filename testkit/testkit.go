// Package testkit runs the production broker inside a Go test.
//
//	func TestTemperature(t *testing.T) {
//		b := testkit.Run(t)
//		publish(b.MQTT(), "sensors/dev1/temp", "21.5") // with any MQTT client
//		r := b.Want(t).Topic("sensors").Count(1)
//		...
//	}
//
// Run starts in under a millisecond: the same kernel, protocol servers and listeners as
// `rmq up --memory`, on free ports of the loopback interface, gone when the test ends.
// Nothing is mocked, so whatever client works here works anywhere.
//
//   - MQTT, Kafka, AMQP and HTTP say where clients connect.
//   - Topic, Queue, Session, Group and Retained look into the broker without a client.
//   - Want waits for something to become true. It is woken by changes and does not look
//     again and again; when it gives up it prints what did happen.
//   - Virtual makes broker time stand still; Clock.Advance moves it, and returns when all
//     that was due has happened: expired messages are in their dead-letter queue, wills are
//     published.
//   - Audit fails a test that leaves something in the broker, and says whose it is.
//   - Snapshot takes all that the broker holds, Restore puts it back, and From begins another
//     broker with it: so an expensive state is made once, for any number of tests.
//
// Brokers share nothing: any number may run at once, and tests may be parallel.
//
// # Who owns what
//
// Run's cleanup closes the broker. Where the test has failed, it says before what the broker saw, and keeps
// all that it holds in a file, of which it prints the command that opens it (TESTKIT_BUNDLE_DIR says in which
// directory; off: in none). It fails the test when closing failed, when a part of
// the broker had stopped, or when one of its goroutines is still there.
package testkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime/pprof"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/memlog"
	"github.com/robustmq/rmq/broker/vfs"
)

// Broker is a running broker.
type Broker struct {
	// Clock is broker time.
	Clock *Clock
	// Disk is what the broker keeps its data on: of a broker with DataDir or MemoryDisk.
	Disk *Disk

	node   *node // nil: it is not of a cluster
	t      testing.TB
	cfg    config
	broker *broker.Broker
	label  string // on every goroutine of the broker
	events timeline

	mu      sync.Mutex
	untap   func()
	printed bool          // the timeline, by a Want that gave up; guarded by mu
	faulty  chan struct{} // closed when the next fault happens; nil: nobody waits
}

// Option changes what Run runs.
type Option func(*config)

type config struct {
	broker broker.Config
	users  []user
	from   *Snapshot // what the broker begins with, each time it is opened; nil: nothing
	seed   uint64
	plan   string
	audit  audit
	kept   *memlog.Engine // of MemoryDisk: it has the checkpoints; nil without

	fixtures []fixture
}

type user struct{ name, password string }

// Virtual makes broker time stand still at the present; Broker.Clock moves it. Expiry,
// TTL, delays, wills and retention go by it. Keep-alives, heartbeats and the timeouts of
// consumer groups, which live clients have to meet, go by the machine's clock still.
func Virtual() Option { return VirtualAt(time.Now().Truncate(time.Second)) }

// VirtualAt is Virtual at a given time.
func VirtualAt(at time.Time) Option {
	return func(c *config) { c.broker.Hands = clock.NewHands(at) }
}

// Production runs the profile that makes no streams by itself.
func Production() Option { return func(c *config) { c.broker.Profile = broker.Production } }

// DataDir keeps everything in a directory, which a later Run may open again.
func DataDir(dir string) Option { return func(c *config) { c.broker.DataDir = dir } }

// MemoryDisk keeps everything in files, as DataDir does, on a disk in memory. It outlives Restart.
func MemoryDisk() Option {
	return func(c *config) {
		c.broker.DataDir, c.broker.FS = "/rmq", vfs.NewMem()
		c.kept = memlog.New()
		kept := checkpoints{c.kept.Checkpoints()}
		c.broker.Checkpoints = func(string) (filelog.CheckpointStore, error) { return kept, nil }
	}
}

// checkpoints outlive the broker that writes them.
type checkpoints struct{ storage.Checkpoints }

func (checkpoints) Close() error { return nil }

// User creates a user. With any, every client has to authenticate.
func User(name, password string) Option {
	return func(c *config) { c.users = append(c.users, user{name, password}) }
}

// OnePort serves all protocols on one port.
func OnePort() Option { return func(c *config) { c.broker.Ports = broker.OnePort(0) } }

// Configure changes the broker's configuration as a whole.
func Configure(change func(*broker.Config)) Option { return func(c *config) { change(&c.broker) } }

// closeMax bounds how long closing waits for clients to be told goodbye.
const closeMax = time.Minute

// Run starts a broker that ends with the test. Every port accepts clients when it returns.
func Run(t testing.TB, opts ...Option) *Broker {
	t.Helper()
	b := prepare(t, opts)
	if err := b.open(); err != nil {
		t.Fatalf("testkit: %v", err)
	}
	t.Cleanup(func() {
		b.cfg.audit.end(t, b)
		b.cleanup()
	})
	return b
}

// prepare makes a broker that is not open yet.
func prepare(t testing.TB, opts []Option) *Broker {
	b := &Broker{t: t, label: strconv.FormatUint(brokers.Add(1), 10)}
	b.cfg.broker = broker.Config{Host: "127.0.0.1", Ports: broker.AnyPorts()}
	for _, o := range opts {
		o(&b.cfg)
	}
	b.Disk = &Disk{b}
	b.Clock = &Clock{b: b}
	plan, err := chaos.Parse([]byte(b.cfg.plan))
	if err == nil {
		err = b.cfg.audit.check()
	}
	if err != nil {
		t.Fatalf("testkit: %v", err)
	}
	plan.Seed = cmp.Or(b.cfg.seed, plan.Seed)
	b.cfg.broker.Chaos, b.cfg.broker.Fired = plan, b.fired
	b.events.start = time.Now()
	if b.cfg.broker.Log == nil {
		b.cfg.broker.Log = b.events.logger()
	}
	return b
}

func (b *Broker) open() error {
	ctx := context.Background()
	err := b.labelled(func() (err error) {
		if b.cfg.from != nil {
			b.cfg.broker.Engine = b.cfg.from.image.Open()
		}
		b.broker, err = broker.Open(ctx, b.cfg.broker)
		return err
	})
	if err != nil {
		return err
	}
	for _, u := range b.cfg.users {
		if err := b.broker.Auth().Put(ctx, u.name, &u.password, nil); err != nil {
			return errors.Join(err, b.broker.Close(ctx))
		}
	}
	b.events.opened.Store(true)
	if b.cfg.broker.Cluster == nil { // of a cluster, once all nodes are up
		if err := b.load(ctx); err != nil {
			return errors.Join(err, b.broker.Close(ctx))
		}
	}
	b.untap = b.Kernel().Tap(kernel.Tap{See: b.events.published})
	return nil
}

// labelled calls f on a goroutine whose label is inherited by all that f starts, and by all
// that those start.
func (b *Broker) labelled(f func() error) error {
	done := make(chan error)
	go pprof.Do(context.Background(), pprof.Labels(labelKey, b.label), func(context.Context) {
		done <- f()
	})
	return <-done
}

// Close closes the broker before the test ends.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.untap != nil {
		b.untap()
		b.untap = nil
	}
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeMax)
	defer cancel()
	return errors.Join(b.broker.Err(), b.broker.Close(ctx))
}

// Restart closes the broker and opens it again on its data directory and its ports, as an
// operator would.
func (b *Broker) Restart() {
	b.t.Helper()
	if b.cfg.broker.DataDir == "" {
		b.t.Fatalf("testkit: a restart needs DataDir: memory is lost")
	}
	if err := b.Close(); err != nil {
		b.t.Fatalf("testkit: close: %v", err)
	}
	b.cfg.broker.Ports = b.broker.Ports()
	b.cfg.users = nil // they are in the data directory
	if err := b.open(); err != nil {
		b.t.Fatalf("testkit: open again: %v", err)
	}
}

func (b *Broker) cleanup() {
	if b.t.Failed() {
		b.events.add("test", "failed")
		b.mu.Lock()
		printed := b.printed
		b.mu.Unlock()
		if !printed && os.Getenv("RMQ_TESTKIT_QUIET") == "" {
			b.t.Logf("testkit: what the broker saw\n%s", b.story())
		}
		if os.Getenv("RMQ_TESTKIT_QUIET") == "" {
			b.keep()
		}
	}
	err := b.Close()
	if b.cfg.kept != nil {
		err = errors.Join(err, b.cfg.kept.Close())
	}
	if err != nil {
		b.t.Errorf("testkit: close: %v", err)
		return
	}
	if left := leaked(b.label); left != "" {
		b.t.Errorf("testkit: goroutines of the closed broker are still there:\n%s", left)
	}
}

// MQTT is where MQTT clients connect: mqtt://host:port.
func (b *Broker) MQTT() string { return b.broker.URLs().MQTT }

// WebSocket is where MQTT clients over WebSocket connect: ws://host:port/mqtt.
func (b *Broker) WebSocket() string { return b.broker.URLs().MQTTWS }

// Kafka is where Kafka clients connect: kafka://host:port.
func (b *Broker) Kafka() string { return b.broker.URLs().Kafka }

// Bootstrap is Kafka as its clients want it: host:port.
func (b *Broker) Bootstrap() string {
	u, err := url.Parse(b.broker.URLs().Kafka)
	if err != nil {
		panic(fmt.Sprintf("testkit: the broker's own URL: %v", err))
	}
	return u.Host
}

// AMQP is where AMQP clients connect: amqp://host:port.
func (b *Broker) AMQP() string { return b.broker.URLs().AMQP }

// HTTP is where the administration API is: http://host:port.
func (b *Broker) HTTP() string { return b.broker.URLs().HTTP }

// Kernel is the broker's kernel, for what this package does not offer.
func (b *Broker) Kernel() *kernel.Kernel { return b.broker.Kernel() }

// Admin is the administration API, asked without a client.
func (b *Broker) Admin() adminapi.Source { return b.broker.Admin() }
