// Package mqttwire encodes and decodes the packets of MQTT 3.1, 3.1.1 and 5, in
// both directions.
//
// It is pure: bytes in, values out. ReadFrame cuts one packet off a buffer; a
// Decode method reads its body into a struct whose slices point into that
// buffer, so that decoding allocates nothing but the lists of SUBSCRIBE and
// SUBACK, which are reused; an Append method writes a packet behind a buffer.
//
//	f, n, err := mqttwire.ReadFrame(buf, version, limit)  // n 0: more bytes are needed
//	...
//	var p mqttwire.Publish
//	err = p.Decode(version, f)
//
// # Properties
//
// The properties of MQTT 5 are kept as the validated bytes of their block (type
// Properties): a receiver walks it, a sender builds one by appending, and a
// forwarder passes it on as it is, which keeps the order and the repeats of
// user properties without remembering them.
//
// # What is checked
//
// A decoder accepts what a receiver in either role may accept, and fails with an
// *Error that carries the reason code of MQTT 5: Malformed for what cannot be
// parsed, ProtocolError for what parses and is not allowed, or the narrower code
// that the specification names. Checks that need the connection's state (packet
// identifiers in use, topic aliases, receive maximum) are the caller's.
//
// Tests carry the identifiers of the statements they prove, as MQTT5-2.1.3-1
// and MQTT311-2.2.2-1.
package mqttwire
