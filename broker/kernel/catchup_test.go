package kernel_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/meta"
	"github.com/robustmq/rmq/broker/vfs"
)

// disks are those of a cluster's nodes.
type disks map[uint64]*vfs.Mem

func newDisks(n uint64) disks {
	d := make(disks)
	for id := uint64(1); id <= n; id++ {
		d[id] = vfs.NewMem()
	}
	return d
}

// far are options by which a node that misses a few hundred KiB cannot have them from a log.
func far(t *testing.T, d disks) kerneltest.Options {
	o := kerneltest.Options{NoCapture: true, DataShards: 1, CheckpointBytes: 64 << 10, CatchUp: 64 << 10}
	if d != nil {
		o.Disk = func(node uint64) storage.Engine { return engineOn(t, d[node]) }
	}
	return o
}

// stuff is what the tests put into a cluster: a stream, a queue, and a session that is away.
type stuff struct {
	t    *testing.T
	c    *kerneltest.Cluster
	sent int
}

func newStuff(t *testing.T, c *kerneltest.Cluster, by uint64) *stuff {
	t.Helper()
	k := c.Node(by)
	if _, err := k.CreateStream(t.Context(), kernel.StreamSpec{Namespace: "/", Address: "s", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.DeclareQueue(t.Context(), queueSpec("q")); err != nil {
		t.Fatal(err)
	}
	ses, _, _ := open(t, k, "away", 3600, true)
	subscribe(t, ses, "q", 1)
	ses.Close(false, nil)
	return &stuff{t: t, c: c}
}

// publish sends n messages of 4 KiB to each of them, by one node.
func (s *stuff) publish(by uint64, n int) {
	s.t.Helper()
	k := s.c.Node(by)
	for range n {
		value := fmt.Sprintf("%d %s", s.sent, bytes.Repeat([]byte("x"), 4<<10))
		publish(s.t, k, mqtt("s", value))
		publish(s.t, k, mqtt("q", value))
		s.sent++
	}
}

// consume accepts the n oldest messages of the queue, by one node.
func (s *stuff) consume(by uint64, n int) {
	s.t.Helper()
	sink := newSink()
	a, err := s.c.Node(by).Attach(s.t.Context(), kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: int64(n), Sink: sink})
	if err != nil {
		s.t.Fatal(err)
	}
	for range n {
		a.Settle(sink.next(s.t).d.No, false, kernel.Accept)
	}
	if err := a.Detach(s.t.Context(), false); err != nil {
		s.t.Fatal(err)
	}
}

// check wants a node to have all that was sent and not consumed, and to hand it out.
func (s *stuff) check(by uint64, consumed int) {
	s.t.Helper()
	k := s.c.Node(by)
	until(s.t, k, "has all records", func() bool {
		info, ok := k.Stream("/", "s")
		if !ok {
			return false
		}
		p, err := k.Partition(info.ID, 0)
		return err == nil && p.Info().End == int64(s.sent)
	})
	got := values(s.t, k, "s")
	if len(got) != s.sent {
		s.t.Fatalf("node %d has %d records of %d", by, len(got), s.sent)
	}
	for i, v := range got {
		if want := fmt.Sprintf("%d ", i); v[:len(want)] != want {
			s.t.Fatalf("node %d: record %d is %.10q", by, i, v)
		}
	}
	until(s.t, k, "has the queue as it is", func() bool {
		info, err := k.Queue("/", "q", 0)
		return err == nil && info.Ready == int64(s.sent-consumed) && info.Unacked == 0
	})
	sink := newSink()
	a, err := k.Attach(s.t.Context(), kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: kernel.Unlimited, Sink: sink})
	if err != nil {
		s.t.Fatal(err)
	}
	for i := consumed; i < s.sent; i++ {
		want := fmt.Sprintf("%d ", i)
		if v := sink.next(s.t).msg.Value; !bytes.HasPrefix(v, []byte(want)) {
			s.t.Fatalf("node %d: message %d is %.10q", by, i, v)
		}
	}
	if err := a.Detach(s.t.Context(), true); err != nil {
		s.t.Fatal(err)
	}
	info, ok := k.SessionInfo("/", "away")
	if !ok || info.Backlog != int64(s.sent) || len(info.Subscriptions) != 1 {
		s.t.Errorf("node %d: session %+v", by, info)
	}
}

