package kernel

import (
	"context"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/codec"
	qm "github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
)

// This file holds messages back that ask for it (rmq-delay, x-delay). A delayed message
// rests in the shard of its address, however transient its destinations are, and is
// published when its time has come: what matches is decided then. A crash at that moment
// may publish it twice.

// delayMax is the longest delay, in ms: that of RabbitMQ's delayed message exchange.
const delayMax = 1<<32 - 1

// delay holds a message back, as part of what op waits for. Its expiry counts from when it
// is published, except for MQTT, whose interval counts from the client's publish.
func (k *Kernel) delay(p *Publish, op *publishOp, rc *receipt) {
	m := p.Msg
	ms := min(m.Delay, delayMax)
	m.Delay = 0
	if m.ExpiresAt != 0 && m.Source != message.MQTT {
		m.ExpiresAt += ms
	}
	s := k.slot(p.Namespace, m.Address)
	envelope := appendEnvelope(nil, p)
	once := rc.at(s)
	op.add()
	err := s.publish(func(g *pending) {
		batch, rec := addRecord(&g.b, shard.Bodies, &m, "", once)
		g.await(batch, g.b.Delay(batch, rec, m.Time+ms, envelope), op)
	})
	if err != nil {
		op.applied(nil, nil, err)
	}
}

// appendEnvelope encodes what a Publish says beside its message.
func appendEnvelope(d []byte, p *Publish) []byte {
	d = codec.String(d, p.Namespace)
	d = codec.Bool(d, p.ViaExchange)
	d = codec.String(d, p.Exchange)
	d = codec.String(d, p.Key)
	d = codec.Uint(d, uint64(len(p.CC)))
	for _, key := range p.CC {
		d = codec.String(d, key)
	}
	return d
}

func openEnvelope(b []byte) (p Publish, err error) {
	r := codec.NewReader(b)
	p.Namespace, p.ViaExchange, p.Exchange, p.Key = r.String(), r.Bool(), r.String(), r.String()
	for range r.Count() {
		p.CC = append(p.CC, r.String())
	}
	return p, r.Done()
}

// delayOver hands over a delayed message to be published.
func (s *shardRun) delayOver(e *shard.Effect) {
	p, err := openEnvelope(e.Envelope)
	if err == nil {
		err = s.message(qm.Ref{Log: e.Log, Offset: e.Offset}, func(m *message.Message) {
			p.Msg = m.Clone()
			p.again = true
			s.k.post(work{publish: &p, shard: s, seq: e.Seq})
		})
	}
	if err != nil {
		s.k.log.Error("delayed message not found", "shard", s.id, "err", fault.New(fault.Internal, "delay", s.name(), "%w", err))
	}
}

// dropStep is how many delayed messages are dropped by one entry.
const dropStep = 256

// DropDelayed drops the messages that wait for their time, and tells how many.
func (k *Kernel) DropDelayed(ctx context.Context) (dropped int, err error) {
	for _, s := range k.everyShard() {
		for after := uint64(0); ; {
			s.readMu.RLock()
			ids := s.m.DelayedAfter(after, dropStep)
			s.readMu.RUnlock()
			if len(ids) == 0 {
				break
			}
			if _, err := s.call(ctx, func(b *shard.Builder) (last int) {
				for _, id := range ids {
					last = b.Delayed(id)
				}
				return last
			}); err != nil {
				return dropped, err
			}
			dropped += len(ids)
			after = ids[len(ids)-1]
		}
	}
	return dropped, nil
}
