package amqp

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/fault"
)

// failure is what ends a channel or a connection: a reply code and a text for the
// client.
type failure struct {
	code uint16
	text string
	hard bool // ends the connection whatever the code says
	// silent: the client is not told (it would not understand, or should not know).
	silent bool
	method amqpwire.MethodID // that caused it; 0 when none did
}

// at notes which method failed. nil stays nil.
func (f *failure) at(id amqpwire.MethodID) *failure {
	if f != nil && f.method == 0 {
		f.method = id
	}
	return f
}

func failf(code uint16, format string, args ...any) *failure {
	return &failure{code: code, text: fmt.Sprintf(format, args...)}
}

func preconditionFailed(format string, args ...any) *failure {
	return failf(amqpwire.PreconditionFailed, format, args...)
}

// endsConnection tells whether the code is one of those after which the specification
// closes the connection, not just the channel.
func (f *failure) endsConnection() bool {
	switch f.code {
	case amqpwire.ContentTooLarge, amqpwire.NoRoute, amqpwire.NoConsumers, amqpwire.AccessRefused, amqpwire.NotFound,
		amqpwire.ResourceLocked, amqpwire.PreconditionFailed:
		return f.hard
	}
	return true
}

// replyText is the text as clients see it, "NOT_FOUND - no queue 'q' in vhost '/'", in
// the 255 bytes that there are for it.
func (f *failure) replyText() string {
	s := amqpwire.CodeName(f.code) + " - " + f.text
	if len(s) <= amqpwire.ShortMax {
		return s
	}
	const more = "..."
	n := amqpwire.ShortMax - len(more)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + more
}

// wireFailure answers malformed bytes.
func wireFailure(err error) *failure {
	var e *amqpwire.Error
	if errors.As(err, &e) {
		return &failure{code: e.Code, text: e.Text, hard: true}
	}
	return failf(amqpwire.InternalError, "internal error")
}

// kernelFailure answers an error of the kernel about target ("queue 'q' in vhost '/'"). The
// cause stays here: it is the operator's.
func kernelFailure(err error, target string) *failure {
	switch fault.KindOf(err) {
	case fault.NotFound:
		return failf(amqpwire.NotFound, "no %s", target)
	case fault.Locked:
		return failf(amqpwire.ResourceLocked, "cannot obtain exclusive access to locked %s. It could be originally "+
			"declared on another connection or the exclusive property value does not match that of the original declaration.", target)
	case fault.Invalid:
		return preconditionFailed("invalid arguments for %s", target)
	case fault.Exists, fault.Conflict:
		return preconditionFailed("%s in use", target)
	case fault.Denied, fault.Unauthorized:
		return failf(amqpwire.AccessRefused, "access to %s refused", target)
	case fault.TooLarge:
		return preconditionFailed("%s: too large", target)
	case fault.Exhausted, fault.Full:
		return failf(amqpwire.ResourceError, "%s: the broker is out of resources", target)
	case fault.Unavailable:
		return failf(amqpwire.ConnectionForced, "%s: the broker is closing", target)
	case fault.Timeout:
		return failf(amqpwire.InternalError, "%s: the operation timed out", target)
	case fault.Unsupported:
		return failf(amqpwire.NotImplemented, "%s: not implemented", target)
	default:
		return failf(amqpwire.InternalError, "%s: internal error", target)
	}
}

// queueName and exchangeName are how error texts name things.
func (c *conn) queueName(name string) string {
	return "queue '" + name + "' in vhost '" + c.vhost + "'"
}
func (c *conn) exchangeName(name string) string {
	return "exchange '" + name + "' in vhost '" + c.vhost + "'"
}
