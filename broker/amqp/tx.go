package amqp

import (
	"context"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/kernel"
)

// A channel in transaction mode keeps what it publishes and acknowledges until
// tx.commit, which hands it to the kernel in one go. tx.rollback forgets the publishes and
// takes the acknowledgements back: the deliveries are as unacknowledged as before.

// txBytesMax bounds what one transaction publishes.
const txBytesMax = 64 << 20

// transaction is owned by whoever serves the channel.
type transaction struct {
	publishes []*kernel.Publish
	bounces   []*bounce // of each publish; nil when it is not mandatory
	bytes     int
	settles   []txSettle
}

type txSettle struct {
	pending
	outcome kernel.Outcome
}

func (ch *channel) txSelect() {
	if ch.tx == nil {
		ch.tx = new(transaction)
		ch.inTx.Store(true)
	}
}

// keeps counts what the transaction keeps.
func (ch *channel) keeps(n int) {
	ch.uncommitted.Add(int64(n))
	ch.c.uncommitted.Add(int64(n))
}

// keepsNone says that it has ended.
func (ch *channel) keepsNone() { ch.c.uncommitted.Add(-ch.uncommitted.Swap(0)) }

// txPublish keeps a publish, whose memory is borrowed.
func (ch *channel) txPublish(p *kernel.Publish, mandatory bool) *failure {
	tx := ch.tx
	tx.bytes += len(p.Msg.Value) + len(p.Msg.Native) + publishOverhead
	if tx.bytes > txBytesMax {
		return preconditionFailed("transaction larger than %d bytes", txBytesMax)
	}
	own := *p
	own.Msg = p.Msg.Clone()
	own.CC = append([]string(nil), p.CC...)
	own.Reply, own.Tag = nil, 0
	var b *bounce
	if mandatory {
		b = newBounce(&own)
	}
	tx.publishes = append(tx.publishes, &own)
	tx.bounces = append(tx.bounces, b)
	ch.keeps(1)
	return nil
}

// txSettle keeps acknowledgements: at most as many as there are deliveries.
func (ch *channel) txSettle(ps []pending, o kernel.Outcome) {
	for _, p := range ps {
		ch.tx.settles = append(ch.tx.settles, txSettle{p, o})
	}
	ch.keeps(len(ps))
}

func (ch *channel) txCommit() *failure {
	tx := ch.tx
	if tx == nil {
		return preconditionFailed("channel is not transactional")
	}
	if c := ch.c; len(tx.publishes) > 0 && c.s.k.Refusal() != nil {
		c.low("disk")
		c.waitFor(func() bool { return c.s.k.Refusal() == nil })
	}
	ctx, cancel := context.WithTimeout(ch.c.ctx, opMax)
	defer cancel()
	ch.tx = new(transaction)
	ops := make([]kernel.SettleOp, len(tx.settles))
	ps := make([]pending, len(tx.settles))
	for i, s := range tx.settles {
		ops[i] = kernel.SettleOp{Attachment: s.src.att, No: s.no, Outcome: s.outcome}
		ps[i] = s.pending
	}
	results, err := ch.c.s.k.Commit(ctx, tx.publishes, ops)
	ch.keepsNone()
	if err != nil {
		return kernelFailure(err, "transaction")
	}
	ch.mu.Lock()
	ch.settledLocked(ps)
	ch.mu.Unlock()
	partial := false
	for i, r := range results {
		partial = partial || r.Err != nil || r.Rejected
		if b := tx.bounces[i]; b != nil && r.Err == nil && !r.Rejected && (r.NoExchange || r.Queues+r.Subscribers == 0) {
			ch.sendReturn(b)
		}
	}
	if partial {
		return preconditionFailed("partial tx completion")
	}
	ch.send(&amqpwire.TxCommitOk{})
	return nil
}

func (ch *channel) txRollback() *failure {
	tx := ch.tx
	if tx == nil {
		return preconditionFailed("channel is not transactional")
	}
	ch.tx = new(transaction)
	ch.keepsNone()
	ps := make([]pending, len(tx.settles))
	for i, s := range tx.settles {
		ps[i] = s.pending
	}
	ch.mu.Lock()
	if !ch.released {
		ch.unacked.put(ps)
	}
	ch.mu.Unlock()
	ch.send(&amqpwire.TxRollbackOk{})
	return nil
}
