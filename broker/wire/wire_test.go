package wire

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tcpPair returns both ends of a loopback connection.
func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// conns runs a test on a socket, which has the fast paths, and on a pipe, which has not.
func conns(t *testing.T, f func(t *testing.T, a, b net.Conn)) {
	t.Run("tcp", func(t *testing.T) {
		a, b := tcpPair(t)
		f(t, a, b)
	})
	t.Run("pipe", func(t *testing.T) {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		f(t, a, b)
	})
}

func appendString(s string) func([]byte) []byte {
	return func(dst []byte) []byte { return append(dst, s...) }
}

func TestOutboxOrder(t *testing.T) {
	conns(t, func(t *testing.T, a, b net.Conn) {
		o := NewOutbox(a, 1<<20)
		big := bytes.Repeat([]byte("B"), 200<<10)
		released := make(chan struct{})
		var want []byte
		add := func(ok bool, p []byte) {
			t.Helper()
			if !ok {
				t.Fatal("refused below the limit")
			}
			want = append(want, p...)
		}
		add(o.Write([]byte("one ")), []byte("one "))
		add(o.Append(appendString("two ")), []byte("two "))
		add(o.WriteRef(big, func() { close(released) }), big)
		add(o.Hold(appendString("three ")), []byte("three "))
		add(o.WriteRef([]byte("four "), nil), []byte("four "))
		for range 100 {
			p := bytes.Repeat([]byte("x"), 1500)
			add(o.Append(func(dst []byte) []byte { return append(dst, p...) }), p)
		}
		o.Close(true)
		if o.Write([]byte("late")) {
			t.Error("took bytes after Close")
		}
		got, err := io.ReadAll(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("got %d bytes, want %d, or in another order", len(got), len(want))
		}
		o.Wait()
		<-released
		if n := o.Buffered(); n != 0 {
			t.Errorf("Buffered() = %d at the end", n)
		}
		if err := o.Err(); !errors.Is(err, ErrClosed) {
			t.Errorf("Err() = %v", err)
		}
	})
}

func TestOutboxHoldLeavesAtFlush(t *testing.T) {
	conns(t, func(t *testing.T, a, b net.Conn) {
		o := NewOutbox(a, 100)
		o.Hold(appendString("ab"))
		o.Hold(appendString("cd"))
		if n := o.Buffered(); n != 4 {
			t.Fatalf("Buffered() = %d, want 4", n)
		}
		o.Flush()
		got := make([]byte, 4)
		if _, err := io.ReadFull(b, got); err != nil || string(got) != "abcd" {
			t.Fatalf("read %q, %v", got, err)
		}
		o.Close(false)
		o.Wait()
		if _, err := b.Read(got); err != io.EOF {
			t.Errorf("after Close: %v, want EOF", err)
		}
	})
}

func TestOutboxLimit(t *testing.T) {
	a, b := net.Pipe() // takes nothing unless read
	defer b.Close()
	o := NewOutbox(a, 10)
	if !o.Hold(appendString("twenty bytes, alone!")) {
		t.Error("an empty outbox refused an item longer than its limit")
	}
	if o.Hold(appendString("x")) || o.Write([]byte("x")) || o.Append(appendString("x")) {
		t.Error("took bytes beyond the limit")
	}
	if o.WriteRef(make([]byte, copyMax+1), func() { t.Error("released what was refused") }) {
		t.Error("WriteRef took bytes beyond the limit")
	}
	if o.AppendWithin(5, appendString("x")) {
		t.Error("AppendWithin took bytes beyond its limit")
	}
	got := make([]byte, 20)
	o.Flush()
	if _, err := io.ReadFull(b, got); err != nil || string(got) != "twenty bytes, alone!" {
		t.Fatalf("read %q, %v", got, err)
	}
	o.Wait()
	if !o.Write([]byte("0123456789")) {
		t.Error("refused exactly the limit")
	}
	o.Close(false)
	o.Wait()
}

