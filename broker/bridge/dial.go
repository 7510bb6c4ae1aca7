package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"

	"github.com/coder/websocket"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/setting"
)

// dial connects to the remote broker of a bridge.
func dial(ctx context.Context, b *setting.Bridge) (nc net.Conn, err error) {
	u, err := b.Address()
	if err != nil {
		return nil, err
	}
	secure, err := b.TLS()
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "mqtts":
		nc, err = (&tls.Dialer{Config: secure}).DialContext(ctx, "tcp", u.Host)
	case "ws", "wss":
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: secure, DisableKeepAlives: true}}
		var ws *websocket.Conn
		ws, _, err = websocket.Dial(ctx, u.String(), &websocket.DialOptions{
			HTTPClient: client, Subprotocols: []string{"mqtt"}, CompressionMode: websocket.CompressionDisabled, // MQTT5-6.0.0-3
		})
		if err == nil {
			ws.SetReadLimit(-1) // packets need not be aligned on frames
			return websocket.NetConn(context.Background(), ws, websocket.MessageBinary), nil
		}
	default:
		nc, err = new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		err = op.Err // the address is said already
	}
	if err != nil {
		return nil, fault.New(fault.Unavailable, "connect to", u.Host, "%w", err)
	}
	return nc, nil
}
