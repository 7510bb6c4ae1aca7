package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/group"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/memlog"
	"github.com/robustmq/rmq/broker/storage/meta"
	"github.com/robustmq/rmq/broker/vfs"
)

// logBench measures the path from publish to acknowledgement in process, without network:
// kernel, consensus of one voter, log, segments and checkpoints. Each line says its
// durability, and lines that sync have, from the same minute, what the bare device does with
// groups of the same size: compare the columns of one line, not lines of different runs.
type logBench struct {
	dir      string // where the broker's directories are made
	payload  int64  // bytes published for each line
	profile  string // file for a CPU profile of all lines
	only     string // run the lines that have this in their name
	commits  int    // lone commits timed
	failures atomic.Int64
}

// logCase is one line.
type logCase struct {
	durability string // sync, async, memory
	path       string // message: one Publish each; batch: record batches of batchRecords
	shards     int
	size       int // bytes of a message's value
	producers  int
}

const (
	batchRecords = 64
	inFlight     = 1 << 14 // messages that all producers together wait for
	sampleEvery  = 32      // messages, for latencies
)

func (c logCase) String() string {
	return fmt.Sprintf("%s/%s/shards=%d/size=%d/producers=%d", c.durability, c.path, c.shards, c.size, c.producers)
}

// logResult is what one line says.
type logResult struct {
	messages          int64
	took, cpu         time.Duration
	p50, p99, p999    time.Duration
	allocs, allocated float64 // for each message: objects, bytes
	log, total        float64 // bytes written for each byte of payload: to the log, to all files
	group             int64   // mean bytes of one flush
	raw               float64 // bytes a second of write and fdatasync of such groups; 0: not measured
}

