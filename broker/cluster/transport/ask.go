package transport

import (
	"cmp"
	"context"
	"net"
	"time"

	"github.com/robustmq/rmq/broker/fault"
)

// Who is no node yet, and has the token, may ask one thing of any node: it says that it is node 0
// and looks for node 0. After the handshake come two chunks of channel 0, one each way, and then
// the end of the connection:
//
//	0   1
//	┌───┬────────────
//	│knd│ bytes…
//	│u8 │
//	└───┴────────────
const (
	question = 3
	answer   = 4
	askMax   = chunkMax - 1     // bytes of either
	askWait  = 30 * time.Second // link time, from the proof to the answer
)

// Answer has what is asked of this node answered by f, in a goroutine of the connection; nil: it
// is refused. ctx ends when nobody waits for the answer any more.
func (t *TCP) Answer(f func(ctx context.Context, question []byte) (answer []byte)) {
	if f == nil {
		t.answers.Store(nil)
		return
	}
	t.answers.Store(&f)
}

// Ask is the function Ask for who is a node.
func (t *TCP) Ask(ctx context.Context, addr string, asked []byte) (answered []byte, err error) {
	return Ask(ctx, t.cfg, addr, asked)
}

// Ask asks a node whose address alone is known. Of cfg it takes Cluster, Token, TLS and Dial; what
// is not a fault.Error of the handshake is of the network.
func Ask(ctx context.Context, cfg TCPConfig, addr string, asked []byte) (answered []byte, err error) {
	if len(asked) > askMax {
		return nil, fault.New(fault.TooLarge, "ask", addr, "%d bytes, %d at most", len(asked), askMax)
	}
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := cfg.Clock.AfterFunc(handshakeWait, func() { cancel(errSlow) })
	defer patience.Stop()
	raw, err := cfg.Dial(ctx, addr)
	if err != nil {
		return nil, because(ctx, err)
	}
	defer raw.Close() //nolint:errcheck // nothing is to be done about it
	context.AfterFunc(ctx, func() { _ = raw.Close() })
	conn, exported, err := cfg.secure(ctx, raw, addr)
	if err != nil {
		return nil, because(ctx, err)
	}
	id := identity{0, cfg.Cluster, []byte(cfg.Token)}
	if err := id.dial(conn, 0, exported); err != nil {
		return nil, because(ctx, err)
	}
	patience.Stop()
	if _, err := conn.Write(appendChunk(nil, chunk{channel: control, body: append([]byte{question}, asked...)})); err != nil {
		return nil, because(ctx, err)
	}
	c, err := newChunkReader(conn, readBuffer).next()
	switch {
	case err != nil:
		return nil, because(ctx, err)
	case c.channel != control || len(c.body) == 0 || c.body[0] != answer:
		return nil, fault.New(fault.Invalid, "ask", addr, "it does not answer as a node does")
	}
	return c.body[1:], nil
}

// because is why something failed: what ended its context, if that came first.
func because(ctx context.Context, err error) error {
	return cmp.Or(context.Cause(ctx), err)
}

// answerOne answers what is asked over a connection whose other end has proven the token.
func (t *TCP) answerOne(in *incoming, conn net.Conn, r chunkReader) error {
	patience := t.cfg.Clock.AfterFunc(askWait, func() { in.cancel(errSlow) })
	defer patience.Stop()
	c, err := r.next()
	f := t.answers.Load()
	switch {
	case err != nil:
		return err
	case c.channel != control || len(c.body) == 0 || c.body[0] != question || f == nil:
		return fault.New(fault.Invalid, "accept", "", "it asks nothing that is answered")
	}
	body := append([]byte{answer}, (*f)(in.ctx, c.body[1:])...)
	if len(body) > chunkMax {
		return fault.New(fault.TooLarge, "answer", "", "%d bytes, %d at most", len(body), chunkMax)
	}
	_, err = conn.Write(appendChunk(nil, chunk{channel: control, body: body}))
	return err
}
