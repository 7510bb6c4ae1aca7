package scale

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/meta"
)

var (
	messages = flag.Int("messages", 20_000, "messages in one queue")
	sessions = flag.Int("sessions", 2_000, "sessions with a subscription")
	home     = flag.String("dir", "", "directory to make the broker's in; by default the test's own")
)

const bodyLen = 256 // bytes of each message

// node is a kernel on files, whose applying is timed.
type node struct {
	*kernel.Kernel
	stop  func()
	dir   string
	apply *applyTimes
}

func start(t *testing.T, dir string, checkpoint int) *node {
	t.Helper()
	e, err := filelog.Open(filepath.Join(dir, "data"), filelog.Options{
		Checkpoints: func(p string) (filelog.CheckpointStore, error) { return meta.Open(p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{dir: dir, apply: new(applyTimes)}
	n.Kernel, n.stop = kerneltest.Start(t, kerneltest.Options{
		Engine: e, NoCapture: true, DataShards: 1, CheckpointBytes: checkpoint,
		Machine: func(m kernel.Machine) kernel.Machine { return &timedMachine{m, n.apply} },
	})
	return n
}

// applyTimes are how long entries took to be applied: the machine's work and what it has
// done outside, of as many entries as were there at once. cpu is what their thread used of
// that, collecting garbage on their behalf included: the rest is waiting, for others of
// the broker or of the machine that this runs on.
type applyTimes struct {
	mu        sync.Mutex
	took, cpu []time.Duration
}

type timedMachine struct {
	kernel.Machine
	times *applyTimes
}

func (m *timedMachine) Apply(entries []storage.Entry) {
	runtime.LockOSThread() // so that the thread's time is ours
	defer runtime.UnlockOSThread()
	at, used := time.Now(), threadTime()
	m.Machine.Apply(entries)
	took, cpu := time.Since(at), threadTime()-used
	m.times.mu.Lock()
	m.times.took = append(m.times.took, took)
	m.times.cpu = append(m.times.cpu, cpu)
	m.times.mu.Unlock()
}

// threadTime is the CPU time that this thread has used.
func threadTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// take describes the times since the last take.
func (a *applyTimes) take() string {
	a.mu.Lock()
	took, cpu := a.took, a.cpu
	a.took, a.cpu = nil, nil
	a.mu.Unlock()
	if len(took) == 0 {
		return "nothing applied"
	}
	return fmt.Sprintf("%d times entries applied: %s; of that CPU: %s", len(took), spread(took), spread(cpu))
}

func spread(d []time.Duration) string {
	slices.Sort(d)
	at := func(q float64) time.Duration { return d[min(int(q*float64(len(d))), len(d)-1)].Round(time.Microsecond) }
	return fmt.Sprintf("p50 %v, p99 %v, p99.9 %v, max %v", at(0.5), at(0.99), at(0.999), at(1))
}

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC() // pools let go at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// resident is the memory that the process has, in bytes.
func resident() (n int64) {
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			_, _ = fmt.Sscan(v, &n)
		}
	}
	return n << 10
}

func onDisk(t *testing.T, dir string) string {
	t.Helper()
	size := make(map[string]int64)
	err := filepath.WalkDir(filepath.Join(dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil // renamed or removed meanwhile
		}
		rel, _ := filepath.Rel(filepath.Join(dir, "data"), path)
		size[strings.Split(rel, string(filepath.Separator))[0]] += info.Size()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("wal %d MiB, segments %d MiB, checkpoints %d MiB", size["wal"]>>20, size["segments"]>>20, size["checkpoints.db"]>>20)
}

func directory(t *testing.T) string {
	if *home == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(*home, "scale-") //nolint:usetesting // on the device that was asked for
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// inFlight counts outcomes, and holds the publisher back at its bound.
type inFlight struct {
	slots chan struct{}
	fails atomic.Int64
}

func newInFlight(n int) *inFlight { return &inFlight{slots: make(chan struct{}, n)} }

func (f *inFlight) take() { f.slots <- struct{}{} }
func (f *inFlight) drain() {
	for range cap(f.slots) {
		f.slots <- struct{}{}
	}
	for range cap(f.slots) {
		<-f.slots
	}
}
func (f *inFlight) Published(_ uint64, r kernel.PublishResult) {
	if r.Err != nil || r.Rejected {
		f.fails.Add(1)
	}
	<-f.slots
}

// reader takes messages, and wants them in the order in which they were published.
type reader struct {
	next, wrong uint64
	want        uint64
	done        chan struct{}
}

func (r *reader) Deliver(d *kernel.Delivery) bool {
	if binary.LittleEndian.Uint64(d.Msg.Value) != r.next {
		r.wrong++
	}
	r.next++
	d.From.Settle(d.No, false, kernel.Accept)
	if r.next == r.want {
		close(r.done)
	}
	return true
}
func (r *reader) Gone(kernel.GoneReason) {}

func TestTenMillionMessages(t *testing.T) {
	ctx := context.Background()
	n := *messages
	dir := directory(t)
	k := start(t, dir, 0)
	if _, _, err := k.DeclareQueue(ctx, queueSpec("q")); err != nil {
		t.Fatal(err)
	}
	empty := heap()

	f := newInFlight(1 << 14)
	body := make([]byte, bodyLen)
	p := kernel.Publish{Namespace: "/", ViaExchange: true, Key: "q", Msg: message.Message{Source: message.AMQP, Address: "q", Value: body, QoS: 1}, Reply: f}
	at := time.Now()
	for i := range n {
		f.take()
		binary.LittleEndian.PutUint64(body, uint64(i))
		p.Msg.Time = 0
		k.Publish(&p)
	}
	f.drain()
	took := time.Since(at)
	if f.fails.Load() > 0 {
		t.Fatalf("%d publishes failed", f.fails.Load())
	}
	t.Logf("published %d messages of %d B, durability sync, in %v: %.0f a second; %s", n, bodyLen, took.Round(time.Millisecond), float64(n)/took.Seconds(), k.apply.take())
	report(t, k, "queued", empty, n)

	before := reopen(t, k, 0)
	report(t, k, "after a restart", before, n)
	info, err := k.Queue("/", "q", 0)
	if err != nil || info.Ready != int64(n) {
		t.Fatalf("%d ready after a restart, %v", info.Ready, err)
	}

	k.apply.take()
	r := &reader{want: uint64(n), done: make(chan struct{})}
	at = time.Now()
	if _, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: 1000, Refill: true, Sink: r}); err != nil {
		t.Fatal(err)
	}
	<-r.done
	took = time.Since(at)
	t.Logf("drained %d messages by one consumer, 1000 unsettled, in %v: %.0f a second; %s", n, took.Round(time.Millisecond), float64(n)/took.Seconds(), k.apply.take())
	if r.wrong > 0 {
		t.Errorf("%d messages out of order", r.wrong)
	}
	report(t, k, "drained", before, n)
	k.stop()
}

// A queue that is deleted or purged while it is full does not stop its shard.
func TestDeletingAFullQueue(t *testing.T) {
	ctx := context.Background()
	n := *messages
	k := start(t, directory(t), 0)
	defer func() { k.stop() }()
	for _, how := range []string{"purge", "delete"} {
		if _, _, err := k.DeclareQueue(ctx, queueSpec(how)); err != nil {
			t.Fatal(err)
		}
		f := newInFlight(1 << 14)
		p := kernel.Publish{Namespace: "/", ViaExchange: true, Key: how, Msg: message.Message{Source: message.AMQP, Address: how, Value: make([]byte, 16), QoS: 1}, Reply: f}
		for range n {
			f.take()
			p.Msg.Time = 0
			k.Publish(&p)
		}
		f.drain()
		k.apply.take()
		at := time.Now()
		var gone int64
		var err error
		if how == "purge" {
			gone, err = k.PurgeQueue(ctx, "/", how, 0)
		} else {
			gone, err = k.DeleteQueue(ctx, "/", how, 0, false, false)
		}
		took := time.Since(at)
		if err != nil || gone != int64(n) {
			t.Fatalf("%s: %d gone, %v", how, gone, err)
		}
		// What is left over is done by entries that follow: publish until they have come.
		if _, _, err := k.DeclareQueue(ctx, queueSpec("other")); err != nil {
			t.Fatal(err)
		}
		p.Key, p.Msg.Address = "other", "other"
		for range 2000 {
			f.take()
			p.Msg.Time = 0
			k.Publish(&p)
			f.drain()
		}
		t.Logf("%s of %d messages answered in %v; until after 2000 lone publishes: %s", how, n, took, k.apply.take())
	}
}

func queueSpec(name string) kernel.QueueSpec {
	return kernel.QueueSpec{Namespace: "/", Name: name, Durable: true, MessageTTL: -1, MaxLength: -1, MaxLengthBytes: -1, DeliveryLimit: -1}
}

func report(t *testing.T, k *node, what string, base int64, n int) {
	t.Helper()
	h := heap()
	t.Logf("%s: heap %d MiB (%.1f B for each of %d), resident %d MiB; %s", what, h>>20, float64(h-base)/float64(n), n, resident()>>20, onDisk(t, k.dir))
}

// reopen closes a node and opens it again on what it left, and returns what the heap held
// in between.
func reopen(t *testing.T, k *node, checkpoint int) (base int64) {
	t.Helper()
	at := time.Now()
	k.stop()
	closed := time.Since(at)
	k.Kernel, k.stop = nil, nil
	base = heap()
	at = time.Now()
	var before, after unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
	*k = *start(t, k.dir, checkpoint)
	took := time.Since(at)
	_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	t.Logf("closed in %v, opened again in %v, with %v of CPU", closed.Round(time.Millisecond), took.Round(time.Millisecond), cpu.Round(time.Millisecond))
	return base
}

type nobody struct{}

func (nobody) Deliver(*kernel.Delivery) bool { return true }
func (nobody) Gone(kernel.GoneReason)        {}

func TestMillionSessions(t *testing.T) {
	ctx := context.Background()
	n := *sessions
	dir := directory(t)
	k := start(t, dir, 0)
	empty := heap()
	at := time.Now()
	var next, failed atomic.Int64
	var done sync.WaitGroup
	for range 512 {
		done.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := away(ctx, k.Kernel, int(i)); err != nil {
					failed.Add(1)
					t.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	if failed.Load() > 0 {
		t.FailNow()
	}
	took := time.Since(at)
	t.Logf("%d sessions connected, subscribed and left in %v: %.0f a second; %s", n, took.Round(time.Millisecond), float64(n)/took.Seconds(), k.apply.take())
	report(t, k, "away", empty, n)

	before := reopen(t, k, 0)
	report(t, k, "after a restart", before, n)
	// So small that a checkpoint is nearly always under way.
	reopen(t, k, 1<<20)

	// Traffic to all of them, in small groups, while checkpoints run: each publish changes
	// one session's backlog.
	k.apply.take()
	f := newInFlight(64)
	rnd := rand.New(rand.NewPCG(1, 2))
	p := kernel.Publish{Namespace: "/", Msg: message.Message{Source: message.MQTT, Value: make([]byte, bodyLen), QoS: 1}, Reply: f}
	at = time.Now()
	total := max(n/10, 1000)
	for range total {
		f.take()
		p.Msg.Address, p.Msg.Time = filter(rnd.IntN(n)), 0
		k.Publish(&p)
	}
	f.drain()
	took = time.Since(at)
	if f.fails.Load() > 0 {
		t.Fatalf("%d publishes failed", f.fails.Load())
	}
	t.Logf("%d messages to random ones of %d sessions, 64 in flight, a checkpoint each MiB, in %v: %.0f a second; %s",
		total, n, took.Round(time.Millisecond), float64(total)/took.Seconds(), k.apply.take())
	var held int64
	for _, s := range k.Sessions("/") {
		held += s.Backlog
	}
	if held != int64(total) {
		t.Errorf("%d messages in backlogs, published %d", held, total)
	}
	k.stop()
}

func filter(i int) string { return fmt.Sprintf("devices/%d/%d/command", i/1000, i%1000) }

// away makes a session that is not connected.
func away(ctx context.Context, k *kernel.Kernel, i int) error {
	ses, _, err := k.OpenSession(ctx, kernel.SessionSpec{
		Namespace: "/", ClientID: fmt.Sprintf("device-%07d", i), Clean: false, Expiry: kernel.ExpiryNever, ReceiveMaximum: 20, Sink: nobody{},
	})
	if err != nil {
		return err
	}
	ses.Start()
	if _, errs := ses.Subscribe(ctx, []kernel.Subscription{{Filter: filter(i), QoS: 1}}); errs[0] != nil {
		return errs[0]
	}
	ses.Close(false, nil)
	return nil
}
