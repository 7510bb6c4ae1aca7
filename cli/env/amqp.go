package env

import (
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
)

// DefaultExchange is what the default exchange, whose name is empty, is called where
// it must be typed or shown.
const DefaultExchange = "amq.default"

// DestinationKind tells what a binding leads to.
func DestinationKind(b adminapi.Binding) string {
	if b.ToExchange {
		return "exchange"
	}
	return "queue"
}

// argumentTypes are those that an AMQP argument may be given.
var argumentTypes = []string{"int", "str", "bool", "float"}

// Arguments reads AMQP arguments: "x-message-ttl=60000", "x-overflow=str:drop-head".
func Arguments(pairs []string) ([]adminapi.Argument, error) {
	var out []adminapi.Argument
	for _, p := range pairs {
		name, value, err := Pair(p)
		if err != nil {
			return nil, Failf(Usage, "--argument: %v", err)
		}
		out = append(out, adminapi.Argument{Name: name, Value: typed(value)})
	}
	return out, nil
}

// typed gives a value its type, unless it says it.
func typed(value string) string {
	for _, t := range argumentTypes {
		if strings.HasPrefix(value, t+":") {
			return value
		}
	}
	if _, err := strconv.ParseInt(value, 10, 64); err == nil {
		return "int:" + value
	}
	if value == "true" || value == "false" {
		return "bool:" + value
	}
	return "str:" + value
}
