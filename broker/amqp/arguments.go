package amqp

import (
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
)

// Arguments of declarations are kept as text, "int:60000" or "str:abc", so that equal
// ones are equal whatever the width of their numbers.

const (
	argQueueType   = "x-queue-type"
	argDurability  = "x-durability" // ours: sync, async or memory
	typeClassic    = "classic"
	typeQuorum     = "quorum"
	quorumDelivery = 20 // default delivery limit of a quorum queue
	quorumPriority = 31 // highest priority of a quorum queue
)

// canonical turns a table into arguments; of a name that repeats the first counts.
func canonical(t amqpwire.Table) []kernel.Argument {
	var out []kernel.Argument
	for _, f := range t {
		if !slices.ContainsFunc(out, func(a kernel.Argument) bool { return a.Name == f.Name }) {
			out = append(out, kernel.Argument{Name: f.Name, Value: canonicalValue(f.Value)})
		}
	}
	return out
}

func canonicalValue(v amqpwire.Value) string {
	kind := ""
	switch v.Kind {
	case amqpwire.KindString:
		return "str:" + v.Text()
	case amqpwire.KindBytes:
		return "bytes:" + v.Text()
	case amqpwire.KindVoid:
		return "void:"
	case amqpwire.KindBool:
		kind = "bool:"
	case amqpwire.KindFloat32, amqpwire.KindFloat64:
		kind = "float:"
	case amqpwire.KindDecimal:
		kind = "decimal:"
	case amqpwire.KindTimestamp:
		kind = "time:"
	case amqpwire.KindTable:
		kind = "table:"
	case amqpwire.KindArray:
		kind = "array:"
	default:
		return "int:" + strconv.FormatInt(v.Int(), 10)
	}
	return kind + string(appendText(nil, rawOf(v)))
}

// rawOf is the value as bytes.
func rawOf(v amqpwire.Value) amqpwire.RawValue {
	b := amqpwire.Table{{Value: v}}.Append(nil)
	f := amqpwire.Fields{Raw: b[4:]}
	f.Next()
	return f.Value
}

func argument(args []kernel.Argument, name string) (value string, ok bool) {
	for _, a := range args {
		if a.Name == name {
			return a.Value, true
		}
	}
	return "", false
}

// queueArguments are those that two declarations of a queue must agree on.
var queueArguments = []string{
	"x-expires", "x-message-ttl", "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-dead-letter-strategy",
	"x-max-length", "x-max-length-bytes", "x-max-priority", "x-overflow", "x-queue-mode", "x-queue-version",
	"x-single-active-consumer", argQueueType, "x-delivery-limit", argDurability,
}

// sameArguments checks what was received against what is there, for the arguments named.
func sameArguments(current, received []kernel.Argument, names []string, target string) *failure {
	for _, name := range names {
		old, had := argument(current, name)
		now, has := argument(received, name)
		if name == argQueueType { // not to say it is to say classic
			if !had {
				old, had = "str:"+typeClassic, has
			}
			if !has {
				now, has = "str:"+typeClassic, had
			}
		}
		switch {
		case had && has && old == now, !had && !has:
		case had && has:
			return inequivalent(name, target, quoted(now), quoted(old))
		default:
			return inequivalent(name, target, described(now, has), described(old, had))
		}
	}
	return nil
}

func inequivalent(name, target, received, current string) *failure {
	return preconditionFailed("inequivalent arg '%s' for %s: received %s but current is %s", name, target, received, current)
}

func quoted(value string) string {
	_, text, _ := strings.Cut(value, ":")
	return "'" + text + "'"
}

func described(value string, there bool) string {
	if !there {
		return "none"
	}
	kind, text, _ := strings.Cut(value, ":")
	switch kind {
	case "str":
		kind = "longstr"
	case "int":
		kind = "signedint"
		if _, err := strconv.ParseInt(text, 10, 32); err != nil {
			kind = "long"
		}
	case "time":
		kind = "timestamp"
	case "float":
		kind = "double"
	case "bytes":
		kind = "binary"
	}
	return "the value '" + text + "' of type '" + kind + "'"
}

