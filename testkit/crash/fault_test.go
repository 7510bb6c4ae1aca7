package crash

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/vfs"
)

// refusals is what publishers of each protocol are told by a broker that cannot store
// anything.
type refusals struct {
	t    *testing.T
	addr string
	fill []byte // what they publish until then
}

// kafka returns what a produce request is refused with. It makes them itself: franz-go
// tries again what can be.
func (r *refusals) kafka(ctx context.Context) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(r.addr), kgo.MaxVersions(kversion.V3_0_0())) // topics by name
	if err != nil {
		return err
	}
	defer c.Close()
	var b record.Builder
	b.Reset(nil, time.Now().UnixMilli())
	b.Add(time.Now().UnixMilli(), nil, r.fill)
	batch := b.Finish()
	for {
		req := kmsg.NewProduceRequest()
		req.Acks, req.TimeoutMillis = -1, int32(patience.Milliseconds())
		topic, partition := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
		topic.Topic, partition.Records = "filler", batch
		topic.Partitions = append(topic.Partitions, partition)
		req.Topics = append(req.Topics, topic)
		resp, err := c.SeedBrokers()[0].Request(ctx, &req)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode); err != nil {
			return err
		}
	}
}

// mqtt returns the reason code of a QoS 1 publish that is not a success, or that of the connection's end.
func (r *refusals) mqtt(ctx context.Context) (byte, error) {
	link, err := net.Dial("tcp", r.addr)
	if err != nil {
		return 0, err
	}
	defer link.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan byte, 1)
	c := paho.NewClient(paho.ClientConfig{Conn: link, PacketTimeout: patience, OnServerDisconnect: func(d *paho.Disconnect) {
		ended <- d.ReasonCode
		cancel()
	}})
	if _, err := c.Connect(ctx, &paho.Connect{ClientID: "refused", CleanStart: true, KeepAlive: 600}); err != nil {
		return 0, err
	}
	for {
		resp, err := c.Publish(ctx, &paho.Publish{Topic: "filler/x", QoS: 1, Payload: r.fill})
		switch {
		case resp != nil && resp.ReasonCode >= 0x80:
			return resp.ReasonCode, nil
		case err != nil && ctx.Err() != nil:
			select {
			case code := <-ended:
				return code, nil
			default:
				return 0, err
			}
		case err != nil:
			return 0, err
		}
	}
}

