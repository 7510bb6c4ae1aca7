package conformance

import (
	"context"

	"github.com/coder/websocket"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// MQTT over WebSocket (section 6 of both specifications).

// socket opens a WebSocket, and tells which sub-protocol the server has chosen.
func (t *T) socket() (ws *websocket.Conn, chosen string) {
	if t.run.target.ws == nil {
		t.skip("where the server speaks WebSocket is not known")
	}
	ctx, cancel := context.WithTimeout(t.ctx, t.run.cfg.Patience)
	defer cancel()
	ws, chosen, err := t.run.target.dialWS(ctx, t.run.target.ws, "mqtt")
	if err != nil {
		t.fail("a WebSocket", err.Error())
	}
	return ws, chosen
}

// over makes a connection of a WebSocket.
func (t *T) over(ws *websocket.Conn) *conn {
	t.dialled++
	c := &conn{t: t, v: t.v, name: "ws", patience: t.run.cfg.Patience, nc: websocket.NetConn(t.ctx, ws, websocket.MessageBinary)}
	t.conns = append(t.conns, c)
	return c
}

func wsProtocol(t *T) {
	ws, chosen := t.socket()
	defer func() { _ = ws.CloseNow() }()
	t.check(chosen == "mqtt", `sub-protocol "mqtt"`, chosen)
}

// wsText sends a frame of text.
func wsText(t *T) {
	ws, _ := t.socket()
	defer func() { _ = ws.CloseNow() }()
	ctx, cancel := context.WithTimeout(t.ctx, t.run.cfg.Patience)
	defer cancel()
	p := t.hello()
	raw := p.Append(nil)
	t.line(Line{Conn: "ws", Dir: ">", Hex: dump(raw), Text: "CONNECT in a text frame"})
	if err := ws.Write(ctx, websocket.MessageText, raw); err != nil {
		return // closed already
	}
	for {
		_, b, err := ws.Read(ctx)
		if ctx.Err() != nil {
			t.fail("the end of the connection", "the connection is open still")
		}
		if err != nil {
			return
		}
		t.line(Line{Conn: "ws", Dir: "<", Hex: dump(b), Text: describe(t.v, b)})
		t.fail("the end of the connection", describe(t.v, b))
	}
}

// wsFrames sends packets in parts, and many in one frame.
func wsFrames(t *T) {
	ws, _ := t.socket()
	c := t.over(ws)
	p := t.hello()
	raw := p.Append(nil)
	c.send(raw[:5])
	c.send(raw[5:])
	c.accepted()
	topic := t.topic("x")
	m := mqtt.Publish{Topic: []byte(topic), Payload: []byte("m"), QoS: 1, PacketID: 9}
	c.send(join(subscribeBytes(t.v, 1, nil, filter(topic, 1)), m.Append(nil, t.v), mqtt.AppendPingreq(nil)))
	c.answers(mqtt.SUBACK, 1, 1)
	c.acknowledged(mqtt.PUBACK, 9)
	c.await("the message", func(p packet) bool { return p.Type == mqtt.PUBLISH })
	c.await("PINGRESP", func(p packet) bool { return p.Type == mqtt.PINGRESP })
}
