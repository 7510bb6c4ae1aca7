// Package cross holds no code: its tests send messages with one protocol's client and
// receive them with another's, over the production broker in process. The clients are
// the ones that people use, unmodified: both of Paho's for MQTT, franz-go, amqp091-go.
//
//   - directions_test.go: three sources by three sinks
//   - names_test.go: one address, three spellings
//   - messages_test.go: what becomes of each property of a message
//   - same_test.go: the same protocol in and out is exact
//   - rpc_test.go: requests and answers between protocols, by stock reply-to code
//   - streams_test.go: what is captured where, leaf views, order
//   - behaviour_test.go: expiry, retained messages, QoS, mandatory, tombstones
package cross