// A peer that reads nothing holds up neither the writers nor Close.
func TestOutboxStalledPeer(t *testing.T) {
	conns(t, func(t *testing.T, a, b net.Conn) {
		o := NewOutbox(a, 64<<20)
		released := 0
		chunk := make([]byte, 1<<20)
		for range 32 {
			if !o.WriteRef(chunk, func() { released++ }) {
				t.Fatal("refused below the limit")
			}
			o.Flush()
		}
		o.Close(true)
		o.Close(false)
		o.Wait()
		if released != 32 {
			t.Errorf("%d of 32 references released", released)
		}
	})
}

func TestOutboxPeerGone(t *testing.T) {
	conns(t, func(t *testing.T, a, b net.Conn) {
		o := NewOutbox(a, 1<<20)
		b.Close()
		for o.Write(make([]byte, 100)) {
			o.Wait()
		}
		o.Wait()
		if err := o.Err(); err == nil || errors.Is(err, ErrClosed) {
			t.Errorf("Err() = %v, want the write's", err)
		}
		if _, err := a.Read(make([]byte, 1)); err == nil {
			t.Error("the connection was left open")
		}
		o.Close(true)
		o.Wait()
	})
}

// A peer that goes on sending sees the last words, and the end, not a reset.
func TestOutboxLinger(t *testing.T) {
	conns(t, func(t *testing.T, a, b net.Conn) {
		o := NewOutbox(a, 1<<20)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for range 100 {
				if _, err := b.Write(make([]byte, 10_000)); err != nil {
					return // a pipe has no half to close
				}
			}
		}()
		o.Hold(appendString("farewell"))
		o.Linger()
		got, err := io.ReadAll(b)
		if err != nil || string(got) != "farewell" {
			t.Errorf("read %q, %v", got, err)
		}
		<-sent
		_ = b.Close()
		o.Wait()
	})
}

func TestOutboxConcurrent(t *testing.T) {
	conns(t, func(t *testing.T, a, b net.Conn) {
		const writers, each = 8, 500
		o := NewOutbox(a, 1<<30)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					p := []byte{byte(w), byte(i), byte(i >> 8)}
					switch i % 3 {
					case 0:
						o.Write(p)
					case 1:
						o.Append(func(dst []byte) []byte { return append(dst, p...) })
					default:
						o.Hold(func(dst []byte) []byte { return append(dst, p...) })
						o.Flush()
					}
				}
			})
		}
		go func() {
			wg.Wait()
			o.Close(true)
		}()
		got, err := io.ReadAll(b)
		if err != nil {
			t.Fatal(err)
		}
		var next [writers]int
		for ; len(got) >= 3; got = got[3:] {
			i := int(got[1]) | int(got[2])<<8
			if next[got[0]] != i {
				t.Fatalf("writer %d: item %d where %d was due", got[0], i, next[got[0]])
			}
			next[got[0]]++
		}
		for w, n := range next {
			if n != each {
				t.Errorf("writer %d: %d items, want %d", w, n, each)
			}
		}
		o.Wait()
	})
}

