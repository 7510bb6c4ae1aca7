package mqtt

import (
	"context"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/broker/wire"
)

// echo is a kernel of one idea: whatever is published reaches every session at QoS 0. It
// shows what the adapter costs.
type echo struct {
	mu    sync.RWMutex
	sinks []kernel.Sink
	d     sync.Pool
}

type echoSession struct {
	fakeSession
	k    *echo
	sink kernel.Sink
}

func (k *echo) Open(_ context.Context, spec kernel.SessionSpec) (session, bool, error) {
	return &echoSession{fakeSession{calls: make(chan string, 4)}, k, spec.Sink}, false, nil
}

func (s *echoSession) Subscribe(_ context.Context, subs []kernel.Subscription) ([]bool, []error) {
	s.k.mu.Lock()
	s.k.sinks = append(s.k.sinks, s.sink)
	s.k.mu.Unlock()
	return make([]bool, len(subs)), make([]error, len(subs))
}

func (*echo) Settings(string, setting.Kind) []setting.Setting { return nil }

func (*echo) ItemsVersion() uint64 { return 0 }

func (*echo) Home(string, string) (kernel.StreamInfo, bool) { return kernel.StreamInfo{}, false }

func (*echo) Partition(kernel.StreamID, int32) (*kernel.Partition, error) { return nil, nil }

func (k *echo) Room() <-chan struct{} { return nil }

func (k *echo) Publish(p *kernel.Publish) error {
	d := k.d.Get().(*kernel.Delivery)
	*d = kernel.Delivery{Msg: &p.Msg, Batch: p.Batch}
	k.mu.RLock()
	for _, s := range k.sinks {
		s.Deliver(d)
	}
	k.mu.RUnlock()
	k.d.Put(d)
	if p.Reply != nil {
		p.Reply.Published(p.Tag, kernel.PublishResult{Subscribers: 1})
	}
	return nil
}

// echoServer returns a dialer of a server on an echo kernel, over TCP.
func echoServer(tb testing.TB) (dial func(subscribe bool) *peer) {
	return dialer(tb, newServer(Config{}, &echo{d: sync.Pool{New: func() any { return new(kernel.Delivery) }}}))
}

// kernelServer is the same on the production kernel.
func kernelServer(tb testing.TB) (dial func(subscribe bool) *peer) {
	return dialer(tb, New(Config{Kernel: kerneltest.Open(tb, kerneltest.Options{NoCapture: true})}))
}

var servers = []struct {
	name string
	open func(testing.TB) func(bool) *peer
}{{"adapter", echoServer}, {"kernel", kernelServer}}

// dialer serves s over TCP, and returns what connects to it.
func dialer(tb testing.TB, s *Server) (dial func(subscribe bool) *peer) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { s.ServeConn(nc) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Close(ctx)
		served.Wait()
	})
	return func(subscribe bool) *peer {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = nc.Close() })
		p := &peer{v: mqttwire.V311, nc: nc, r: wire.NewReader(nc)}
		b := (&mqttwire.Connect{Version: mqttwire.V311, CleanStart: true}).Append(nil)
		want := 1
		if subscribe {
			want++
			b = (&mqttwire.Subscribe{PacketID: 1, Filters: []mqttwire.Filter{{Filter: []byte("#")}}}).Append(b, mqttwire.V311)
		}
		if _, err := nc.Write(b); err != nil {
			tb.Fatal(err)
		}
		for range want {
			if _, _, err := p.next(); err != nil {
				tb.Fatal(err)
			}
		}
		return p
	}
}

var sample = (&mqttwire.Publish{Topic: []byte("sensors/dev1/temp"), Payload: make([]byte, 64)}).Append(nil, mqttwire.V311)

// From socket to socket, the adapter allocates nothing for a QoS 0 message.
func TestQoS0DoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools lose what they hold")
	}
	dial := echoServer(t)
	sub, pub := dial(true), dial(false)
	n := testing.AllocsPerRun(300, func() {
		if _, err := pub.nc.Write(sample); err != nil {
			t.Fatal(err)
		}
		if _, _, err := sub.next(); err != nil {
			t.Fatal(err)
		}
	})
	if n >= 1 {
		t.Errorf("%v allocations a message, want none", n)
	}
}

