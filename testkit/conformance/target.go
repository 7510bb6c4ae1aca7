package conformance

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/coder/websocket"
)

// target is where the server is, and how to get there.
type target struct {
	url  *url.URL
	more []*url.URL // where else the same server is
	ws   *url.URL   // where it speaks WebSocket; nil: not known
	tls  *tls.Config
	user string
	pass *string
}

var defaultPorts = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

// CheckURL tells what is wrong with the URL of a target.
func CheckURL(s string) error {
	_, err := parseURL(s)
	return err
}

func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("not a URL: %q", s)
	}
	port, ok := defaultPorts[u.Scheme]
	if !ok || u.Hostname() == "" {
		return nil, fmt.Errorf("%q is none of mqtt://host:port, mqtts://host:port, ws://host:port/path, wss://host:port/path", s)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return u, nil
}

func newTarget(cfg Config) (*target, error) {
	u, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	t := &target{url: u, tls: cfg.TLS}
	if u.User != nil {
		t.user = u.User.Username()
		if p, ok := u.User.Password(); ok {
			t.pass = &p
		}
	}
	for _, s := range cfg.More {
		more, err := parseURL(s)
		if err != nil {
			return nil, err
		}
		t.more = append(t.more, more)
	}
	switch {
	case cfg.WebSocket != "":
		if t.ws, err = parseURL(cfg.WebSocket); err != nil {
			return nil, err
		}
	case u.Scheme == "ws" || u.Scheme == "wss":
		t.ws = u
	}
	return t, nil
}

// dial connects, without a word of MQTT, for the turn-th time: to each address in turn.
func (t *target) dial(ctx context.Context, turn int, protocol string) (net.Conn, error) {
	u := t.url
	if i := turn % (1 + len(t.more)); i > 0 {
		u = t.more[i-1]
	}
	var d net.Dialer
	switch u.Scheme {
	case "mqtt":
		return d.DialContext(ctx, "tcp", u.Host)
	case "mqtts":
		return (&tls.Dialer{NetDialer: &d, Config: t.tls}).DialContext(ctx, "tcp", u.Host)
	}
	ws, _, err := t.dialWS(ctx, u, protocol)
	if err != nil {
		return nil, err
	}
	// The connection outlives the dialling.
	return websocket.NetConn(context.WithoutCancel(ctx), ws, websocket.MessageBinary), nil
}

// dialWS connects by WebSocket and tells which sub-protocol the server has chosen.
func (t *target) dialWS(ctx context.Context, u *url.URL, protocol string) (ws *websocket.Conn, chosen string, err error) {
	plain := *u
	plain.User = nil // MQTT's, not HTTP's
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: t.tls, DisableKeepAlives: true}}
	ws, resp, err := websocket.Dial(ctx, plain.String(), &websocket.DialOptions{
		HTTPClient: client, Subprotocols: []string{protocol}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, "", err
	}
	ws.SetReadLimit(-1)
	return ws, resp.Header.Get("Sec-WebSocket-Protocol"), nil
}