func TestOutboxHoldsNoBufferIdle(t *testing.T) {
	a, b := tcpPair(t)
	o := NewOutbox(a, 1<<20)
	o.Write([]byte("abc"))
	if _, err := io.ReadFull(b, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	o.Wait()
	if o.load != nil {
		t.Error("an idle outbox holds what it needs to write")
	}
	l := loads.Get().(*load)
	defer loads.Put(l)
	for _, b := range l.vec[:cap(l.vec)] {
		if b != nil {
			t.Error("the pool holds a buffer that was written")
		}
	}
	if l.tail != nil || len(l.queue) != 0 || l.in != nil {
		t.Error("the pool holds a buffer")
	}
}

func TestOutboxFlushDoesNotAllocate(t *testing.T) {
	a, b := tcpPair(t)
	o := NewOutbox(a, 1<<20)
	item := []byte("0123456789abcdef")
	buf := make([]byte, len(item))
	n := testing.AllocsPerRun(200, func() {
		o.Hold(func(dst []byte) []byte { return append(dst, item...) })
		o.Flush()
		if _, err := io.ReadFull(b, buf); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations for an item, want none", n)
	}
}

func TestReaderFrames(t *testing.T) {
	conns(t, func(t *testing.T, a, b net.Conn) {
		var sizes = []int{1, 2, 3, 100, 2047, 2048, 2049, 5000, 70000, 1, 300000, 4}
		frames := make([][]byte, len(sizes))
		for i, n := range sizes {
			frames[i] = make([]byte, n)
			_, _ = rand.Read(frames[i])
		}
		go func() {
			for _, f := range frames {
				_, _ = a.Write(f)
			}
			a.Close()
		}()
		r := NewReader(b)
		for i, f := range frames {
			if r.Buffered() < len(f) {
				if err := r.Fill(len(f)); err != nil {
					t.Fatalf("frame %d: %v", i, err)
				}
			}
			if got := r.Bytes()[:len(f)]; !bytes.Equal(got, f) {
				t.Fatalf("frame %d differs", i)
			}
			r.Discard(len(f))
		}
		if err := r.Fill(1); err != io.EOF {
			t.Errorf("at the end: %v, want EOF", err)
		}
		if r.buf != nil {
			t.Error("a reader at the end holds a buffer")
		}
	})
}

// What a peer announces costs nothing until it has sent it.
func TestReaderGrowsByWhatArrives(t *testing.T) {
	conns(t, func(t *testing.T, a, b net.Conn) {
		go func() { _, _ = a.Write([]byte("0123456789")) }()
		r := NewReader(b)
		if err := r.Fill(10); err != nil {
			t.Fatal(err)
		}
		_ = b.SetReadDeadline(time.Now())
		if err := r.Fill(100 << 20); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Fill = %v, want a passed deadline", err)
		}
		if len(r.buf) > largeBuffer {
			t.Errorf("ten bytes hold a buffer of %d", len(r.buf))
		}
		if string(r.Bytes()) != "0123456789" {
			t.Error("the error cost the bytes before it")
		}
		r.Release()
	})
}

// What is there before Wait begins is not waited for in vain, though the poller has told of it already.
func TestReaderWaitsForNothingThatIsThere(t *testing.T) {
	a, b := tcpPair(t)
	r := NewReader(b)
	if !r.CanWait() {
		t.Skip("there is no poller to wait with")
	}
	for _, say := range []func(){func() { _, _ = a.Write([]byte("x")) }, func() { a.Close() }} {
		told := false
		if err := r.raw.Read(func(uintptr) bool {
			if !told {
				say()
				told = true
				return false
			}
			return true // by the poller, once
		}); err != nil {
			t.Fatal(err)
		}
		_ = b.SetReadDeadline(time.Now().Add(time.Minute)) // or for ever
		if err := r.Wait(); err != nil {
			t.Fatal(err)
		}
		_ = r.Fill(1)
		r.Discard(r.Buffered())
	}
}

func TestReaderIdleHoldsNoBuffer(t *testing.T) {
	conns(t, func(t *testing.T, a, b net.Conn) {
		r := NewReader(b)
		go func() { _, _ = a.Write([]byte("ab")) }()
		if err := r.Fill(2); err != nil {
			t.Fatal(err)
		}
		r.Discard(2)
		_ = b.SetReadDeadline(time.Now())
		if err := r.Fill(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Fill = %v, want a passed deadline", err)
		}
		if r.buf != nil {
			t.Error("an idle reader holds a buffer")
		}
		_ = b.SetReadDeadline(time.Time{})
		go func() { _, _ = a.Write([]byte("cd")) }()
		if err := r.Fill(2); err != nil || string(r.Bytes()) != "cd" {
			t.Errorf("after idling: %q, %v", r.Bytes(), err)
		}
	})
}

func TestReaderDoesNotAllocate(t *testing.T) {
	a, b := tcpPair(t)
	r := NewReader(b)
	item := []byte("0123456789abcdef")
	n := testing.AllocsPerRun(200, func() {
		if _, err := a.Write(item); err != nil {
			t.Fatal(err)
		}
		if err := r.Fill(len(item)); err != nil {
			t.Fatal(err)
		}
		r.Discard(len(item))
	})
	if n > 0 {
		t.Errorf("%v allocations for a frame, want none", n)
	}
}

func TestPrefixConn(t *testing.T) {
	conns(t, func(t *testing.T, a, b net.Conn) {
		go func() {
			_, _ = a.Write([]byte("hello world"))
			a.Close()
		}()
		p := NewPrefixConn(b, nil)
		for _, n := range []int{1, 4} {
			got, err := p.Peek(n)
			if err != nil || string(got) != "hello"[:n] {
				t.Fatalf("Peek(%d) = %q, %v", n, got, err)
			}
		}
		r := NewReader(NewPrefixConn(p, []byte("oh, ")))
		if err := r.Fill(15); err != nil || string(r.Bytes()) != "oh, hello world" {
			t.Fatalf("through a Reader: %q, %v", r.Bytes(), err)
		}
		got, err := io.ReadAll(p) // the prefix is p's still: two readers would be a defect of the caller
		if err != nil || string(got) != "hell" {
			t.Errorf("through Read: %q, %v", got, err)
		}
	})
}

func TestPeekShort(t *testing.T) {
	a, b := tcpPair(t)
	_, _ = a.Write([]byte("ab"))
	a.Close()
	got, err := NewPrefixConn(b, nil).Peek(4)
	if err != io.EOF || string(got) != "ab" {
		t.Errorf("Peek = %q, %v; want what there was and EOF", got, err)
	}
}

func BenchmarkOutboxAppend(b *testing.B) {
	c, d := tcpPair(b)
	go func() { _, _ = io.Copy(io.Discard, d) }()
	item := make([]byte, 64)
	run := func(b *testing.B, put func(o *Outbox) bool) {
		o := NewOutbox(c, 1<<20)
		b.SetBytes(int64(len(item)))
		b.ReportAllocs()
		for b.Loop() {
			for !put(o) {
				o.Wait()
			}
		}
		o.Wait()
	}
	b.Run("goroutine", func(b *testing.B) {
		run(b, func(o *Outbox) bool { return o.Append(func(dst []byte) []byte { return append(dst, item...) }) })
	})
	b.Run("flush", func(b *testing.B) {
		run(b, func(o *Outbox) bool {
			ok := o.Hold(func(dst []byte) []byte { return append(dst, item...) })
			o.Flush()
			return ok
		})
	})
	c.Close()
}

// WhenWritten tells that what was put in before has left, and does not wait for what came after.
func TestOutboxWhenWritten(t *testing.T) {
	near, far := net.Pipe() // holds nothing: what is not read is not written
	o := NewOutbox(near, 1<<20)
	defer func() { o.Close(false); o.Wait(); _ = far.Close() }()
	told := make(chan string, 10)
	tell := func(what string) func() { return func() { told <- what } }
	o.WhenWritten(tell("nothing"))
	if got := <-told; got != "nothing" {
		t.Errorf("told %q", got)
	}
	o.Write([]byte("one"))
	o.WhenWritten(tell("one"))
	read := func(want string) {
		t.Helper()
		b := make([]byte, len(want))
		if _, err := io.ReadFull(far, b); err != nil || string(b) != want {
			t.Fatalf("read %q, %v; want %q", b, err, want)
		}
	}
	if len(told) != 0 {
		t.Error("told before it was written")
	}
	read("one")
	if got := <-told; got != "one" {
		t.Errorf("told %q", got)
	}
	o.Write([]byte("two"))
	o.WhenWritten(tell("two"))
	_ = far.Close()
	o.Close(true)
	o.Wait()
	if len(told) != 0 {
		t.Errorf("told %q, which was never written", <-told)
	}
}
