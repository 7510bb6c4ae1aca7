// Package amqpwire reads and writes AMQP 0-9-1 as RabbitMQ speaks it: frames,
// methods, content headers and field tables, in both directions.
//
// It is pure: bytes in, values out. A decoder checks every length against what
// is there before it takes anything for it, so hostile bytes cost an error and
// never a large allocation. What arrives once a message (basic.publish, the content
// header, the body, an acknowledgement) is decoded without allocating, as slices
// of the input; everything else becomes a struct of its own.
//
// methods.tbl holds the published facts about classes and methods, and gen.go
// makes methods.go of it.
//
//	frame.go       frames, and the frames of one content
//	method.go      from a frame's payload to a method and back
//	hot.go         the methods that carry messages, without allocation
//	properties.go  the content header
//	table.go       field tables as values
//	rawtable.go    field tables as bytes
package amqpwire

//go:generate go run gen.go
