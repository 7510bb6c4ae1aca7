// Package bridge carries messages to other MQTT brokers and back.
//
// A bridge is defined by a setting (setting.Bridge), which is the same on every node. Its local end is a
// session of the kernel, as an MQTT client has one: what is to go out is the session's backlog, so it is
// replicated, bounded and durable as any other, and waits there while the remote broker is away. Its
// other end is a client of the remote broker, with a session there.
//
// The two sessions share packet identifiers and what is known of each delivery, so that nothing is kept
// here: a delivery of QoS 1 or 2 is acknowledged to the session when the remote broker has acknowledged
// it, and what comes in is acknowledged to the remote broker when the kernel has it.
//
// One node runs a bridge: the one that leads the shard of its session. When two think so for a moment,
// the session, which has one connection, decides; so does the remote broker, where both have one client
// identifier.
//
//	bridges.go  Bridges: which bridges there are, and which this node runs
//	operator.go what an operator does with them
//	state.go    how they are, told to every node
//	runner.go   one bridge on this node: connecting again and again
//	conn.go     one connection
//	deliver.go  what goes out
//	publish.go  what comes in
//	dial.go     the way to the remote broker
//
// # Loops
//
// What came in over a bridge does not go out over it again: the session asks for no local messages, and
// so does the client of the remote broker, in MQTT 5. And in MQTT 5 messages are stamped, in user
// properties rmq-origin:
//
//	goes out    with the id of this cluster
//	comes in    with the id of the remote cluster, which brokers of this kind tell a bridge in CONNACK;
//	            from any other broker, with that of this cluster, a / and the bridge's name
//
// A message that left this cluster before does not go out again, nor does one to a cluster that it was in.
// One that left it, or came in over a bridge, does not come in again.
package bridge
