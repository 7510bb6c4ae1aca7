package kernel

// Signatures that adapters are written against while the kernel is being filled in.
// Each moves to its subject's file; this file goes.

import (
	"context"

	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
)

type Session struct {
	route *sessionRoute
	sink  Sink
}

func (s *Session) deliver(d *Delivery)                     {}
func (s *Session) deliverLogged(d *Delivery)               {}
func (s *Session) incoming(uint16, *publishOp)             {}
func (k *Kernel) sessionEnded(s *shardRun, key string)     {}
func (k *Kernel) publishWill(session string, will []byte)  {}
func (k *Kernel) groupEffect(s *shardRun, e *shard.Effect) {}
func (k *Kernel) endSessions()                             {}
func (k *Kernel) restoreRoutes(s *shardRun)                {}

// ---- session.go

// OpenSession opens or resumes a session; present tells whether state was resumed. A
// connection that holds the session is told GoneTakenOver first. Nothing is delivered
// until Session.Start.
func (k *Kernel) OpenSession(ctx context.Context, spec SessionSpec) (s *Session, present bool, err error) {
	panic("unfinished")
}

// Start begins delivery, after CONNACK was written: first what was inflight, in
// order (DUP set; a Delivery with a nil Msg asks for PUBREL of its PacketID to be sent
// again), then the backlog.
func (s *Session) Start() { panic("unfinished") }

// Subscribe adds or replaces subscriptions; on return their routes hold. existed[i]
// tells whether that filter was subscribed before. errs[i] is nil when granted.
func (s *Session) Subscribe(ctx context.Context, subs []Subscription) (existed []bool, errs []error) {
	panic("unfinished")
}

// Retained delivers the retained messages that match one subscription; the adapter
// calls it after SUBACK, when retain handling asks for it. Never for shared ones.
func (s *Session) Retained(sub Subscription) { panic("unfinished") }

// Unsubscribe removes filters; existed[i] tells whether there was one.
func (s *Session) Unsubscribe(ctx context.Context, filters []string) (existed []bool, err error) {
	panic("unfinished")
}

// Ack ends an outgoing QoS 1 or 2 delivery: PUBACK, PUBCOMP, or a PUBREC that refuses
// (ok false: a negative reason code, the message is dead-lettered or dropped).
func (s *Session) Ack(packetID uint16, ok bool) { panic("unfinished") }

// Received notes PUBREC for an outgoing QoS 2 delivery; known false: answer PUBREL with 0x92.
func (s *Session) Received(packetID uint16) (known bool) { panic("unfinished") }

// Release ends an incoming QoS 2 publish at PUBREL; done is called once that is
// durable (then PUBCOMP may leave); known false: 0x92.
func (s *Session) Release(packetID uint16, done func(known bool)) { panic("unfinished") }

// Close ends the connection's hold on the session. will: publish the will message (after
// its delay). expiry, when not nil, replaces the session expiry interval.
func (s *Session) Close(will bool, expiry *uint32) { panic("unfinished") }

// ---- for admin and testkit: inspect.go

// RetainedMessages returns retained messages whose address matches an MQTT filter, at most limit.
func (k *Kernel) RetainedMessages(ns, filter string, limit int) []message.Message {
	panic("unfinished")
}
