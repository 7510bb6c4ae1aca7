// Package amqp is the AMQP 0-9-1 adapter: it turns what clients of RabbitMQ send
// into calls of the kernel, and what the kernel answers into what they expect.
//
//	server.go      Server: accepts connections, counts, closes
//	conn.go        one connection: reads frames, hands them to channels, ends
//	handshake.go   from the protocol header to connection.open
//	channel.go     one channel: puts frames together, decides who serves a method
//	publish.go     basic.publish, and how it is answered
//	confirm.go     publisher confirms in as few frames as possible
//	consume.go     consumers and basic.get, and the credit they are given
//	settle.go      acknowledgements
//	topology.go    exchanges, queues and bindings
//	arguments.go   what their arguments mean
//	tx.go          transactions
//	reply.go       direct reply-to
//	access.go      what the rules of access forbid
//	flush.go       when what was put in the outbox leaves, and what follows
//	mapping.go     messages to the kernel's form and back
//	failure.go     reply codes and their texts
//
// # Who runs what
//
// A connection has one goroutine, its reader. A method that has to wait for the
// kernel (declare, consume, get, commit ...) runs on a goroutine that its channel
// starts, and everything that arrives for this channel meanwhile waits behind
// it: other channels are not held up, and an idle connection has no second
// goroutine. Acknowledgements never wait, because what they release may be what
// the channel waits for.
//
// The kernel calls back from goroutines of its own (Published, Deliver, Gone):
// these only put bytes in the outbox and mark what has changed; flush.go does the
// rest.
//
// # Bounds
//
// Publishes that the kernel has not answered are bounded by publishWindow, in bytes;
// what waits behind a busy channel by waitingMax; what a client does not read by
// Config.OutboxMax, and before it gets there by the credit of its consumers.
package amqp
