package route

import (
	"bytes"
	"strings"

	"github.com/robustmq/rmq/broker/message"
)

// HeaderMatch is one binding of a headers exchange.
type HeaderMatch struct {
	// Want are the headers asked for. A nil Value asks only that the header is there.
	Want  []message.Header
	Any   bool // x-match any or any-with-x: one suffices; otherwise all are needed
	WithX bool // all-with-x, any-with-x: names that begin with "x-" count too
}

// matchArgument is how the binding says which kind it is; it asks for nothing.
const matchArgument = "x-match"

// Match tells whether a message with these headers passes. A header that stands there more
// than once passes if one of its values does. Nothing asked for passes everything with
// all, and nothing with any, as in RabbitMQ.
func (h *HeaderMatch) Match(headers []message.Header) bool {
	for i := range h.Want {
		want := &h.Want[i]
		if want.Name == matchArgument || !h.WithX && strings.HasPrefix(want.Name, "x-") {
			continue
		}
		if has(headers, want) == h.Any {
			return h.Any
		}
	}
	return !h.Any
}

func has(headers []message.Header, want *message.Header) bool {
	for i := range headers {
		if h := &headers[i]; h.Name == want.Name && (want.Value == nil || bytes.Equal(h.Value, want.Value)) {
			return true
		}
	}
	return false
}
