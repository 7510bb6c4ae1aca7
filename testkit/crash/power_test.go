package crash

import (
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/vfs"
	"github.com/robustmq/rmq/testkit/fusefs"
)

var cuts = flag.Int("cuts", 3, "how often TestPowerLoss cuts the power")

// machine is a disk with a broker on it.
type machine struct {
	t    *testing.T
	mem  *vfs.Mem
	wrap func(vfs.FS) vfs.FS // what stands between the broker and mem
	dir  string              // where it is mounted
	port int

	mounted *fusefs.Mounted
	p       *process
}

// newMachine mounts an empty disk, or skips the test where that cannot be done.
func newMachine(t *testing.T, wrap func(vfs.FS) vfs.FS) *machine {
	t.Helper()
	m := &machine{t: t, mem: vfs.NewMem(), wrap: wrap, dir: filepath.Join(t.TempDir(), "disk"), port: fixedPort(t)}
	check(t, os.Mkdir(m.dir, 0o750))
	if err := m.mount(); err != nil {
		t.Skipf("SKIPPED, power loss is NOT tested here: no FUSE file system can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if m.p != nil {
			m.p.kill()
		}
		if m.mounted != nil {
			check(t, m.unmount())
		}
	})
	return m
}

func (m *machine) mount() (err error) {
	m.mounted, err = fusefs.Mount(m.dir, m.wrap(m.mem))
	return err
}

// unmount waits for the kernel to let go of what a killed process had open.
func (m *machine) unmount() error {
	mounted := m.mounted
	m.mounted = nil
	for deadline := time.Now().Add(patience); ; {
		err := mounted.Unmount()
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
		<-time.After(retryOf)
	}
}

// start starts the broker.
func (m *machine) start() {
	m.p = launch(m.t, "--port", strconv.Itoa(m.port), "--data", filepath.Join(m.dir, "data"))
}

func (m *machine) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(m.port)) }

// cut cuts the power: the broker is dead at once, and the disk keeps what a disk may keep
// of what was not synced.
func (m *machine) cut(seed uint64) {
	m.t.Helper()
	m.p.kill()
	check(m.t, m.unmount())
	m.mem = m.mem.CrashClone(seed)
	check(m.t, m.mount())
}

func honest(disk vfs.FS) vfs.FS { return disk }

// The power is cut again and again under the traffic of all three protocols. Of what was
// not synced the disk keeps nothing, everything, or single sectors; nothing that was
// acknowledged is lost.
func TestPowerLoss(t *testing.T) {
	random := chance(t)
	m := newMachine(t, honest)
	m.start()
	check(t, m.p.ready())
	l := newLoad(t, m.addr())
	began := time.Now()
	var times recovery
	early, n := 0, 0
	moment := func(most time.Duration) { <-time.After(time.Duration(random.Int64N(int64(most)))) }
	for ; n < *cuts && !l.faulty(); n++ {
		moment(time.Second)
		m.cut(random.Uint64())
		for random.IntN(4) == 0 { // again, before or shortly after it is up
			early++
			m.start()
			moment(100 * time.Millisecond)
			m.cut(random.Uint64())
		}
		started := time.Now()
		m.start()
		check(t, m.p.ready())
		times.measure(t, m.p, started, time.Now())
		l.check(patient(t), t)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if !l.faulty() {
		l.finish(ctx, t)
	}
	l.report(t)
	t.Logf("%d power cuts in %v, %d more during recovery; %d faults; %v\nacknowledged: %s", n, time.Since(began).Round(time.Second), early, len(l.faults)+l.more, &times, l.summary())
}

// liar is a disk that says it has synced, and has not.
type liar struct {
	vfs.FS
	lies *atomic.Bool
}

func (d liar) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return liarFile{f, d.lies}, nil
}

func (d liar) Open(name string) (vfs.File, error)   { return d.wrap(d.FS.Open(name)) }
func (d liar) Create(name string) (vfs.File, error) { return d.wrap(d.FS.Create(name)) }

func (d liar) SyncDir(name string) error {
	if d.lies.Load() {
		return nil
	}
	return d.FS.SyncDir(name)
}

type liarFile struct {
	vfs.File
	lies *atomic.Bool
}

func (f liarFile) Sync() error {
	if f.lies.Load() {
		return nil
	}
	return f.File.Sync()
}

func (f liarFile) SyncData() error { return f.Sync() }

const (
	// liesFrom is the first power cut that is tried on a disk that lies: one after which it
	// keeps nothing of what it should have synced. Others tear the log, and the broker
	// refuses to start on it: it knows that what is torn was once durable.
	liesFrom = 15
	liesMax  = 10
)

// On a disk that lies about syncing the same traffic loses messages, and the ledger says
// so: the test above can fail.
func TestDiskThatLiesIsFound(t *testing.T) {
	for seed := range uint64(liesMax) {
		if lieIsFound(t, liesFrom+seed) {
			return
		}
	}
	t.Errorf("%d power cuts on a disk that lies, and the ledger knows of no loss", liesMax)
}

func lieIsFound(t *testing.T, seed uint64) bool {
	var lies atomic.Bool
	m := newMachine(t, func(disk vfs.FS) vfs.FS { return liar{disk, &lies} })
	m.start()
	check(t, m.p.ready())
	l := newLoad(t, m.addr())
	defer l.end()
	l.awaitAcks(patient(t), t, 50)
	lies.Store(true)
	l.awaitAcks(patient(t), t, 100)
	m.cut(seed)
	lies.Store(false)
	l.stopSending()
	m.start()
	if err := m.p.ready(); err != nil {
		t.Logf("seed %d: %v", seed, err)
		return false
	}
	l.checkEnds(patient(t), t)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.faults) == 0 {
		t.Logf("seed %d: nothing was lost", seed)
		return false
	}
	t.Logf("seed %d: %d faults, the first: %s", seed, len(l.faults)+l.more, l.faults[0])
	return true
}
