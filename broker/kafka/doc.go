// Package kafka speaks Apache Kafka's protocol, as of 4.3, in front of the kernel.
//
// A Server holds what connections share: configuration, fetch sessions and
// counters. A connection (conn.go) is one goroutine that reads a request, answers it
// and reads the next, as Kafka itself does it: answers leave in the order of the
// requests. The one exception is Produce, whose answer waits for the disk: a
// connection goes on reading further Produce requests meanwhile, and holds
// everything else back until their answers have left.
//
// Requests are decoded by the kmsg package, except Produce (produce.go), whose record
// batches are handed to the kernel straight from the read buffer; responses are
// encoded by it too, except Fetch (fetch_write.go), which passes on the
// kernel's batches without copying them.
//
// # Topics
//
// A Kafka topic is a stream of the kernel under the address that its name spells
// (message.FromKafkaName). A name whose address lies below a stream's, without being a
// stream itself, is a view (topic.go): one partition, the records of that address, the
// offsets of the stream's partition. Metadata never creates a stream in a view's place;
// the first Produce does.
//
// # What a peer can do wrong
//
// Bytes that cannot be parsed, an unknown request key or version, or a request that is
// out of place before authentication close that one connection, as they do in Kafka,
// and are counted by reason. Everything else is answered with Kafka's error code. No
// length is trusted before as many bytes have come (frame.go).
package kafka
