package wire

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// sleeper reports what it is woken by.
type sleeper chan error

func (s sleeper) Wake(err error) { s <- err }

// asleep returns a reader that sleeps, the ends of its connection, and who is to be woken.
func asleep(t *testing.T, p *Poller) (r *Reader, v *Valve, peer net.Conn, s sleeper) {
	t.Helper()
	a, b := tcpPair(t)
	v = NewValve(a, nil)
	r, s = NewReader(v), make(sleeper, 2)
	if !r.Sleep(p, s) {
		t.Fatal("it does not sleep")
	}
	return r, v, b, s
}

func TestSleepUntilBytes(t *testing.T) {
	var p Poller
	defer p.Close()
	r, _, peer, s := asleep(t, &p)
	for _, said := range []string{"one", "two"} {
		if _, err := peer.Write([]byte(said)); err != nil {
			t.Fatal(err)
		}
		if err := <-s; err != nil {
			t.Fatal(err)
		}
		r.Woken()
		if err := r.Fill(len(said)); err != nil || string(r.Bytes()) != said {
			t.Fatalf("read %q, %v", r.Bytes(), err)
		}
		r.Discard(len(said))
		if !r.Sleep(&p, s) {
			t.Fatal("it does not sleep again")
		}
	}
}

// What came before a connection sleeps wakes it.
func TestSleepWhenThereIsSomething(t *testing.T) {
	var p Poller
	defer p.Close()
	a, b := tcpPair(t)
	if _, err := b.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	s := make(sleeper, 1)
	if r := NewReader(NewValve(a, nil)); !r.Sleep(&p, s) {
		t.Fatal("it does not sleep")
	}
	if err := <-s; err != nil {
		t.Error(err)
	}
}

func TestSleepUntilEnd(t *testing.T) {
	var p Poller
	defer p.Close()
	for name, tt := range map[string]struct {
		end  func(v *Valve, peer net.Conn) error
		woke error
	}{
		"of the peer":          {func(_ *Valve, peer net.Conn) error { return peer.Close() }, nil},
		"of this side":         {func(v *Valve, _ net.Conn) error { return v.Close() }, net.ErrClosed},
		"cut":                  {func(v *Valve, _ net.Conn) error { return v.Cut() }, net.ErrClosed},
		"reset":                {func(v *Valve, _ net.Conn) error { Reset(v); return nil }, net.ErrClosed},
		"disturbed and closed": {func(v *Valve, _ net.Conn) error { v.Set(plain{}); return v.Close() }, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			r, v, peer, s := asleep(t, &p)
			if err := tt.end(v, peer); err != nil {
				t.Fatal(err)
			}
			if err := <-s; !errors.Is(err, tt.woke) {
				t.Fatalf("woken by %v", err)
			}
			r.Woken()
			if err := r.Fill(1); err == nil || tt.woke == nil && err != io.EOF {
				t.Errorf("read: %v", err)
			}
		})
	}
}

// plain is a flow that does nothing.
type plain struct{}

func (plain) Read(c net.Conn, p []byte) (int, error)  { return c.Read(p) }
func (plain) Write(c net.Conn, p []byte) (int, error) { return c.Write(p) }
func (plain) Close(c net.Conn) error                  { return c.Close() }

// Whoever closes a connection that is about to sleep, or the peer that says something, wakes it once.
func TestSleepWhileClosed(t *testing.T) {
	var p Poller
	defer p.Close()
	for range 300 {
		a, b := tcpPair(t)
		v := NewValve(a, nil)
		r, s := NewReader(v), make(sleeper, 2)
		var both sync.WaitGroup
		both.Go(func() { _ = v.Close() })
		both.Go(func() { _, _ = b.Write([]byte("x")) })
		slept := r.Sleep(&p, s)
		both.Wait()
		if slept {
			<-s
		} else if err := r.Wait(); err == nil {
			t.Fatal("it may not sleep, and is not closed")
		}
		if len(s) > 0 {
			t.Fatal("woken twice")
		}
	}
}

// A descriptor that a closed connection had is another's soon: what its sleep was registered with wakes nobody.
func TestSleepersAreNotMistaken(t *testing.T) {
	var p Poller
	defer p.Close()
	for range 50 {
		_, v, _, s := asleep(t, &p)
		_ = v.Close()
		<-s
		_, next, peer, s2 := asleep(t, &p)
		if len(s2) > 0 {
			t.Fatal("woken by nothing")
		}
		if _, err := peer.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := <-s2; err != nil {
			t.Fatal(err)
		}
		_ = next.Close()
	}
}

// A pipe, or TLS, has no descriptor to wait for; a poller that is closed waits for nobody.
func TestSleepWhereItCannot(t *testing.T) {
	var p Poller
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if NewReader(NewValve(a, nil)).Sleep(&p, make(sleeper, 1)) {
		t.Error("on a pipe")
	}
	p.Close()
	c, _ := tcpPair(t)
	if NewReader(NewValve(c, nil)).Sleep(&p, make(sleeper, 1)) {
		t.Error("with a closed poller")
	}
}

func BenchmarkSleep(b *testing.B) {
	var p Poller
	defer p.Close()
	a, peer := tcpPair(b)
	r, s := NewReader(NewValve(a, nil)), make(sleeper, 1)
	for b.Loop() {
		if !r.Sleep(&p, s) {
			b.Fatal("it does not sleep")
		}
		_, _ = peer.Write([]byte("x"))
		<-s
		r.Woken()
		if r.Fill(1) != nil {
			b.Fatal("nothing read")
		}
		r.Discard(1)
	}
}

func BenchmarkWait(b *testing.B) {
	a, peer := tcpPair(b)
	r := NewReader(NewValve(a, nil))
	for b.Loop() {
		woke := make(chan error)
		go func() { woke <- r.Wait() }()
		_, _ = peer.Write([]byte("x"))
		<-woke
		if r.Fill(1) != nil {
			b.Fatal("nothing read")
		}
		r.Discard(1)
	}
}