// argReader reads the arguments of a declaration and keeps the first fault.
type argReader struct {
	t      amqpwire.Table
	target string
	fail   *failure
}

func (r *argReader) refuse(name, format string, args ...any) {
	if r.fail == nil {
		f := failf(amqpwire.PreconditionFailed, format, args...)
		f.text = "invalid arg '" + name + "' for " + r.target + ": " + f.text
		r.fail = f
	}
}

func (r *argReader) int(name string, least, most int64) (n int64, ok bool) {
	v, ok := r.t.Get(name)
	if !ok {
		return 0, false
	}
	if !v.IsInteger() {
		r.refuse(name, "\"expected integer, got %s\"", kindName(v.Kind))
		return 0, false
	}
	switch n = v.Int(); {
	case n < 0 && least >= 0:
		r.refuse(name, "{value_negative,%d}", n)
	case n < least:
		r.refuse(name, "{value_zero,%d}", n)
	case n > most:
		r.refuse(name, "{value_too_large,%d}", n)
	}
	return n, true
}

func (r *argReader) string(name string) (s string, ok bool) {
	v, ok := r.t.Get(name)
	if !ok {
		return "", false
	}
	if v.Kind != amqpwire.KindString {
		r.refuse(name, "{unacceptable_type,%s}", kindName(v.Kind))
		return "", false
	}
	return v.Text(), true
}

func (r *argReader) bool(name string) bool {
	v, ok := r.t.Get(name)
	if ok && v.Kind != amqpwire.KindBool {
		r.refuse(name, "{unacceptable_type,%s}", kindName(v.Kind))
	}
	return ok && v.True()
}

const anyInt = int64(1<<63 - 1)

// apply sets what the arguments of a queue ask for.
func (r *argReader) apply(q *kernel.QueueSpec) *failure {
	q.Arguments = canonical(r.t)
	kind, typed := r.string(argQueueType)
	switch {
	case !typed, kind == "", kind == typeClassic:
	case kind == typeQuorum:
		if !q.Durable || q.Exclusive {
			return preconditionFailed("invalid property 'non-durable' or 'exclusive' for %s", r.target)
		}
		q.DeliveryLimit, q.MaxPriority = quorumDelivery, quorumPriority
	case kind == "stream":
		r.refuse(argQueueType, "streams are declared over Kafka, or by the address they hold")
	default:
		r.refuse(argQueueType, "\"unsupported queue type '%s'\"", kind)
	}
	if s, ok := r.string(argDurability); ok {
		switch q.Durability = kernel.Durability(s); {
		case !q.Durability.Valid():
			r.refuse(argDurability, "\"%.64s is none of sync, async, memory\"", s)
		case q.Durability != kernel.Memory && (!q.Durable || q.Exclusive):
			r.refuse(argDurability, "\"a queue that is not durable, or exclusive, is in memory\"")
		}
	}
	if n, ok := r.int("x-message-ttl", 0, expiryMax); ok {
		q.MessageTTL = n
	}
	if n, ok := r.int("x-expires", 1, expiryMax); ok {
		q.Expires = n
	}
	if n, ok := r.int("x-max-length", 0, anyInt); ok {
		q.MaxLength = n
	}
	if n, ok := r.int("x-max-length-bytes", 0, anyInt); ok {
		q.MaxLengthBytes = n
	}
	if n, ok := r.int("x-max-priority", 0, 255); ok {
		q.MaxPriority = uint8(min(max(n, 0), 255))
	}
	if n, ok := r.int("x-delivery-limit", -1<<62, anyInt); ok {
		q.DeliveryLimit = max(n, -1)
	}
	q.SingleActive = r.bool("x-single-active-consumer")
	if s, ok := r.string("x-overflow"); ok {
		switch s {
		case "drop-head":
		case "reject-publish":
			q.Overflow = kernel.RejectPublish
		case "reject-publish-dlx":
			q.Overflow = kernel.RejectPublishDLX
		default:
			r.refuse("x-overflow", "invalid_overflow")
		}
	}
	if s, ok := r.string("x-dead-letter-exchange"); ok {
		r.short("x-dead-letter-exchange", s)
		q.DeadLetterExchange = &s
	}
	if s, ok := r.string("x-dead-letter-routing-key"); ok {
		r.short("x-dead-letter-routing-key", s)
		if q.DeadLetterExchange == nil {
			r.refuse("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")
		}
		q.DeadLetterRoutingKey = &s
	}
	return r.fail
}

