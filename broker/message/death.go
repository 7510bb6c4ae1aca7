package message

import (
	"encoding/json"
	"slices"
)

// This file is the history of a message that was given up by queues and published
// again to their dead-letter exchanges. It travels in headers, by RabbitMQ's names, so
// that every protocol shows it:
//
//	x-death               JSON: a list of objects, newest death first, one for each queue
//	                      and reason, with a count. AMQP clients see the array of tables
//	                      that RabbitMQ's know.
//	x-first-death-queue   and -reason, -exchange: of the first death
//	x-last-death-queue    and -reason, -exchange: of the newest

// Headers of dead-lettered messages.
const (
	XDeath              = "x-death"
	XFirstDeathQueue    = "x-first-death-queue"
	XFirstDeathReason   = "x-first-death-reason"
	XFirstDeathExchange = "x-first-death-exchange"
	XLastDeathQueue     = "x-last-death-queue"
	XLastDeathReason    = "x-last-death-reason"
	XLastDeathExchange  = "x-last-death-exchange"
)

// DeathsMax bounds the history: a queue and reason beyond it push the oldest out.
const DeathsMax = 64

// ReasonRejected is the reason of a message that a consumer refused, or a full queue.
const ReasonRejected = "rejected"

// Death is one queue that gave the message up, for one reason.
type Death struct {
	OriginalExpiration string   `json:"original-expiration,omitempty"` // ms; the message's own, when it had one
	Count              int64    `json:"count"`
	Reason             string   `json:"reason"` // rejected, expired, maxlen, delivery_limit
	Queue              string   `json:"queue"`
	Time               int64    `json:"time"`         // of the first such death, in seconds since 1970
	Exchange           string   `json:"exchange"`     // to which the message was published that died
	RoutingKeys        []string `json:"routing-keys"` // with which it was; CC included, BCC not
}

// Deaths returns the history in a message's headers, newest first; nil when there is
// none, or it is not one that we wrote or understand.
func Deaths(headers []Header) []Death {
	for i := range headers {
		if headers[i].Name != XDeath {
			continue
		}
		var list []Death
		if json.Unmarshal(headers[i].Value, &list) != nil {
			return nil
		}
		return list
	}
	return nil
}

// AddDeath records a death: m gets a header list of its own. d.Count is set by what was
// there. The message's expiry is over with, as it would die of it again at once.
func (m *Message) AddDeath(d Death) {
	list := Deaths(m.Headers)
	first := len(list) == 0
	exchange := d.Exchange
	d.Count = 1
	if i := slices.IndexFunc(list, func(e Death) bool { return e.Queue == d.Queue && e.Reason == d.Reason }); i >= 0 {
		count := max(list[i].Count, 0) + 1
		d = list[i]
		d.Count = count
		list = slices.Delete(list, i, i+1)
	}
	if list = slices.Insert(list, 0, d); len(list) > DeathsMax {
		list = list[:DeathsMax]
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic("message: deaths that are no JSON: " + err.Error())
	}
	out := make([]Header, 0, len(m.Headers)+7)
	for _, h := range m.Headers {
		switch h.Name {
		case XDeath, XLastDeathQueue, XLastDeathReason, XLastDeathExchange:
			continue
		case XFirstDeathQueue, XFirstDeathReason, XFirstDeathExchange:
			if first {
				continue
			}
		}
		out = append(out, h)
	}
	out = append(out, Header{XDeath, text})
	if first {
		out = append(out, Header{XFirstDeathQueue, []byte(d.Queue)}, Header{XFirstDeathReason, []byte(d.Reason)},
			Header{XFirstDeathExchange, []byte(d.Exchange)})
	}
	m.Headers = append(out, Header{XLastDeathQueue, []byte(d.Queue)}, Header{XLastDeathReason, []byte(d.Reason)},
		Header{XLastDeathExchange, []byte(exchange)})
	m.ExpiresAt = 0
}

// DeathCycle tells whether a message that is about to enter queue has died there before
// and was refused by no consumer since: it would go round for ever, and is dropped.
func DeathCycle(list []Death, queue string) bool {
	for _, d := range list {
		if d.Reason == ReasonRejected {
			return false
		}
		if d.Queue == queue {
			return true
		}
	}
	return false
}

// ---- Native of a message from AMQP ------------------------------------------
//
//	┌─────┬──────────┬─────┬─────────────┬─────────────────────────────────┐
//	│ len │ exchange │ len │ routing key │ property flags and properties   │
//	│ u8  │          │ u8  │             │ as in the content header        │
//	└─────┴──────────┴─────┴─────────────┴─────────────────────────────────┘
//
// The kernel, which publishes dead letters anew, may replace the names; the content
// header is the AMQP adapter's alone.

// AppendAMQPNative appends the Native of a message that was published to an exchange with
// a routing key, both of at most AMQPNameMax bytes.
func AppendAMQPNative(dst []byte, exchange, key string, content []byte) []byte {
	if len(exchange) > AMQPNameMax || len(key) > AMQPNameMax {
		panic("message: AMQP name beyond its bound")
	}
	dst = append(append(dst, byte(len(exchange))), exchange...)
	dst = append(append(dst, byte(len(key))), key...)
	return append(dst, content...)
}

// SplitAMQPNative is the reverse; ok is false when native is not of that form.
func SplitAMQPNative(native []byte) (exchange, key, content []byte, ok bool) {
	if exchange, native, ok = splitShort(native); !ok {
		return nil, nil, nil, false
	}
	if key, native, ok = splitShort(native); !ok || len(native) < 2 {
		return nil, nil, nil, false
	}
	return exchange, key, native, true
}

func splitShort(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || len(b)-1 < int(b[0]) {
		return nil, nil, false
	}
	n := 1 + int(b[0])
	return b[1:n:n], b[n:], true
}
