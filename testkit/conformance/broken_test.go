package conformance_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/testkit"
	"github.com/robustmq/rmq/testkit/conformance"
)

// wrong is one way in which a server can be wrong: what it makes of a packet on its way to
// the client.
type wrong struct {
	name      string
	flip      func(f mqttwire.Frame, raw []byte) []byte
	deaf      bool   // it does not close
	users     bool   // it asks who one is
	statement string // what is broken
}

// set changes the byte at a position of packets of one type.
func set(typ mqttwire.Type, position int, change func(byte) byte) func(mqttwire.Frame, []byte) []byte {
	return func(f mqttwire.Frame, raw []byte) []byte {
		if f.Type == typ && position < len(raw) {
			raw[position] = change(raw[position])
		}
		return raw
	}
}

func flipped(bit byte) func(byte) byte { return func(b byte) byte { return b ^ bit } }

var wrongs = []wrong{
	{name: "DUP is never set", flip: set(mqttwire.PUBLISH, 0, func(b byte) byte { return b &^ 8 }), statement: "MQTT5-3.3.1-1"},
	{name: "RETAIN is set on everything", flip: set(mqttwire.PUBLISH, 0, func(b byte) byte { return b | 1 }), statement: "MQTT5-3.3.1-12"},
	{name: "PUBACK names another packet", flip: set(mqttwire.PUBACK, 3, flipped(1)), statement: "MQTT5-2.2.1-5"},
	{name: "PUBREC names another packet", flip: set(mqttwire.PUBREC, 3, flipped(1)), statement: "MQTT5-4.3.3-8"},
	{name: "SUBACK names another packet", flip: set(mqttwire.SUBACK, 3, flipped(1)), statement: "MQTT5-3.8.4-2"},
	{name: "SUBACK grants more than was asked", flip: func(f mqttwire.Frame, raw []byte) []byte {
		if f.Type == mqttwire.SUBACK {
			raw[len(raw)-1] = 2
		}
		return raw
	}, statement: "MQTT5-3.8.4-7"},
	{name: "session present is never told", flip: set(mqttwire.CONNACK, 2, func(byte) byte { return 0 }), statement: "MQTT5-3.2.2-3"},
	{name: "CONNACK has a reserved flag", flip: set(mqttwire.CONNACK, 2, func(b byte) byte { return b | 2 }), statement: "MQTT5-3.2.2-1"},
	{name: "UNSUBACK has a code that there is none of", flip: func(f mqttwire.Frame, raw []byte) []byte {
		if f.Type == mqttwire.UNSUBACK {
			raw[len(raw)-1] = 0x42
		}
		return raw
	}, statement: "MQTT5-3.11.3-2"},
	{name: "messages come twice", flip: func(f mqttwire.Frame, raw []byte) []byte {
		if f.Type == mqttwire.PUBLISH {
			return append(raw, raw...)
		}
		return raw
	}, statement: "MQTT5-4.3.3-10"},
	{name: "PUBREL is not sent", flip: func(f mqttwire.Frame, raw []byte) []byte {
		if f.Type == mqttwire.PUBREL {
			return nil
		}
		return raw
	}, statement: "MQTT5-4.3.3-4"},
	{name: "payloads lose a byte", flip: func(f mqttwire.Frame, raw []byte) []byte {
		if f.Type == mqttwire.PUBLISH && raw[1] > 1 && raw[1] < 0x80 {
			raw[1]--
			return raw[:len(raw)-1]
		}
		return raw
	}, statement: "MQTT5-2.2.1-2"},
	{name: "connections are not ended", deaf: true, statement: "MQTT5-3.1.0-2"},
	{name: "DISCONNECT has another reason", flip: set(mqttwire.DISCONNECT, 2, func(byte) byte { return 0x97 }), statement: "MQTT5-3.3.2-9"},
	{name: "PINGREQ is not answered", flip: func(f mqttwire.Frame, raw []byte) []byte {
		if f.Type == mqttwire.PINGRESP {
			return nil
		}
		return raw
	}, statement: "MQTT5-3.12.4-1"},
	{name: "AUTH says success too early", flip: set(mqttwire.AUTH, 2, func(byte) byte { return 0 }), users: true, statement: "MQTT5-4.12.0-2"},
	{name: "AUTH names another method", flip: set(mqttwire.AUTH, 8, flipped(1)), users: true, statement: "MQTT5-4.12.0-5"},
	{name: "who proves nothing stays", deaf: true, users: true, statement: "MQTT5-4.12.0-4"},
	{name: "who proves nothing the second time stays", deaf: true, users: true, statement: "MQTT5-4.12.1-2"},
	{name: "AUTH tells more than the client takes", flip: func(f mqttwire.Frame, raw []byte) []byte {
		var a mqttwire.Auth
		if f.Type != mqttwire.AUTH || a.Decode(f) != nil {
			return raw
		}
		a.Properties = a.Properties.String(mqttwire.ReasonString, "because")
		return a.Append(nil)
	}, users: true, statement: "MQTT5-3.15.2-2"},
}

// silence is how long a test waits for what the broken server never says.
const silence = 300 * time.Millisecond

// A server that is wrong in one thing is found out, by the statement that says so.
func TestBroken(t *testing.T) {
	b, guarded := testkit.Run(t), testkit.Run(t, testkit.User("ann", "secret"))
	for _, w := range wrongs {
		t.Run(w.statement+" "+w.name, func(t *testing.T) {
			sel, err := conformance.Select(w.statement)
			if err != nil {
				t.Fatal(err)
			}
			of, who := b, ""
			if w.users {
				of, who = guarded, "ann:secret@"
			}
			p := newProxy(t, of.MQTT()[len("mqtt://"):], w)
			r, err := conformance.Run(t.Context(), conformance.Config{URL: "mqtt://" + who + p.l.Addr().String(), Select: sel, Patience: silence})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(r.Failures(true)); n != 1 {
				t.Errorf("%s: %s, want a failure", w.statement, r.Results[0].Verdict)
			}
		})
	}
}

// proxy stands before a broker and makes it wrong.
type proxy struct {
	l       net.Listener
	w       wrong
	backend string
	serving sync.WaitGroup
	mu      sync.Mutex
	conns   []net.Conn
}

func newProxy(t *testing.T, backend string, w wrong) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, w: w, backend: backend}
	p.serving.Go(p.serve)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.serving.Wait()
	})
	return p
}

func (p *proxy) serve() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.backend)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.serving.Go(func() {
			_, _ = io.Copy(server, client)
			_ = server.Close()
		})
		p.serving.Go(func() { p.answer(client, server) })
	}
}

// answer passes on what the server says, made wrong.
func (p *proxy) answer(client, server net.Conn) {
	var buf []byte
	chunk := make([]byte, 4096)
	for {
		n, err := server.Read(chunk)
		buf = append(buf, chunk[:n]...)
		for {
			f, n, _, bad := mqttwire.ReadFrame(buf, mqttwire.V5, mqttwire.PacketMax)
			if bad != nil || n == 0 {
				break
			}
			raw := append([]byte(nil), buf[:n]...)
			buf = buf[n:]
			switch {
			case p.w.deaf && f.Type == mqttwire.DISCONNECT:
				raw = nil
			case p.w.flip != nil:
				raw = p.w.flip(f, raw)
			}
			_, _ = client.Write(raw)
		}
		if err != nil {
			if !p.w.deaf || !errors.Is(err, io.EOF) {
				_ = client.Close()
			}
			return
		}
	}
}
