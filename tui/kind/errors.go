package kind

import (
	"context"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Error is one reason for which conversations were refused or broken.
type Error struct {
	Protocol, Reason string
	Count            int64
}

// Errors are the reasons that the broker has counted, with where the specification speaks of them.
func Errors() *Kind[Error] {
	type T = Error
	return &Kind[T]{
		One: "error", Many: "errors", SortBy: "COUNT",
		Empty: "no conversation was refused or broken since the broker started",
		Columns: []Column[T]{
			{Title: "PROTO", Width: 5, Keep: 8, Text: func(e *T, _ Look) string { return e.Protocol }, Show: func(e *T, _ Look) Cell { return Cell{e.Protocol, Protocol(e.Protocol)} }},
			{Title: "ERROR", Width: 22, Grow: 1, Keep: 9, Text: func(e *T, _ Look) string { return e.Reason }},
			{Title: "COUNT", Width: 6, Keep: 8, Number: func(e *T, _ Look) float64 { return float64(e.Count) }, Show: func(e *T, _ Look) Cell { return lag(e.Count) }},
			rateColumn("ERR/S", errorID), trendColumn(errorID),
			{Title: "SPECIFICATION", Width: 22, Grow: 2, Keep: 7, Text: func(e *T, _ Look) string { return orDash(section(e).where) }},
		},
		ID: errorID,
		List: func(ctx context.Context, src adminapi.Source, _ string, limit int) (out []T, err error) {
			o, err := src.Overview(ctx)
			for i := range o.Traffic {
				for reason, n := range o.Traffic[i].ErrorsBy {
					if n > 0 && len(out) < limit {
						out = append(out, T{o.Traffic[i].Protocol, reason, int64(n)})
					}
				}
			}
			return out, err
		},
		Get: func(ctx context.Context, src adminapi.Source, e T) (T, error) {
			o, err := src.Overview(ctx)
			e.Count = 0
			for i := range o.Traffic {
				if o.Traffic[i].Protocol == e.Protocol {
					e.Count = int64(o.Traffic[i].ErrorsBy[e.Reason])
				}
			}
			return e, err
		},
		Counter: func(e *T) int64 { return e.Count }, Span: 10 * time.Second,
		Title: func(e *T) string { return e.Reason },
		Detail: func(e *T, l Look) []Section {
			s := section(e)
			return []Section{
				{Fields: []Field{
					{"protocol", Cell{e.Protocol, Protocol(e.Protocol)}}, field("error", e.Reason), {"since the start", lag(e.Count)},
					field("now", perSecond(l.rate(errorID(e)))), field("specification", s.where),
				}},
				{Title: "what it is", Lines: []Line{{{Text: s.what}}}},
				{Title: "who it is", Lines: []Line{{{Text: "rmq trace client ID", Tone: Strong}, {Text: " or "}, {Text: "rmq trace ip ADDRESS", Tone: Strong}}, {{Text: "shows each packet, and why a connection ends."}}}},
			}
		},
		Command: func(*T) string { return "rmq status -o json" },
		Copied:  func(e *T) string { return words(e.Protocol, e.Reason, section(e).where) },
	}
}

func errorID(e *Error) string { return e.Protocol + " " + e.Reason }

// ofSpec is where a specification speaks of an error, and what the error is.
type ofSpec struct{ where, what string }

func section(e *Error) ofSpec {
	if s, ok := sections[e.Protocol][e.Reason]; ok {
		return s
	}
	return ofSpec{what: "The broker counts it under this name; no section of the specification is about it alone."}
}

// sections are those of MQTT 5.0, of AMQP 0-9-1, and of Kafka's protocol, which has no numbers.
var sections = map[string]map[string]ofSpec{
	"mqtt": {
		"unspecified error":                      {"MQTT 5.0 section 4.13.2", "Something else went wrong; the broker's log says what."},
		"malformed packet":                       {"MQTT 5.0 section 4.13.1", "Bytes that are no packet: a length, a flag or a string is wrong."},
		"protocol error":                         {"MQTT 5.0 section 4.13.1", "A packet that may not stand where it stood, or a property twice."},
		"implementation specific error":          {"MQTT 5.0 section 4.13.2", "A valid packet that the broker does not take."},
		"unsupported protocol version":           {"MQTT 5.0 section 3.1.2.2", "CONNECT names a version other than 3.1, 3.1.1 and 5."},
		"client identifier not valid":            {"MQTT 5.0 section 3.1.3.1", "The client id is not allowed, or empty without a clean start."},
		"bad user name or password":              {"MQTT 5.0 section 3.2.2.2", "The user is unknown, or the password is another."},
		"not authorized":                         {"MQTT 5.0 section 5.4.2", "A rule of access forbids it: rmq acl test says which."},
		"server unavailable":                     {"MQTT 5.0 section 3.2.2.2", "The broker could not serve it at the time."},
		"server busy":                            {"MQTT 5.0 section 3.2.2.2", "A bound on connections was reached."},
		"banned":                                 {"MQTT 5.0 section 3.2.2.2", "It is kept out: rmq ban list."},
		"server shutting down":                   {"MQTT 5.0 section 3.14.2.1", "The broker was stopped."},
		"bad authentication method":              {"MQTT 5.0 section 4.12", "The method of enhanced authentication is not offered."},
		"keep alive timeout":                     {"MQTT 5.0 section 3.1.2.10", "Nothing came for one and a half times the keep alive."},
		"session taken over":                     {"MQTT 5.0 section 3.1.4", "Another connection came with the same client id."},
		"topic filter invalid":                   {"MQTT 5.0 section 4.7.1", "A wildcard stands where it may not."},
		"topic name invalid":                     {"MQTT 5.0 section 4.7.3", "A topic to publish to is empty or has a wildcard."},
		"packet identifier in use":               {"MQTT 5.0 section 2.2.1", "A packet identifier was used again before it was free."},
		"packet identifier not found":            {"MQTT 5.0 section 4.3.3", "PUBREL or PUBCOMP names a packet identifier that is not in flight."},
		"receive maximum exceeded":               {"MQTT 5.0 section 3.3.4", "More publishes were unacknowledged than the broker allows."},
		"topic alias invalid":                    {"MQTT 5.0 section 3.3.2.3.4", "A topic alias of 0, above the maximum, or never set."},
		"packet too large":                       {"MQTT 5.0 section 3.2.2.3.6", "A packet exceeds the maximum size."},
		"message rate too high":                  {"MQTT 5.0 section 3.14.2.1", "More was published in a second than is allowed."},
		"quota exceeded":                         {"MQTT 5.0 section 3.14.2.1", "A limit of the broker was reached: rmq quota list."},
		"administrative action":                  {"MQTT 5.0 section 3.14.2.1", "An operator ended the session."},
		"payload format invalid":                 {"MQTT 5.0 section 3.3.2.3.2", "The payload was said to be UTF-8 and is not."},
		"retain not supported":                   {"MQTT 5.0 section 3.2.2.3.5", "A retained message where none are kept."},
		"QoS not supported":                      {"MQTT 5.0 section 3.2.2.3.4", "A QoS above the broker's maximum."},
		"use another server":                     {"MQTT 5.0 section 4.11", "The client is sent elsewhere for now."},
		"server moved":                           {"MQTT 5.0 section 4.11", "The client is sent elsewhere for good."},
		"shared subscriptions not supported":     {"MQTT 5.0 section 3.2.2.3.13", "A shared subscription where none are offered."},
		"connection rate exceeded":               {"MQTT 5.0 section 3.2.2.2", "More connections in a second than are allowed."},
		"maximum connect time":                   {"MQTT 5.0 section 3.14.2.1", "The connection was as long as its authorization lasts."},
		"subscription identifiers not supported": {"MQTT 5.0 section 3.2.2.3.12", "A subscription identifier where none are offered."},
		"wildcard subscriptions not supported":   {"MQTT 5.0 section 3.2.2.3.11", "A wildcard where none are offered."},
	},
	"kafka": {
		"bad length":          {"Kafka protocol, size-delimited requests", "A request announced an impossible length: often another protocol on this port."},
		"bad request":         {"Kafka protocol, request header and its schema", "The bytes of a request are not what its key and version say."},
		"unknown request":     {"Kafka protocol, ApiVersions", "An API key or version that is not offered."},
		"not allowed":         {"Kafka protocol, SaslHandshake and SaslAuthenticate", "A request before authentication, or out of place."},
		"bad credentials":     {"Kafka protocol, error 58 SASL_AUTHENTICATION_FAILED", "The user is unknown, or the password is another."},
		"failed without acks": {"Kafka protocol, Produce with acks=0", "A Produce that nobody waits for failed: closing is the only answer."},
		"too slow":            {"Kafka protocol, responses in order", "The client took nothing of what was written to it."},
		"banned":              {"Kafka protocol, error 58 SASL_AUTHENTICATION_FAILED", "It is kept out: rmq ban list."},
	},
	"amqp": {
		"channel errors":    {"AMQP 0-9-1 section 4.8.1", "A channel was closed: a name that is not there, a precondition, no permission."},
		"connection errors": {"AMQP 0-9-1 section 4.8.1", "A connection was closed: a frame or a method out of place."},
		"wrong password":    {"AMQP 0-9-1 section 2.2.4", "The user is unknown, or the password is another."},
		"handshake timeout": {"AMQP 0-9-1 section 2.2.4", "The connection was not opened in time."},
		"missed heartbeats": {"AMQP 0-9-1 section 4.2.7", "Nothing came for two heartbeats."},
		"too slow":          {"AMQP 0-9-1 section 4.2.7", "The client took nothing of what was written to it."},
	},
}
