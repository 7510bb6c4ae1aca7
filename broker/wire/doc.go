// Package wire is what every protocol adapter needs of a network connection: an
// Outbox to write it without ever blocking, a Reader to read frames from it
// without holding a buffer while it is idle, a PrefixConn for bytes that
// were read to find out which protocol the peer speaks, and PeerOf to tell who
// that is.
//
// It knows no protocol. A codec is a pure function of bytes; an adapter reads
//
//	for {
//		frame, n, err := decode(r.Bytes())  // n 0, no error: more bytes are needed
//		if n == 0 && err == nil {
//			err = r.Fill(need)          // waits; need is checked by the codec's own limits
//		}
//		...
//		r.Discard(n)
//	}
//
// and answers through its Outbox from whichever goroutine has the answer.
//
// # Memory
//
// A connection on which nothing moves costs its goroutine and these structs:
// buffers are taken from pools when bytes arrive, and given back when the last
// of them is consumed. On plain TCP this is done by attempting the read inside
// the poller's callback; on anything else (TLS, WebSocket, net.Pipe) by waiting
// for a single byte.
package wire
