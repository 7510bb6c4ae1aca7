package amqp

import (
	"io"
	"net"
	"testing"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
)

// BenchmarkConfirmed publishes persistent messages of 100 bytes to one queue in confirm
// mode, a hundred in flight, over a socket, with as little client as there can be: what is
// measured is the broker. They are consumed without acknowledgement by a second
// connection, so that nothing piles up.
func BenchmarkConfirmed(b *testing.B) {
	h := start(b, kerneltest.Options{NoCapture: true})
	declare(b, h.channel(), "q", nil)
	sub := rawConn(b, h)
	defer sub.Close()
	sub.Write(amqpwire.AppendMethod(nil, 1, &amqpwire.BasicConsume{Queue: "q", NoAck: true, NoWait: true}))
	go func() { _, _ = io.Copy(io.Discard, sub) }()
	nc := rawConn(b, h)
	defer nc.Close()
	nc.Write(amqpwire.AppendMethod(nil, 1, &amqpwire.ConfirmSelect{}))
	readMethod(b, nc) // confirm.select-ok

	const burst = 100
	props := amqpwire.Properties{Flags: amqpwire.FlagDeliveryMode, DeliveryMode: 2}
	one := amqpwire.AppendPublish(nil, 1, "", "q", false)
	one = amqpwire.AppendContent(one, 1, props.Append(nil), make([]byte, 100), 131072)
	var batch []byte
	for range burst {
		batch = append(batch, one...)
	}
	acked := make(chan uint64, 1024)
	go func() {
		defer close(acked)
		r := newFrameReader(nc)
		for {
			f, err := r.next()
			if err != nil {
				return
			}
			if f.Type != amqpwire.FrameMethod {
				continue
			}
			if id, args, _ := amqpwire.SplitMethod(f.Payload); id == amqpwire.IDBasicAck {
				s, _ := amqpwire.DecodeSettlement(id, args)
				acked <- s.Tag
			}
		}
	}()
	b.ReportAllocs()
	b.ResetTimer()
	var sent, done uint64
	const window = 40 * burst
	for sent < uint64(b.N) {
		for sent+burst > done+window {
			tag, ok := <-acked
			if !ok {
				b.Fatal("connection ended")
			}
			done = max(done, tag)
		}
		if _, err := nc.Write(batch); err != nil {
			b.Fatal(err)
		}
		sent += burst
	}
	for done < sent {
		done = max(done, <-acked)
	}
	b.StopTimer()
	b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "msg/s")
}

// rawConn opens a connection and channel 1, frame by frame.
func rawConn(t testing.TB, h *harness) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	write := func(m amqpwire.Method) {
		t.Helper()
		if _, err := nc.Write(amqpwire.AppendMethod(nil, 0, m)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := nc.Write([]byte(amqpwire.ProtocolHeader)); err != nil {
		t.Fatal(err)
	}
	readMethod(t, nc) // connection.start
	write(&amqpwire.ConnectionStartOk{Mechanism: "PLAIN", Response: []byte("\x00guest\x00guest"), Locale: "en_US", ClientProperties: amqpwire.Table{
		{Name: "capabilities", Value: amqpwire.Nested(amqpwire.Table{
			{Name: "authentication_failure_close", Value: amqpwire.Bool(true)}, {Name: "connection.blocked", Value: amqpwire.Bool(true)},
		})},
	}})
	readMethod(t, nc) // connection.tune
	write(&amqpwire.ConnectionTuneOk{ChannelMax: 100, FrameMax: 131072})
	write(&amqpwire.ConnectionOpen{VirtualHost: "/"})
	readMethod(t, nc)
	if _, err := nc.Write(amqpwire.AppendMethod(nil, 1, &amqpwire.ChannelOpen{})); err != nil {
		t.Fatal(err)
	}
	readMethod(t, nc)
	return nc
}

// frameReader reads frames from a connection.
type frameReader struct {
	nc     net.Conn
	buf    []byte
	have   int
	tossed int
}

func newFrameReader(nc net.Conn) *frameReader { return &frameReader{nc: nc, buf: make([]byte, 1<<18)} }

func (r *frameReader) next() (amqpwire.Frame, error) {
	copy(r.buf, r.buf[r.tossed:r.have])
	r.have -= r.tossed
	r.tossed = 0
	for {
		f, n, ok, err := amqpwire.DecodeFrame(r.buf[:r.have], len(r.buf))
		if err != nil {
			return f, err
		}
		if ok {
			r.tossed = n
			return f, nil
		}
		n, err = r.nc.Read(r.buf[r.have:])
		if err != nil {
			return f, err
		}
		r.have += n
	}
}

// readMethod reads exactly one method.
func readMethod(t testing.TB, nc net.Conn) amqpwire.Method {
	t.Helper()
	var b [1 << 12]byte
	for have := 0; ; have++ {
		if _, err := nc.Read(b[have : have+1]); err != nil {
			t.Fatalf("read: %v", err)
		}
		f, _, ok, err := amqpwire.DecodeFrame(b[:have+1], len(b))
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			m, err := amqpwire.DecodeMethod(f.Payload)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
	}
}

// BenchmarkConsume takes messages of 100 bytes out of one queue with a prefetch of 500,
// acknowledging each, while another connection publishes them.
func BenchmarkConsume(b *testing.B) {
	h := start(b, kerneltest.Options{NoCapture: true})
	declare(b, h.channel(), "q", nil)
	pub, sub := rawConn(b, h), rawConn(b, h)
	defer pub.Close()
	defer sub.Close()
	sub.Write(amqpwire.AppendMethod(nil, 1, &amqpwire.BasicQos{PrefetchCount: 500}))
	readMethod(b, sub)
	sub.Write(amqpwire.AppendMethod(nil, 1, &amqpwire.BasicConsume{Queue: "q", NoWait: true}))

	props := amqpwire.Properties{Flags: amqpwire.FlagDeliveryMode, DeliveryMode: 2}
	one := amqpwire.AppendPublish(nil, 1, "", "q", false)
	one = amqpwire.AppendContent(one, 1, props.Append(nil), make([]byte, 100), 131072)
	const ahead = 20_000 // how far the publisher may be ahead
	room, stop := make(chan struct{}, ahead/100), make(chan struct{})
	defer close(stop)
	go func() {
		var batch []byte
		for range 100 {
			batch = append(batch, one...)
		}
		for {
			select {
			case room <- struct{}{}:
			case <-stop:
				return
			}
			if _, err := pub.Write(batch); err != nil {
				return
			}
		}
	}()
	r := newFrameReader(sub)
	var acks []byte
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		f, err := r.next()
		if err != nil {
			b.Fatal(err)
		}
		if f.Type != amqpwire.FrameMethod {
			continue
		}
		m, err := amqpwire.DecodeMethod(f.Payload)
		if err != nil {
			b.Fatal(err)
		}
		d, ok := m.(*amqpwire.BasicDeliver)
		if !ok {
			continue
		}
		acks = amqpwire.AppendAck(acks, 1, d.DeliveryTag, false)
		if n++; n%100 == 0 {
			<-room
		}
		if len(acks) > 1000 {
			if _, err := sub.Write(acks); err != nil {
				b.Fatal(err)
			}
			acks = acks[:0]
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
