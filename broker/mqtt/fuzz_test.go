package mqtt

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/option"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/broker/trace"
)

// FuzzConnection: whatever a client sends, connected or not, the server neither panics nor
// hangs, and lets go of it.
func FuzzConnection(f *testing.F) {
	connect := (&mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("c"), Properties: none.Uint16(mqttwire.TopicAliasMaximum, 3).
		Uint16(mqttwire.ReceiveMaximum, 2)}).Append(nil)
	add := func(packets ...[]byte) {
		var b []byte
		for _, p := range packets {
			b = append(b, p...)
		}
		f.Add(b, true)
		f.Add(b, false)
	}
	v := mqttwire.V5
	add(connect)
	add((&mqttwire.Publish{Topic: []byte("a"), QoS: 2, PacketID: 1, Properties: none.Uint16(mqttwire.TopicAlias, 1)}).Append(nil, v),
		(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: 1}).Append(nil, v), pingreq)
	add((&mqttwire.Subscribe{PacketID: 1, Filters: []mqttwire.Filter{{Filter: []byte("$share/g/a/#"), QoS: 2}}}).Append(nil, v),
		(&mqttwire.Unsubscribe{PacketID: 2, Filters: [][]byte{[]byte("a")}}).Append(nil, v))
	add((&mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: sharedIDMin}).Append(nil, v), (&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 1}).Append(nil, v),
		(&mqttwire.Disconnect{Properties: none.Uint32(mqttwire.SessionExpiry, 1)}).Append(nil, v))
	tr := trace.New(1)
	if _, err := tr.Look(trace.Query{}); err != nil { // all that comes and goes is described, too
		f.Fatal(err)
	}
	timed := option.Fixed(map[string]string{"mqtt.slow.threshold": "1ms"})
	s := newServer(Config{MaxPacket: 1 << 16, ReceiveMaximum: 4, Trace: tr, Options: timed}, fuzzKernel{})
	f.Fuzz(func(t *testing.T, b []byte, connected bool) {
		near, far := net.Pipe()
		_ = near.SetDeadline(time.Now().Add(patience))
		served := make(chan struct{})
		go func() {
			s.ServeConn(far)
			close(served)
		}()
		go func() { _, _ = io.Copy(io.Discard, near) }() // ends with the connection
		if connected {
			_, _ = near.Write(connect)
		}
		_, _ = near.Write(b)
		_ = near.Close()
		select {
		case <-served:
		case <-time.After(patience):
			t.Fatal("the server holds on to the connection")
		}
	})
}

// fuzzKernel agrees to everything, and delivers what is published to who published it.
type fuzzKernel struct {
	core //nolint:unused // what it has not of its own is not called
}

func (fuzzKernel) Open(_ context.Context, spec kernel.SessionSpec) (session, bool, error) {
	return fuzzSession{sink: spec.Sink}, false, nil
}

func (fuzzKernel) Settings(string, setting.Kind) []setting.Setting { return nil }

func (fuzzKernel) ItemsVersion() uint64 { return 0 }

func (fuzzKernel) Home(string, string) (kernel.StreamInfo, bool) { return kernel.StreamInfo{}, false }

func (fuzzKernel) Partition(kernel.StreamID, int32) (*kernel.Partition, error) { return nil, nil }

func (fuzzKernel) Room() <-chan struct{} { return nil }

func (fuzzKernel) Publish(p *kernel.Publish) error {
	if p.Reply != nil {
		sink := p.Reply.(*conn)
		sink.Deliver(&kernel.Delivery{Msg: &p.Msg, QoS: p.Msg.QoS, PacketID: 1, SubIDs: []uint32{1}})
		sink.Deliver(&kernel.Delivery{Msg: &message.Message{Source: message.AMQP, Address: p.Msg.Address, Headers: p.Msg.Headers}})
		p.Reply.Published(p.Tag, kernel.PublishResult{Subscribers: int(p.Tag % 2)})
	}
	return nil
}

type fuzzSession struct {
	session //nolint:unused // what it has not of its own is not called
	sink    kernel.Sink
}

func (fuzzSession) Start() {}
func (fuzzSession) Subscribe(_ context.Context, subs []kernel.Subscription) ([]bool, []error) {
	return make([]bool, len(subs)), make([]error, len(subs))
}
func (fuzzSession) Retained(...kernel.Subscription) error { return nil }
func (fuzzSession) Unsubscribe(_ context.Context, f []string) ([]bool, error) {
	return make([]bool, len(f)), nil
}
func (fuzzSession) Ack(id uint16, _ bool) bool          { return id%2 == 0 }
func (fuzzSession) Received(id uint16, done func(bool)) { done(id%2 == 0) }
func (fuzzSession) Release(id uint16, done func(bool))  { done(id%2 == 0) }
func (fuzzSession) Close(bool, *uint32)                 {}
