package kernel_test

import (
	"context"
	"sync"
	"testing"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/storage"
)

// slow is an engine whose log keeps one shard's writes waiting while it is told to.
type slow struct {
	storage.Engine

	mu    sync.Mutex
	shard storage.ShardID // 0: none waits
	kept  []storage.Write
}

func (e *slow) Close() error     { return nil }
func (e *slow) Log() storage.Log { return &slowLog{e.Engine.Log(), e} }

// hold keeps a shard's writes waiting; pass lets them go, and keeps none from then on.
func (e *slow) hold(shard uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shard = storage.ShardID(shard)
}

func (e *slow) pass(t *testing.T) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.kept {
		if err := e.Engine.Log().Append(w); err != nil {
			t.Fatal(err)
		}
	}
	e.kept, e.shard = nil, 0
}

type slowLog struct {
	storage.Log
	e *slow
}

func (l *slowLog) Append(w storage.Write) error {
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	if l.e.shard != 0 && w.Shard == l.e.shard {
		l.e.kept = append(l.e.kept, w)
		return nil
	}
	return l.Log.Append(w)
}

// A QoS 2 publish is noted only once every shard has it: a note that outlived a crash
// alone would have what is sent again answered, and lost. A connection that has lost
// its session meanwhile is not told that it is noted.
func TestQoS2IsNotedLast(t *testing.T) {
	ctx := context.Background()
	eng := &slow{Engine: newMem(t)}
	k, stop := kerneltest.Start(t, kerneltest.Options{Engine: eng, NoCapture: true})
	defer stop()
	queue := named(t, "q", 2, func(name string) uint32 {
		if _, _, err := k.DeclareQueue(ctx, queueSpec(name)); err != nil {
			t.Fatal(err)
		}
		info, err := k.Queue("/", name, 0)
		if err != nil {
			t.Fatal(err)
		}
		return info.Shard
	})
	if err := k.Bind(ctx, kernel.Binding{Namespace: "/", Source: "amq.topic", Destination: queue, Key: "once"}); err != nil {
		t.Fatal(err)
	}
	client := named(t, "c", 1, func(name string) uint32 {
		ses, _, _ := open(t, k, name, 3600, false)
		defer ses.Close(false, nil)
		info, _ := k.SessionInfo("/", name)
		return info.Shard
	})
	send := func(ses *kernel.Session) *published {
		w := newPublished()
		p := mqtt("once", "x")
		p.Namespace, p.Msg.QoS, p.From, p.PacketID, p.Reply = "/", 2, ses, 7, w
		k.Publish(&p)
		return w
	}
	noted := func(ses *kernel.Session) int {
		// What was proposed before is applied when this is.
		if _, errs := ses.Subscribe(ctx, []kernel.Subscription{{Filter: "other", QoS: 1}}); errs[0] != nil {
			t.Fatal(errs[0])
		}
		info, _ := k.SessionInfo("/", client)
		return info.Receiving
	}

	ses, _, _ := open(t, k, client, 3600, false)
	eng.hold(2)
	first := send(ses)
	if n := noted(ses); n != 0 {
		t.Errorf("noted before shard 2 has it")
	}
	again, _, _ := open(t, k, client, 3600, false)
	eng.pass(t)
	if err := recv(t, send(again).ch).Err; err != nil {
		t.Fatal(err)
	}
	if n := noted(again); n != 1 {
		t.Errorf("%d publishes are noted", n)
	}
	if info, _ := k.Queue("/", queue, 0); info.Ready != 1 {
		t.Errorf("the queue holds %d", info.Ready)
	}
	if len(first.ch) > 0 {
		t.Errorf("PUBREC on a connection that has lost its session: %v", (<-first.ch).Err)
	}
}

// PUBREL is not answered where nobody knows what came of it: a client that were told would use the
// identifier for another message, which would be taken for the first one.
func TestReleaseInVainIsNotAnswered(t *testing.T) {
	eng := &cut{Engine: newMem(t)}
	k, stop := kerneltest.Start(t, kerneltest.Options{Engine: eng, NoCapture: true})
	received := func(ses *kernel.Session) {
		t.Helper()
		w := newPublished()
		p := mqtt("once", "x")
		p.Namespace, p.Msg.QoS, p.From, p.PacketID, p.Reply = "/", 2, ses, 7, w
		k.Publish(&p)
		if err := recv(t, w.ch).Err; err != nil {
			t.Fatal(err)
		}
	}
	over, _, _ := open(t, k, "c", 3600, false)
	received(over)
	ses, _, _ := open(t, k, "c", 3600, false)
	told := make(chan bool, 3)
	over.Release(7, func(known bool) { told <- known })
	ses.Release(7, func(known bool) { told <- known })
	if !recv(t, told) {
		t.Error("PUBCOMP says that there is no such publish")
	}
	received(ses)
	info, _ := k.SessionInfo("/", "c")
	eng.shard.Store(info.Shard)
	ses.Release(7, func(known bool) { told <- known })
	stop()
	if len(told) > 0 {
		t.Errorf("a release in vain is answered: known %v", <-told)
	}
}
