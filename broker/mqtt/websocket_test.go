package mqtt

import (
	"context"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/wire"
)

func TestWebSocket(t *testing.T) {
	b := newBench(t, nil)
	web := httptest.NewServer(b.s.WebSocket())
	defer web.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, protocol := range []string{"mqtt", "mqttv3.1"} {
		ws, _, err := websocket.Dial(ctx, web.URL, &websocket.DialOptions{Subprotocols: []string{"other", protocol}})
		if err != nil {
			t.Fatal(err)
		}
		if got := ws.Subprotocol(); got != protocol {
			t.Errorf("MQTT5-6.0.0-4: sub-protocol %q, want %q", got, protocol)
		}
		nc := websocket.NetConn(ctx, ws, websocket.MessageBinary)
		c := &peer{t: t, v: mqttwire.V5, nc: nc, r: wire.NewReader(nc)}
		packets := (&mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("c")}).Append(nil)
		publish := &mqttwire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1, Payload: make([]byte, 100_000)}
		packets = publish.Append(packets, mqttwire.V5)
		for len(packets) > 0 { // MQTT5-6.0.0-2: frames are not packets
			n := min(len(packets), 33_333)
			c.send(packets[:n])
			packets = packets[n:]
		}
		c.read(mqttwire.CONNACK)
		c.want(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 1})
		if remote := b.s.Clients()[0].Remote.String(); !strings.HasPrefix(remote, "127.0.0.1:") {
			t.Errorf("the client's address is %s", remote)
		}
		c.send(&mqttwire.Disconnect{})
		if _, _, err := c.next(); err == nil {
			t.Error("no end after DISCONNECT")
		}
		_ = nc.Close()
	}
}

func TestWebSocketTextFrame(t *testing.T) {
	b := newBench(t, nil)
	web := httptest.NewServer(b.s.WebSocket())
	defer web.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, web.URL, &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	if err := ws.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.Read(ctx); err == nil || err == io.EOF || websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("MQTT5-6.0.0-1: a text frame was answered with %v", err)
	}
}

func TestWebSocketOrigin(t *testing.T) {
	b := newBench(t, nil)
	web := httptest.NewServer(b.s.WebSocket("*.example.org"))
	defer web.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for origin, ok := range map[string]bool{"https://app.example.org": true, "https://evil.example.com": false, "": true} {
		options := &websocket.DialOptions{Subprotocols: []string{"mqtt"}, HTTPHeader: map[string][]string{}}
		if origin != "" {
			options.HTTPHeader.Set("Origin", origin)
		}
		ws, _, err := websocket.Dial(ctx, web.URL, options)
		if (err == nil) != ok {
			t.Errorf("origin %q: %v", origin, err)
		}
		if err == nil {
			_ = ws.CloseNow()
		}
	}
}
