package edge

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/wire"
)

// A plan of faults may have connections refused, broken, slow or silent: those that there are, and those to come. The
// connections of QUIC are left alone. A connection that is not disturbed pays one load for each read and write.

// link is a connection as the plan of faults sees it.
type link struct {
	s     *Server
	l     *listener
	valve *wire.Valve // nil: it cannot be disturbed
	raw   net.Conn

	mu     sync.Mutex // guards what follows
	what   string     // protocol; "" before it is known
	client string     // "" before it is known
	told   *told      // nil: no rule was asked
}

// told is what rules have said of a connection.
type told struct {
	asked chaos.Asked
	flow  *flow         // nil: nothing is done to it
	over  chan struct{} // closed at its end
	end   sync.Once
}

func (s *Server) link(c net.Conn, l *listener) *link {
	k := &link{s: s, l: l, raw: c}
	if _, quic := c.(*quicConn); quic {
		return k
	}
	if l.spec.Proto != Any {
		k.what = l.spec.Proto.String()
	}
	k.valve = wire.NewValve(c, k.named)
	return k
}

// conn is what the connection is served through.
func (k *link) conn() net.Conn {
	if k.valve == nil {
		return k.raw
	}
	return k.valve
}

// cut closes the connection at once.
func (k *link) cut() {
	if k.valve == nil {
		_ = k.raw.Close()
		return
	}
	_ = k.valve.Cut()
}

// speaks notes which protocol it is. true: it is not to be served.
func (k *link) speaks(p Proto) (refused bool) {
	if k.valve == nil {
		return false
	}
	k.mu.Lock()
	k.what = p.String()
	k.mu.Unlock()
	return k.ask()
}

// named notes who the client is.
func (k *link) named(client string) {
	k.mu.Lock()
	same := k.client == client
	k.client = client
	k.mu.Unlock()
	if !same {
		k.ask()
	}
}

// closed ends what waits on behalf of the connection.
func (k *link) closed() {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.told
	if t == nil {
		return
	}
	t.end.Do(func() { close(t.over) })
	if t.flow != nil {
		for _, a := range t.flow.acts {
			a.leave()
		}
	}
}

// disturb has the connections see that there are other rules.
func (s *Server) disturb(seam chaos.Seam) {
	if seam != chaos.Conn {
		return
	}
	s.mu.Lock()
	all := make([]*link, 0, len(s.conns))
	for _, k := range s.conns {
		all = append(all, k)
	}
	s.mu.Unlock()
	for _, k := range all {
		k.ask()
	}
}

// ask asks the rules that the connection was not asked about, and forgets those that are gone. true: it is not to be
// served, and is broken if it is already.
func (k *link) ask() (refused bool) {
	e := k.s.cfg.Chaos
	if k.valve == nil || e == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.told == nil {
		if !e.On(chaos.Conn) {
			return false
		}
		k.told = &told{asked: make(chaos.Asked), over: make(chan struct{})}
	}
	t := k.told
	var acts []*deed
	if t.flow != nil {
		acts = slices.DeleteFunc(slices.Clone(t.flow.acts), func(a *deed) bool { return !e.Has(chaos.Conn, a.Rule) })
	}
	kept := len(acts)
	for _, a := range e.AskAll(chaos.Ask{Seam: chaos.Conn, In: true, What: k.what, Client: k.client, Listener: k.l.spec.URL(k.l.Addr())}, t.asked) {
		if a.Do == chaos.Refuse || a.Do == chaos.Reset && a.Bytes == 0 {
			wire.Reset(k.valve)
			return true
		}
		d := &deed{Act: a}
		k.begin(d)
		acts = append(acts, d)
	}
	was := t.flow
	if was == nil && len(acts) == 0 || was != nil && kept == len(was.acts) && len(acts) == kept {
		return false
	}
	if t.flow = nil; len(acts) > 0 {
		t.flow = &flow{k: k, acts: acts, over: t.over}
		k.valve.Set(t.flow)
	} else {
		k.valve.Set(nil)
	}
	if was != nil {
		was.done.Store(true)
		was.wake()
	}
	return false
}

// flow does to the bytes of a connection what rules say.
type flow struct {
	k    *link
	acts []*deed
	over chan struct{} // of the connection
	done atomic.Bool   // another has taken its place

	mu     sync.Mutex
	awaits [2]func(time.Time) error // the deadline of who waits for that in a read, in a write; nil: nobody does
}