// amqp publishes to a queue until the connection is told that it is blocked. wait then
// waits until it is not. nacks: a publish that is refused is the answer too.
func (r *refusals) amqp(ctx context.Context, nacks bool) (wait func() error, err error) {
	conn, err := amqp.Dial("amqp://" + r.addr)
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	blocked, closed := conn.NotifyBlocked(make(chan amqp.Blocking, 16)), conn.NotifyClose(make(chan *amqp.Error, 1))
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	until := func(active bool) error {
		for {
			select {
			case b := <-blocked:
				if b.Active == active {
					return nil
				}
			case err := <-closed:
				return fmt.Errorf("closed: %w", err)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	for {
		confirm, err := ch.PublishWithDeferredConfirm("", fillerQueue, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: r.fill})
		if err != nil {
			return nil, err
		}
		select {
		case <-confirm.Done():
			if nacks && !confirm.Acked() {
				return nil, errNacked
			}
		case b := <-blocked:
			if b.Active {
				return func() error {
					if err := until(false); err != nil {
						return err
					}
					if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
						return fmt.Errorf("what was published meanwhile is not confirmed: %w", err)
					}
					return nil
				}, nil
			}
		case err := <-closed:
			return nil, fmt.Errorf("closed: %w", err)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

var errNacked = errors.New("nacked")

const fillerQueue = "filler"

// newRefusals declares what is filled.
func newRefusals(t *testing.T, addr string) *refusals {
	t.Helper()
	c := must(kgo.NewClient(kgo.SeedBrokers(addr)))(t)
	defer c.Close()
	must(kadm.NewClient(c).CreateTopic(patient(t), 1, 1, nil, "filler"))(t)
	conn := must(amqp.Dial("amqp://" + addr))(t)
	defer conn.Close()
	must(must(conn.Channel())(t).QueueDeclare(fillerQueue, true, false, false, false, nil))(t)
	return &refusals{t: t, addr: addr, fill: []byte(strings.Repeat("filler ", 10_000))}
}

// On a full disk publishers of each protocol are told in its own words to try later, and
// whoever consumes, settles and commits goes on. When there is space again, everything
// goes on by itself. Nothing that was acknowledged is lost, also when the broker is killed
// while the disk is full.
func TestFullDisk(t *testing.T) {
	m := newMachine(t, honest)
	m.mem.Limit(32 << 20)
	m.start()
	check(t, m.p.ready())
	l := newLoad(t, m.addr())
	l.awaitAcks(patient(t), t, 50)
	r := newRefusals(t, m.addr())
	for _, killed := range []bool{false, true} {
		refused := func() (unblocked func() error) {
			t.Helper()
			if err := r.kafka(patient(t)); !kerr.IsRetriable(err) {
				t.Errorf("Kafka: a producer is told %v", err)
			}
			if code, err := r.mqtt(patient(t)); code != 0x97 { // quota exceeded
				t.Errorf("MQTT: a publisher is told %#x, %v", code, err)
			}
			unblocked, err := r.amqp(patient(t), false)
			if err != nil {
				t.Errorf("AMQP: the connection is not blocked: %v", err)
			}
			return unblocked
		}
		unblocked := refused()
		l.check(patient(t), t)
		if killed {
			m.cut(15)
			m.start()
			check(t, m.p.ready())
			unblocked = refused()
			l.check(patient(t), t)
		}
		m.mem.Limit(m.mem.Used() + 32<<20)
		if unblocked != nil {
			if err := unblocked(); err != nil {
				t.Errorf("AMQP: %v", err)
			}
		}
		l.awaitAcks(patient(t), t, 50)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m.mem.Limit(0)
	l.finish(ctx, t)
	l.report(t)
	t.Logf("acknowledged: %s", l.summary())
}

// A sync that fails is final: who said EIO once may say success the next time, with the
// pages dropped. The broker says which file it was, acknowledges nothing more that this
// disk should have kept, and all that it did acknowledge is there on a disk that works.
func TestSyncThatFailsIsFinal(t *testing.T) {
	var fail atomic.Bool
	m := newMachine(t, func(disk vfs.FS) vfs.FS {
		return vfs.NewFaulty(disk, func(op vfs.Op) error {
			if op.Kind == vfs.OpSync && strings.Contains(op.Path, "/wal/") && fail.CompareAndSwap(true, false) { // once
				return syscall.EIO
			}
			return nil
		})
	})
	m.start()
	check(t, m.p.ready())
	l := newLoad(t, m.addr())
	r := newRefusals(t, m.addr())
	l.awaitAcks(patient(t), t, 50)
	fail.Store(true)
	m.p.errs.await(patient(t), t, "input/output error")
	if errs := m.p.errs.String(); !strings.Contains(errs, "/wal/") || !strings.Contains(errs, "stopped") {
		t.Errorf("the broker says\n%s", errs)
	}
	if err := r.kafka(patient(t)); !kerr.IsRetriable(err) {
		t.Errorf("Kafka: a producer is told %v", err)
	}
	if code, err := r.mqtt(patient(t)); code != 0x89 { // server busy: the message may be sent again, to another node
		t.Errorf("MQTT: a publisher is told %#x, %v", code, err)
	}
	if _, err := r.amqp(patient(t), true); !errors.Is(err, errNacked) {
		t.Errorf("AMQP: a publisher is told %v", err)
	}

	m.cut(15)
	m.start()
	check(t, m.p.ready())
	l.check(patient(t), t)
	l.awaitAcks(patient(t), t, 50)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l.finish(ctx, t)
	l.report(t)
	t.Logf("acknowledged: %s", l.summary())
}
