package amqp

import (
	"context"
	"encoding/base32"
	"strings"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
)

// Direct reply-to: a client consumes from the pseudo-queue directReplyTo, without
// acknowledging, and names it as reply-to in its requests. The broker puts a name in its
// place that leads back to this channel. To the kernel that is a queue like any
// other, which lives as long as its consumer and is not logged: so an answer reaches it
// from the default exchange, and from an MQTT or Kafka client that answers to its address.
const (
	directReplyTo  = "amq.rabbitmq.reply-to"
	directReplyDot = directReplyTo + "."
)

// openReply makes the queue of the channel's direct reply-to consumer.
func (ch *channel) openReply(ctx context.Context, m *amqpwire.BasicConsume) (queue string, fail *failure) {
	if !m.NoAck {
		return "", preconditionFailed("reply consumer cannot acknowledge")
	}
	if ch.reply != "" {
		return "", preconditionFailed("reply consumer already set")
	}
	queue = directReplyDot + strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(randomName())))
	spec := newQueueSpec(ch.c.vhost, queue)
	spec.Exclusive, spec.Owner = true, ch.c.owner
	if _, _, err := ch.c.s.k.DeclareQueue(ctx, spec); err != nil {
		return "", kernelFailure(err, ch.c.queueName(directReplyTo))
	}
	ch.reply = queue
	return queue, nil
}

// closeReply removes it, consumer and all.
func (ch *channel) closeReply(ctx context.Context) {
	if ch.reply == "" {
		return
	}
	if _, err := ch.c.s.k.DeleteQueue(ctx, ch.c.vhost, ch.reply, ch.c.owner, false, false); err != nil && !fault.Is(err, fault.NotFound) {
		ch.c.s.log.Warn("reply queue not deleted", "protocol", "amqp", "queue", ch.reply, "err", err)
	}
	ch.reply = ""
}

// declareReply answers a declaration of a reply queue, by which a server finds out whether
// its client is still there: whatever it says, it is passive.
func (ch *channel) declareReply(m *amqpwire.QueueDeclare) *failure {
	_, err := ch.c.s.k.Queue(ch.c.vhost, m.Queue, ch.c.owner)
	if err != nil && !fault.Is(err, fault.Locked) { // locked: another connection's, so it is there
		return kernelFailure(err, ch.c.queueName(m.Queue))
	}
	if !m.NoWait {
		ch.send(&amqpwire.QueueDeclareOk{Queue: m.Queue, ConsumerCount: 1})
	}
	return nil
}

// newQueueSpec is a queue without any limit.
func newQueueSpec(ns, name string) kernel.QueueSpec {
	return kernel.QueueSpec{Namespace: ns, Name: name, MessageTTL: -1, MaxLength: -1, MaxLengthBytes: -1, DeliveryLimit: -1}
}
