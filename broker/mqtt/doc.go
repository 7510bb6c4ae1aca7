// Package mqtt is the MQTT adapter: it turns the packets of MQTT 3.1, 3.1.1 and 5
// into kernel calls, and the kernel's deliveries into packets.
//
// A connection is one goroutine that reads (conn.run), one bounded outbox that
// anybody may write to, and nothing else: what must be remembered of a client lives
// in the kernel's session. The adapter itself keeps only what ends with the
// connection: topic aliases, the count of publishes not yet acknowledged, and the
// packet identifiers of shared deliveries.
//
//	server.go     Server, its connections, shutdown
//	conn.go       one connection: reading, dispatch, ending
//	connect.go    CONNECT
//	authenticate.go  AUTH
//	publish.go    PUBLISH and PUBREL from the client, and their answers
//	park.go       publishes of MQTT 3 that the log has no room for
//	subscribe.go  SUBSCRIBE, UNSUBSCRIBE
//	deliver.go    PUBLISH to the client, and its answers
//	access.go     what the rules of access forbid
//	window.go     packet identifiers and receive maximum of shared deliveries
//	mapping.go    PUBLISH to message.Message and back
//	reason.go     kernel failures as reason codes
//	websocket.go  MQTT over WebSocket
//	stats.go      counters
//
// # What is held back, and where
//
// Nothing here blocks but a connection's own reader, and that only while it waits
// for the commit of CONNECT, SUBSCRIBE or UNSUBSCRIBE. A publisher is held back by
// the receive maximum; its socket is always read, for it may carry acknowledgements
// too. While the log is full, MQTT 5 is answered 0x97, MQTT 3 waits for its PUBACK
// (park.go), and QoS 0 that a log should have kept is dropped and counted. To a client that does not read, QoS 0 is dropped beyond Config.DropAbove
// bytes and counted; QoS 1 and 2 are bounded by the session's window, and beyond
// Config.OutboxMax the connection ends, with the session keeping what was not
// acknowledged.
package mqtt