func (b *logBench) run() error {
	if b.profile != "" {
		f, err := os.Create(b.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	fmt.Printf("in process, no network; %d MiB of payload a line, at most %d messages in flight; %d processors\n", b.payload>>20, inFlight, runtime.GOMAXPROCS(0))
	fmt.Printf("batch: %d records in each; p50 to p99.9 are from publish to acknowledgement with all of that in flight; raw: write and fdatasync of groups as large\n\n", batchRecords)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "durability\tby\tshards\tsize\tproducers\tmsg/s\tMB/s\tCPU µs\tp50 ms\tp99 ms\tp99.9 ms\tallocs\talloc B\tlog B/B\tall B/B\tgroup KiB\traw MB/s\tof raw\t")
	for _, durability := range []string{"sync", "async", "memory"} {
		for _, path := range []string{"message", "batch"} {
			for _, size := range []int{256, 1024} {
				for _, shards := range []int{1, 4} {
					for _, producers := range []int{1, 8} {
						c := logCase{durability, path, shards, size, producers}
						if !strings.Contains(c.String(), b.only) {
							continue
						}
						r, err := b.line(c)
						if err != nil {
							return fmt.Errorf("%v: %w", c, err)
						}
						r.print(w, c)
					}
				}
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return b.lone()
}

func (r *logResult) print(w *tabwriter.Writer, c logCase) {
	secs := r.took.Seconds()
	mb := float64(r.messages*int64(c.size)) / secs / 1e6
	raw, of := "-", "-"
	if r.raw > 0 {
		raw, of = fmt.Sprintf("%.0f", r.raw/1e6), fmt.Sprintf("%.0f%%", 100*mb*1e6*max(r.log, 1)/r.raw)
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e6) }
	fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%.0f\t%.0f\t%.2f\t%s\t%s\t%s\t%.2f\t%.0f\t%.2f\t%.2f\t%d\t%s\t%s\t\n", c.durability, c.path, c.shards, c.size, c.producers,
		float64(r.messages)/secs, mb, float64(r.cpu.Nanoseconds())/1e3/float64(r.messages), ms(r.p50), ms(r.p99), ms(r.p999),
		r.allocs, r.allocated, r.log, r.total, r.group>>10, raw, of)
}

// line runs one case on a fresh directory.
func (b *logBench) line(c logCase) (r logResult, err error) {
	dir, err := os.MkdirTemp(b.dir, "rmq-log-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	n, err := openNode(dir, c.durability, c.shards, 0)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	st, err := n.k.CreateStream(context.Background(), kernel.StreamSpec{
		Namespace: kernel.DefaultNamespace, Address: "s", Partitions: c.shards, Config: map[string]string{"retention.bytes": "67108864"},
	})
	if err != nil {
		return r, err
	}
	producers := make([]*producer, c.producers)
	each := b.payload / int64(c.size) / int64(c.producers) / batchRecords * batchRecords
	for i := range producers {
		p := &producer{window: inFlight / c.producers, unit: 1, wake: make(chan struct{}, 1), failures: &b.failures}
		if c.path == "batch" {
			p.window, p.unit = max(p.window/batchRecords, 1), batchRecords
		}
		p.began = make([]atomic.Int64, p.window)
		producers[i] = p
	}

	if c.durability != "memory" {
		// A log that is at home in its directory: its files are made, and go round.
		warm := &producer{window: inFlight / batchRecords, unit: batchRecords, wake: make(chan struct{}, 1), failures: &b.failures}
		warm.began = make([]atomic.Int64, warm.window)
		warm.appendAll(n.k, st, 0, int64(192+64*c.shards)<<10, 1<<10)
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	logged, written, cpu, at := n.engine.Log().Stats(), writtenBytes(), cpuTime(), time.Now()
	var done sync.WaitGroup
	for i, p := range producers {
		done.Go(func() {
			if c.path == "batch" {
				p.appendAll(n.k, st, i, each, c.size)
			} else {
				p.publishAll(n.k, i, c.shards, each, c.size)
			}
		})
	}
	done.Wait()
	r.took, r.cpu = time.Since(at), cpuTime()-cpu
	runtime.ReadMemStats(&after)
	stats := n.engine.Log().Stats()
	if b.failures.Load() > 0 {
		return r, fmt.Errorf("%d publishes failed", b.failures.Load())
	}

	r.messages = each * int64(c.producers)
	var all times
	for _, p := range producers {
		all = append(all, p.took...)
	}
	slices.Sort(all)
	r.p50, r.p99, r.p999 = all.quantile(0.5), all.quantile(0.99), all.quantile(0.999)
	r.allocs = float64(after.Mallocs-before.Mallocs) / float64(r.messages)
	r.allocated = float64(after.TotalAlloc-before.TotalAlloc) / float64(r.messages)
	payload := float64(r.messages * int64(c.size))
	r.log, r.total = float64(stats.Bytes-logged.Bytes)/payload, float64(writtenBytes()-written)/payload
	if g := stats.Groups - logged.Groups; g > 0 {
		r.group = int64(stats.Bytes-logged.Bytes) / int64(g)
	}
	if c.durability == "sync" {
		d, err := newDevice(dir)
		if err != nil {
			return r, err
		}
		r.raw, err = d.groups(r.group, min(b.payload, 64<<20))
		if err = errors.Join(err, d.f.Close()); err != nil {
			return r, err
		}
	}
	return r, nil
}

// lone times the commit of one message at a time, beside one bare append and fdatasync:
// the two in turn, so that whatever else the machine does is done to both.
func (b *logBench) lone() error {
	dir, err := os.MkdirTemp(b.dir, "rmq-log-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	n, err := openNode(dir, "sync", 1, 0)
	if err != nil {
		return err
	}
	defer func() { _ = n.close() }()
	if _, err := n.k.CreateStream(context.Background(), kernel.StreamSpec{Namespace: kernel.DefaultNamespace, Address: "s", Partitions: 1}); err != nil {
		return err
	}
	d, err := newDevice(dir)
	if err != nil {
		return err
	}
	defer d.f.Close()
	var ours, bare times
	w := &once{done: make(chan error, 1)}
	p := kernel.Publish{Namespace: kernel.DefaultNamespace, Msg: message.Message{Source: message.MQTT, Address: "s", Value: make([]byte, 256), QoS: 1}, Reply: w}
	before := n.engine.Log().Stats()
	for range b.commits {
		p.Msg.Time = 0
		n.k.Publish(&p)
		if err := <-w.done; err != nil {
			return err
		}
	}
	after := n.engine.Log().Stats()
	group := int64(after.Bytes-before.Bytes) / int64(after.Groups-before.Groups)
	buf := make([]byte, group)
	for range b.commits {
		at := time.Now()
		p.Msg.Time = 0
		n.k.Publish(&p)
		if err := <-w.done; err != nil {
			return err
		}
		ours = append(ours, time.Since(at))
		at = time.Now()
		if err := d.append(buf); err != nil {
			return err
		}
		bare = append(bare, time.Since(at))
	}
	fmt.Printf("\none message at a time, durability sync, %d B of value, %d B written; in turn with one append and fdatasync of as much:\n", len(p.Msg.Value), group)
	slices.Sort(ours)
	slices.Sort(bare)
	for _, q := range []float64{0.5, 0.9, 0.99} {
		o, r := ours.quantile(q), bare.quantile(q)
		fmt.Printf("  p%v  commit %.0f µs  bare %.0f µs  %.2fx\n", 100*q, float64(o)/1e3, float64(r)/1e3, float64(o)/float64(r))
	}
	return nil
}

// times are sorted before they are asked.
type times []time.Duration

func (t times) quantile(q float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	return t[min(int(q*float64(len(t))), len(t)-1)]
}

type once struct{ done chan error }

func (o *once) Published(_ uint64, r kernel.PublishResult) { o.done <- r.Err }

// producer publishes as fast as its window allows.
type producer struct {
	window   int   // calls that it waits for at most
	unit     int64 // messages in each
	sent     int64
	acked    atomic.Int64
	full     atomic.Bool
	wake     chan struct{}
	failures *atomic.Int64

	began []atomic.Int64 // ns, by call modulo window
	mu    sync.Mutex
	took  times // of the calls that are timed
}

// take waits for room for one more call and returns its tag.
func (p *producer) take() uint64 {
	for p.sent-p.acked.Load() >= int64(p.window) {
		p.full.Store(true)
		if p.sent-p.acked.Load() >= int64(p.window) {
			<-p.wake
		}
	}
	tag := p.sent
	p.sent++
	if p.unit > 1 || tag%sampleEvery == 0 {
		p.began[tag%int64(p.window)].Store(time.Now().UnixNano())
	}
	return uint64(tag)
}

func (p *producer) ended(tag uint64, err error) {
	if err != nil {
		p.failures.Add(1)
	}
	if p.unit > 1 || tag%sampleEvery == 0 {
		took := time.Duration(time.Now().UnixNano() - p.began[int64(tag)%int64(p.window)].Load())
		p.mu.Lock()
		p.took = append(p.took, took)
		p.mu.Unlock()
	}
	// Woken every quarter of a window: a goroutine woken for each would be what is measured.
	if n := p.acked.Add(1); n%int64(max(p.window/4, 1)) == 0 && p.full.CompareAndSwap(true, false) {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

func (p *producer) Published(tag uint64, r kernel.PublishResult) { p.ended(tag, r.Err) }
func (p *producer) Appended(tag uint64, r kernel.AppendResult)   { p.ended(tag, r.Err) }

// drain waits for what is under way.
func (p *producer) drain() {
	for p.acked.Load() < p.sent {
		time.Sleep(50 * time.Microsecond)
	}
}

func (p *producer) publishAll(k *kernel.Kernel, id, shards int, n int64, size int) {
	addresses := make([]string, 16*shards)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("s/%d/%d", id, i)
	}
	m := kernel.Publish{Namespace: kernel.DefaultNamespace, Msg: message.Message{Source: message.MQTT, Value: make([]byte, size), QoS: 1}, Reply: p}
	for i := range n {
		m.Tag = p.take()
		m.Msg.Address, m.Msg.Time = addresses[i%int64(len(addresses))], 0
		if err := k.PublishWait(context.Background(), &m); err != nil {
			p.failures.Add(1)
			return
		}
	}
	p.drain()
}

func (p *producer) appendAll(k *kernel.Kernel, st kernel.StreamInfo, id int, n int64, size int) {
	parts := make([]*kernel.Partition, st.Partitions)
	for i := range parts {
		var err error
		if parts[i], err = k.Partition(st.ID, int32(i)); err != nil {
			p.failures.Add(1)
			return
		}
	}
	var rb record.Builder
	rb.Reset(nil, time.Now().UnixMilli())
	for range batchRecords {
		rb.Add(time.Now().UnixMilli(), nil, make([]byte, size))
	}
	batch := rb.Finish()
	for i := range n / batchRecords {
		tag := p.take()
		if err := parts[(int64(id)+i)%int64(len(parts))].AppendWait(context.Background(), slices.Clone(batch), -1, p, tag); err != nil {
			p.failures.Add(1)
			return
		}
	}
	p.drain()
}

// node is a kernel over an engine in this process.
type node struct {
	k      *kernel.Kernel
	engine storage.Engine
	host   *group.Host
}

func openNode(dir, durability string, shards, checkpoint int) (*node, error) {
	n := new(node)
	if durability == "memory" {
		n.engine = memlog.New()
	} else {
		e, err := filelog.Open(filepath.Join(dir, "data"), filelog.Options{
			Checkpoints: func(p string) (filelog.CheckpointStore, error) { return meta.Open(p) },
		})
		if err != nil {
			return nil, err
		}
		n.engine = e
	}
	n.host = group.NewHost(group.Options{Self: 1, Workers: runtime.GOMAXPROCS(0), Clock: clock.Wall{}, Seed: 1})
	var err error
	n.k, err = kernel.Open(kernel.Config{
		Engine: n.engine, Time: clock.Wall{}, Link: clock.Wall{}, DataShards: shards, CheckpointBytes: checkpoint,
		OpenGroup: func(s kernel.GroupSpec) (kernel.Group, error) {
			g, err := n.host.Open(group.Config{
				Shard: s.Shard, Log: n.engine.Log(), Sync: s.Sync && durability == "sync", Applied: s.Applied, AppliedTerm: s.AppliedTerm, Members: s.Members,
				Machine: s.Machine, Bind: func(g *group.Group) { s.Bind(g) }, BytesMax: s.BytesMax, EntriesMax: s.EntriesMax,
			})
			if err != nil {
				return nil, err
			}
			return g, g.Await(context.Background())
		},
	})
	if err != nil {
		return nil, errors.Join(err, n.engine.Close())
	}
	return n, nil
}

func (n *node) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(n.k.Close(ctx), n.host.Close(ctx), n.engine.Close())
}

// device is a file like the log's, written as barely as can be.
type device struct {
	f   vfs.File
	off int64
}

const deviceBytes = 64 << 20

func newDevice(dir string) (*device, error) {
	f, err := vfs.OS{}.Create(filepath.Join(dir, fmt.Sprintf("raw-%d", time.Now().UnixNano())))
	if err != nil {
		return nil, err
	}
	zero := make([]byte, 1<<20)
	for off := int64(0); off < deviceBytes; off += int64(len(zero)) {
		if _, err := f.WriteAt(zero, off); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return &device{f: f}, errors.Join(f.Sync())
}

// append writes b behind what was written before, from the start again at the file's
// end, and waits for the device.
func (d *device) append(b []byte) error {
	if d.off+int64(len(b)) > deviceBytes {
		d.off = 0
	}
	if _, err := d.f.WriteAt(b, d.off); err != nil {
		return err
	}
	d.off += int64(len(b))
	return d.f.SyncData()
}

// groups writes total bytes in groups of size, and returns the bytes a second.
func (d *device) groups(size, total int64) (float64, error) {
	if size == 0 || size > deviceBytes {
		return 0, nil
	}
	b := make([]byte, size)
	at := time.Now()
	n := int64(0)
	for n < total && (n == 0 || time.Since(at) < time.Second) {
		if err := d.append(b); err != nil {
			return 0, err
		}
		n += size
	}
	return float64(n) / time.Since(at).Seconds(), nil
}

// cpuTime is what this process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// writtenBytes is what this process has handed to write calls so far: the log, segments,
// checkpoints and the zeros that files are made of.
func writtenBytes() uint64 {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	var n uint64
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "wchar: "); ok {
			_, _ = fmt.Sscan(v, &n)
		}
	}
	return n
}