// short refuses a name that AMQP could not say.
func (r *argReader) short(name, value string) {
	if len(value) > amqpwire.ShortMax {
		r.refuse(name, "longer than %d bytes", amqpwire.ShortMax)
	}
}

// consumerPriority reads the priority that basic.consume asks for.
func consumerPriority(t amqpwire.Table, target string) (int32, *failure) {
	r := argReader{t: t, target: target}
	n, _ := r.int("x-priority", -anyInt-1, anyInt)
	return int32(min(max(n, -1<<31), 1<<31-1)), r.fail
}

// queueType names the type of a queue by its arguments.
func queueType(args []kernel.Argument) string {
	if v, ok := argument(args, argQueueType); ok && v != "str:" {
		return strings.TrimPrefix(v, "str:")
	}
	return typeClassic
}

func quorum(args []kernel.Argument) bool { return queueType(args) == typeQuorum }

func kindName(k amqpwire.Kind) string {
	switch k {
	case amqpwire.KindBool:
		return "bool"
	case amqpwire.KindInt8:
		return "byte"
	case amqpwire.KindUint8:
		return "unsignedbyte"
	case amqpwire.KindInt16:
		return "short"
	case amqpwire.KindUint16:
		return "unsignedshort"
	case amqpwire.KindInt32:
		return "signedint"
	case amqpwire.KindUint32:
		return "unsignedint"
	case amqpwire.KindInt64:
		return "long"
	case amqpwire.KindFloat32:
		return "float"
	case amqpwire.KindFloat64:
		return "double"
	case amqpwire.KindDecimal:
		return "decimal"
	case amqpwire.KindString:
		return "longstr"
	case amqpwire.KindBytes:
		return "binary"
	case amqpwire.KindTimestamp:
		return "timestamp"
	case amqpwire.KindVoid:
		return "void"
	case amqpwire.KindTable:
		return "table"
	case amqpwire.KindArray:
		return "array"
	}
	return "unknown"
}

// matchArguments turns the arguments of a binding into what a headers exchange looks for:
// values in the kernel's text, as messages have them.
func matchArguments(b *kernel.Binding, t amqpwire.Table) *failure {
	const how = "x-match"
	if v, ok := t.Get(how); ok {
		if v.Kind != amqpwire.KindString {
			return preconditionFailed("Invalid x-match field type %s (value %s); expected longstr", kindName(v.Kind), quoted(canonicalValue(v)))
		}
		switch v.Text() {
		case "all":
		case "any":
			b.MatchAny = true
		case "all-with-x":
			b.MatchX = true
		case "any-with-x":
			b.MatchAny, b.MatchX = true, true
		default:
			return preconditionFailed("Invalid x-match field value %q; expected all, any, all-with-x, or any-with-x", v.Text())
		}
	}
	for _, f := range t {
		if f.Name == how {
			continue
		}
		h := message.Header{Name: f.Name}
		switch f.Value.Kind {
		case amqpwire.KindVoid: // any value will do
		case amqpwire.KindString, amqpwire.KindBytes:
			h.Value = append([]byte{}, f.Value.Bytes...)
		default:
			h.Value = appendText([]byte{}, rawOf(f.Value))
		}
		b.Match = append(b.Match, h)
	}
	return nil
}
