package local

import (
	"context"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/kernel"
)

// OpenBroker starts the broker of this program.
func OpenBroker(ctx context.Context, c Config) (Broker, error) {
	ports := broker.Ports{MQTT: c.MQTT, WebSocket: c.MQTTWS, Kafka: c.Kafka, AMQP: c.AMQP, HTTP: c.HTTP, One: broker.None}
	if c.Port != 0 {
		ports = broker.OnePort(c.Port)
	}
	b, err := broker.Open(ctx, broker.Config{DataDir: c.DataDir, Profile: c.Profile, Host: c.Host, Ports: ports, Durability: kernel.Durability(c.Durability), Log: c.Log})
	if err != nil {
		return nil, err
	}
	return b, nil
}