// deed is what one rule does to a connection. It goes on as other rules come and go.
type deed struct {
	chaos.Act
	passed atomic.Int64 // bytes, both ways
	begun  atomic.Bool  // a hang that ends by itself
	free   atomic.Bool  // it has ended
	cancel atomic.Pointer[func()]
}

// await waits in a read, or a write, until a hang is over.
func (f *flow) await(a *deed, write bool) error {
	deadline, i := f.k.raw.SetReadDeadline, 0
	if write {
		deadline, i = f.k.raw.SetWriteDeadline, 1
	}
	over := func() bool { return f.done.Load() || a.free.Load() }
	f.mu.Lock()
	f.awaits[i] = deadline
	f.mu.Unlock()
	var err error
	if !over() {
		if err = wire.Await(f.k.raw, write, over); err != nil && over() { // it was woken
			err = nil
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.awaits[i] = nil
	if err == nil {
		_ = deadline(time.Time{}) // on a connection that is closed nobody reads
	}
	return err
}

// wake has those look again who wait for the end of hang. A deadline that has passed does it.
func (f *flow) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, deadline := range f.awaits {
		if deadline != nil {
			_ = deadline(time.Unix(1, 0)) // on a connection that is closed nobody waits
		}
	}
}

func (f *flow) each(do chaos.Effect, fn func(*deed)) {
	for _, a := range f.acts {
		if a.Do == do {
			fn(a)
		}
	}
}

// chunk is how many of n bytes may pass at once.
func (f *flow) chunk(n int) int {
	f.each(chaos.Slow, func(a *deed) { n = min(n, int(max(a.Bytes/slowSteps, 1))) })
	return n
}

// slowSteps is how often in a second bytes of a slow connection pass.
const slowSteps = 10

// pass is told that n bytes have passed, and takes the time that takes. An error breaks the connection.
func (f *flow) pass(n int) error {
	for _, a := range f.acts {
		a.passed.Add(int64(n))
		f.k.begin(a)
	}
	f.each(chaos.Delay, func(a *deed) { f.k.s.cfg.Chaos.Wait(a.Act, f.over, nil) })
	f.each(chaos.Slow, func(a *deed) {
		act := a.Act
		act.Delay = time.Duration(n) * time.Second / time.Duration(a.Bytes)
		f.k.s.cfg.Chaos.Wait(act, f.over, nil)
	})
	var err error
	f.each(chaos.Reset, func(a *deed) {
		if a.passed.Load() > a.Bytes {
			wire.Reset(f.k.valve)
			err = net.ErrClosed
		}
	})
	return err
}

// hang waits where nothing passes any more.
func (f *flow) hang(write bool) (err error) {
	f.each(chaos.Hang, func(a *deed) {
		if err != nil || a.passed.Load() < a.Bytes || a.free.Load() {
			return
		}
		err = f.await(a, write)
	})
	return err
}

// begin has a hang end after its time.
func (k *link) begin(a *deed) {
	if a.Do != chaos.Hang || a.Delay == 0 || a.passed.Load() < a.Bytes || a.begun.Swap(true) {
		return
	}
	cancel := k.s.cfg.Chaos.After(a.Act, func() {
		a.free.Store(true)
		k.mu.Lock()
		defer k.mu.Unlock()
		if f := k.told.flow; f != nil {
			f.wake()
		}
	})
	if c := &cancel; !a.cancel.CompareAndSwap(nil, c) { // the connection has ended meanwhile
		cancel()
	}
}

// leave ends what begin has begun, or is about to.
func (a *deed) leave() {
	if c := a.cancel.Swap(&nothing); c != nil {
		(*c)()
	}
}

var nothing = func() {}

func (f *flow) Read(c net.Conn, p []byte) (int, error) {
	if err := f.hang(false); err != nil {
		return 0, err
	}
	n, err := c.Read(p[:f.chunk(len(p))])
	if n > 0 {
		if perr := f.pass(n); perr != nil {
			return 0, perr
		}
	}
	return n, err
}

func (f *flow) Write(c net.Conn, p []byte) (total int, err error) {
	for len(p) > 0 {
		if err := f.hang(true); err != nil {
			return total, err
		}
		n := f.chunk(len(p))
		if err := f.pass(n); err != nil {
			return total, err
		}
		n, err = c.Write(p[:n])
		total += n
		if p = p[n:]; err != nil {
			return total, err
		}
	}
	return total, nil
}

func (f *flow) Close(c net.Conn) error {
	f.each(chaos.Linger, func(a *deed) { f.k.s.cfg.Chaos.Wait(a.Act, f.k.s.stop, nil) })
	f.k.closed()
	return c.Close()
}