// BenchmarkLatency is one message at a time, publisher to subscriber.
func BenchmarkLatency(b *testing.B) {
	for _, server := range servers {
		b.Run(server.name, func(b *testing.B) {
			dial := server.open(b)
			sub, pub := dial(true), dial(false)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = pub.nc.Write(sample)
				if _, _, err := sub.next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRelay is the same through a bare relay: read, write.
func BenchmarkRelay(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	out, _ := net.Dial("tcp", l.Addr().String())
	outServer, _ := l.Accept()
	in, _ := net.Dial("tcp", l.Addr().String())
	inServer, _ := l.Accept()
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := inServer.Read(buf)
			if err != nil {
				return
			}
			_, _ = outServer.Write(buf[:n])
		}
	}()
	p := &peer{v: mqttwire.V311, nc: out, r: wire.NewReader(out)}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = in.Write(sample)
		if _, _, err := p.next(); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []net.Conn{in, out, inServer, outServer} {
		_ = c.Close()
	}
}

// BenchmarkThroughput is as many as go: publishers write as fast as they can, within a
// window that keeps QoS 0 from being dropped.
func BenchmarkThroughput(b *testing.B) {
	shapes := []struct {
		name      string
		pub, subs int
	}{{"1to1", 1, 1}, {"fanin8", 8, 1}, {"fanout8", 1, 8}}
	for i := range len(servers) * len(shapes) {
		server, shape := servers[i/len(shapes)], shapes[i%len(shapes)]
		b.Run(server.name+"/"+shape.name, func(b *testing.B) {
			dial := server.open(b)
			subs := make([]*peer, shape.subs)
			for i := range subs {
				subs[i] = dial(true)
			}
			const batch, ahead = 32, 64 // messages in a write; writes in flight
			chunk := make([]byte, 0, batch*len(sample))
			for range batch {
				chunk = append(chunk, sample...)
			}
			tokens := make([]chan struct{}, shape.subs) // the slowest subscriber sets the pace
			for i := range tokens {
				tokens[i] = make(chan struct{}, ahead)
			}
			var wg sync.WaitGroup
			total := (b.N + batch - 1) / batch * batch
			each := total / batch / shape.pub
			total = each * shape.pub * batch
			b.SetBytes(int64(len(sample) * shape.subs))
			b.ReportAllocs()
			b.ResetTimer()
			for range shape.pub {
				p := dial(false)
				wg.Go(func() {
					for range each {
						for _, c := range tokens {
							c <- struct{}{}
						}
						_, _ = p.nc.Write(chunk)
					}
				})
			}
			for i, s := range subs {
				wg.Go(func() {
					for n := 1; n <= total; n++ {
						if _, _, err := s.next(); err != nil {
							b.Error(err)
							return
						}
						if n%batch == 0 {
							<-tokens[i]
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkQoS1 is a publisher with a window of publishes in progress, and a subscriber
// that acknowledges in batches.
func BenchmarkQoS1(b *testing.B) {
	dial := kernelServer(b)
	sub, pub := dial(false), dial(false)
	_, _ = sub.nc.Write((&mqttwire.Subscribe{PacketID: 1, Filters: []mqttwire.Filter{{Filter: []byte("#"), QoS: 1}}}).Append(nil, mqttwire.V311))
	if _, _, err := sub.next(); err != nil {
		b.Fatal(err)
	}
	const window, batch = 512, 32
	total := (b.N + batch - 1) / batch * batch
	p := mqttwire.Publish{Topic: []byte("sensors/dev1/temp"), Payload: make([]byte, 64), QoS: 1}
	tokens := make(chan struct{}, window/batch)
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	wg.Go(func() {
		var out []byte
		for i := 0; i < total; i += batch {
			tokens <- struct{}{}
			out = out[:0]
			for j := range batch {
				p.PacketID = uint16((i+j)%65535 + 1)
				out = p.Append(out, mqttwire.V311)
			}
			_, _ = pub.nc.Write(out)
		}
	})
	wg.Go(func() {
		for i := 1; i <= total; i++ {
			if _, _, err := pub.next(); err != nil {
				b.Error(err)
				return
			}
			if i%batch == 0 {
				<-tokens
			}
		}
	})
	var out []byte
	var q mqttwire.Publish
	for i := 1; i <= total; i++ {
		f, _, err := sub.next()
		if err == nil {
			err = q.Decode(mqttwire.V311, f)
		}
		if err != nil {
			b.Fatal(err)
		}
		out = (&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: q.PacketID}).Append(out, mqttwire.V311)
		if i%batch == 0 {
			_, _ = sub.nc.Write(out)
			out = out[:0]
		}
	}
	wg.Wait()
}

// TestIdleConnectionIsSmall weighs connections that have nothing to say.
func TestIdleConnectionIsSmall(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("weighs the race detector too")
	}
	const n = 500
	dial := echoServer(t)
	peers := make([]*peer, 0, n)
	weigh := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc + m.StackInuse)
	}
	dial(true)
	before := weigh()
	for range n {
		peers = append(peers, dial(false))
	}
	each := (weigh() - before) / n
	t.Logf("%d bytes a connection, the client's end included", each)
	runtime.KeepAlive(peers)
	if each > 12<<10 {
		t.Errorf("%d bytes for an idle connection", each)
	}
}
