package mqtt

import (
	"net"
	"net/http"

	"github.com/coder/websocket"

	"github.com/robustmq/rmq/broker/wire"
)

// WebSocket returns the handler that serves MQTT over WebSocket (MQTT 5 section 6). The
// sub-protocol is mqtt, or mqttv3.1 as clients of MQTT 3.1 say. origins are the hosts that
// web pages may come from besides the server's own, in the patterns of path.Match; a client
// that is no browser sends no origin.
func (s *Server) WebSocket(origins ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			Subprotocols:    []string{"mqtt", "mqttv3.1"}, // MQTT5-6.0.0-4
			OriginPatterns:  origins,
			CompressionMode: websocket.CompressionDisabled, // its window costs more memory than a session
		})
		if err != nil {
			return // Accept has answered
		}
		// Packets need not be aligned on frames (MQTT5-6.0.0-2), so a frame of any length is
		// fine: it is streamed, never held whole. NetConn ends the connection at a text frame
		// (MQTT5-6.0.0-1).
		ws.SetReadLimit(-1)
		nc := websocket.NetConn(s.ctx, ws, websocket.MessageBinary)
		s.ServeConn(wire.NewCarriedConn(r.Context(), nc, peerOf(r)))
	})
}

// peerOf returns who has sent a request, as the WebSocket that comes of it will say.
func peerOf(r *http.Request) *wire.Peer {
	p, ok := wire.PeerFrom(r.Context())
	if !ok {
		p.Remote = remoteAddr(r.RemoteAddr)
	}
	if p.Transport == wire.TransportTLS {
		p.Transport = wire.TransportWSS
	} else {
		p.Transport = wire.TransportWS
	}
	return &p
}

func remoteAddr(hostport string) net.Addr {
	if addr, err := net.ResolveTCPAddr("tcp", hostport); err == nil { // a literal: nothing is looked up
		return addr
	}
	return &net.UnixAddr{Name: hostport, Net: "unix"}
}
