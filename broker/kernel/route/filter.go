package route

import "github.com/robustmq/rmq/broker/message"

// MatchFilter tells whether one MQTT filter matches an address, for the rare question
// that needs no table.
func MatchFilter(filter, address string) bool { return message.MatchFilter(filter, address) }