// A node that was down for longer than the others' memory reaches, and one that comes back with
// nothing, fetch what they lack, and then have everything.
func TestCatchUp(t *testing.T) {
	for _, onDisk := range []bool{false, true} {
		for _, empty := range []bool{false, true} {
			t.Run(fmt.Sprintf("disk %v empty %v", onDisk, empty), func(t *testing.T) {
				var d disks
				if onDisk {
					d = newDisks(3)
				}
				c := kerneltest.StartCluster(t, 3, far(t, d))
				s := newStuff(t, c, 1)
				s.publish(1, 20)
				s.check(3, 0)
				c.Stop(3)

				if _, err := c.Node(1).CreateStream(t.Context(), kernel.StreamSpec{Namespace: "/", Address: "late", Partitions: 3}); err != nil {
					t.Fatal(err)
				}
				s.publish(1, 150)
				s.consume(2, 100)
				publish(t, c.Node(2), mqtt("late", "first"))
				if empty && onDisk {
					d[3] = vfs.NewMem()
				} else if empty {
					c.Empty(3)
				}
				c.Start(3)
				if n := c.Node(3).Stats().CaughtUp.Load(); n == 0 {
					t.Error("it was not behind: the test shows nothing")
				}
				s.check(3, 100)
				if got := values(t, c.Node(3), "late"); !slices.Equal(got, []string{"first"}) {
					t.Errorf("the late stream has %q", got)
				}

				// And it goes on: with it, and with what it has itself kept.
				s.publish(3, 5)
				s.check(2, 100)
				c.Stop(3)
				c.Start(3)
				s.check(3, 100)
				c.Stop(1) // now it is needed
				s.publish(3, 5)
				s.check(2, 100)
			})
		}
	}
}

// A node that is behind is half of the only quorum that is left: what it lacks is given to it though
// nothing can be committed before it has that.
func TestCatchUpMakesTheQuorum(t *testing.T) {
	c := kerneltest.StartCluster(t, 3, far(t, newDisks(3)))
	s := newStuff(t, c, 1)
	c.Stop(3)
	s.publish(1, 150)
	c.Stop(2)
	c.Start(3)
	if n := c.Node(3).Stats().CaughtUp.Load(); n == 0 {
		t.Error("it was not behind: the test shows nothing")
	}
	s.publish(3, 5)
	s.check(1, 0)
}

// While a shard is replaced by a state that was fetched, messages find its sessions.
func TestReplacedShardRoutesMeanwhile(t *testing.T) {
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true})
	for i := range 20 {
		s, _, _ := open(t, k, fmt.Sprint("c", i), 3600, false)
		subscribe(t, s, "a/#", 1)
		s.Close(false, nil)
	}
	over := make(chan struct{})
	var all sync.WaitGroup
	defer all.Wait()
	defer close(over)
	all.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				k.RerouteAll()
			}
		}
	})
	for range 500 {
		w := newPublished()
		p := mqtt("a/b", "x")
		p.Namespace, p.Msg.QoS, p.Reply = "/", 1, w
		k.Publish(&p)
		if r := recv(t, w.ch); r.Err != nil || r.Subscribers != 20 {
			t.Fatalf("%d of 20 sessions are reached: %v", r.Subscribers, r.Err)
		}
	}
}

// What a node that is behind has begun to fetch, and does not need, takes nothing from what it has.
func TestFetchInVain(t *testing.T) {
	const records = 200
	dir := t.TempDir()
	kerneltest.Directory(t, dir, 1, func(k *kernel.Kernel) {
		if _, err := k.CreateStream(t.Context(), kernel.StreamSpec{Namespace: "/", Address: "s", Partitions: 1}); err != nil {
			t.Fatal(err)
		}
		kerneltest.Fill(t, k, "s", records)
	})
	for life := range 2 { // in vain, and as the next start finds it
		e, err := filelog.Open(dir, filelog.Options{Checkpoints: func(path string) (filelog.CheckpointStore, error) { return meta.Open(path) }})
		if err != nil {
			t.Fatal(err)
		}
		k, stop := kerneltest.Start(t, kerneltest.Options{Engine: e, NoCapture: true, DataShards: 1})
		st, _ := k.Stream("/", "s")
		if life == 0 {
			var b record.Builder
			b.Reset(nil, 1)
			b.Add(1, nil, []byte("not of this node"))
			if err := k.FetchInVain(&st, b.Finish()); err != nil {
				t.Fatal(err)
			}
		}
		p, err := k.Partition(st.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for off := int64(0); off < p.Info().End; {
			r, err := p.Read(off, 1<<20, "", true)
			if err != nil || r.Next <= off {
				t.Fatalf("life %d, at %d of %d: %v", life, off, p.Info().End, err)
			}
			n += int(r.Next - off)
			off = r.Next
		}
		if n != records {
			t.Errorf("life %d: %d of %d records", life, n, records)
		}
		stop()
	}
}
