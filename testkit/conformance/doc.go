// Package conformance asks any MQTT server, over its public port, whether it does what the
// specifications of MQTT 5.0 and 3.1.1 say, statement by statement.
//
//	report, err := conformance.Run(ctx, conformance.Config{URL: "mqtt://127.0.0.1:1883"})
//
// A Statement is one numbered statement of a specification's list, MQTT5-3.1.2-1, or a
// rule of its text that has no number, named after its section: MQTT5-2.2.2.2/unknown.
// It has either a test, or the reason why nobody can see from outside whether it is kept.
// Their texts are ours; the specification is where to read on.
//
// A test is a conversation: raw connections (conn.go) send packets, or bytes where a packet
// is to be wrong, and want certain answers. What the server sends is decoded strictly, so
// that a packet that may not be sent fails whatever test it turns up in.
//
// # Verdicts
//
// Pass and Fail are about what a server must. Varies says that a choice was made that the
// specification allows and advises against, as to close without saying why: it fails only a
// strict run. Skip says that the server lacks, by its own word, what the statement is about.
// Unseen is a statement without a test.
//
// # Absence
//
// That something does not come is not waited for: a packet is sent whose answer, or a message
// whose delivery, would have come later, and nothing may come before it.
//
// # Neighbours
//
// Tests run at once, and on servers that are used: each has client identifiers and topics of
// its own, takes back what it has retained and ends the sessions that it has left.
package conformance
