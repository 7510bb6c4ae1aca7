package testkit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/testkit"
)

// A full disk holds publishers back, and lets them go on when there is room: nothing is lost, nothing refused.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t, testkit.MemoryDisk())
	conn := must(amqp.Dial(b.AMQP()))(t)
	defer conn.Close()
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 10))
	ch := must(conn.Channel())(t)
	must(ch.QueueDeclare("q", true, false, false, false, nil))(t)
	check(t, ch.Confirm(false))
	full := b.Disk.FullAfter(64 << 10)
	var last *amqp.DeferredConfirmation
	n := 0
	for held := false; !held; n++ {
		last = must(ch.PublishWithDeferredConfirmWithContext(ctx, "", "q", false, false, amqp.Publishing{Body: make([]byte, 60<<10), DeliveryMode: amqp.Persistent}))(t)
		select {
		case <-last.Done():
		case x := <-blocked:
			held = x.Active
		}
	}
	full.Remove()
	if !last.Wait() {
		t.Error("a publish that was held back is nacked")
	}
	b.Want(t).Queue("q").Ready(n)
	if x := <-blocked; x.Active {
		t.Error("still blocked")
	}
}

// A slow disk makes acknowledgements late, and nothing else.
func TestSlowSync(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t, testkit.MemoryDisk())
	slow := b.Disk.SlowSync(time.Millisecond)
	c := connect(t, b, nil)
	done(t, c.Publish("a/b", 1, false, "x"))
	if slow.Fired() == 0 {
		t.Error("nothing was synced before the acknowledgement")
	}
}

// A snapshot that waits for a disk that hangs holds nobody back once its client has gone.
func TestSnapshotIsLeft(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t, testkit.MemoryDisk())
	c := connect(t, b, nil)
	done(t, c.Publish("a/b", 1, false, "x"))
	hang := b.Fault(chaos.Rule{At: "disk", Do: chaos.Delay, Delay: grammar.Duration(time.Hour)})
	ctx, cancel := context.WithCancel(t.Context())
	cut := make(chan error)
	go func() { cut <- b.Kernel().Cut(ctx, func() error { return nil }) }()
	b.Want(t).Fault(hang).Fired(1)
	cancel()
	if err := <-cut; !errors.Is(err, context.Canceled) {
		t.Errorf("the cut has ended with %v", err)
	}
	hang.Remove()
	done(t, c.Publish("a/b", 1, false, "y"))
	b.Want(t).Topic("a").Count(2)
}

// What a node acknowledged is there after it was killed; who is cut off from the others acknowledges nothing.
func TestNodes(t *testing.T) {
	t.Parallel()
	c := testkit.Cluster(t, 3)
	lost := make(chan struct{})
	client := connect(t, c.Node(1), func(o *paho3.ClientOptions) {
		o.SetClientID("dev1").SetConnectionLostHandler(func(paho3.Client, error) { close(lost) })
	})
	for i := range 10 {
		done(t, client.Publish("a/b", 1, false, fmt.Sprint(i)))
	}
	c.Node(1).Kill()
	<-lost
	other := connect(t, c.Node(2), nil)
	done(t, other.Publish("a/b", 1, false, "10"))
	c.Start(1)
	again := connect(t, c.Node(1), nil)
	done(t, again.Publish("a/b", 1, false, "11"))
	c.Node(2).Want(t).Topic("a").Count(12)

	alone := connect(t, c.Node(3), nil)
	c.Node(3).Partition(1, 2)
	kept := alone.Publish("a/b", 1, false, "12")
	done(t, other.Publish("a/b", 1, false, "13"))
	select {
	case <-kept.Done():
		t.Error("a node that reaches no other has acknowledged")
	default:
	}
	c.Node(3).Heal()
	done(t, kept)

	c.Node(2).Pause()
	held := other.Publish("a/b", 1, false, "14")
	done(t, again.Publish("a/b", 1, false, "15"))
	select {
	case <-held.Done():
		t.Error("a paused node has acknowledged")
	default:
	}
	c.Node(2).Resume()
	done(t, held)
	c.Node(1).Want(t).Topic("a").Count(16)
}
