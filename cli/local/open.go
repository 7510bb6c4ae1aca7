package local

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/kernel"
)

// clusterName is what nodes of any cluster say to each other: its token tells them apart.
const clusterName = "rmq"

// OpenBroker starts the broker of this program.
func OpenBroker(ctx context.Context, c Config) (Broker, error) {
	ports := broker.Ports{MQTT: c.MQTT, WebSocket: c.MQTTWS, Kafka: c.Kafka, AMQP: c.AMQP, HTTP: c.HTTP, One: broker.None}
	if c.Port != 0 {
		ports = broker.OnePort(c.Port)
	}
	cfg := broker.Config{DataDir: c.DataDir, Profile: c.Profile, Host: c.Host, Ports: ports, Durability: kernel.Durability(c.Durability), Log: c.Log}
	var net *transport.TCP
	if cl := c.Cluster; cl != nil {
		cfg.Cluster = &broker.Cluster{Self: cl.Self, Voters: slices.Sorted(maps.Keys(cl.Peers))}
		if cl.Hub != nil {
			cfg.Cluster.Network = cl.Hub.Node(cl.Self)
		} else {
			var err error
			net, err = transport.Listen(transport.TCPConfig{
				Self: cl.Self, Cluster: clusterName, Token: cl.Token, Addr: cl.Peers[cl.Self], Peers: cl.Peers, TLS: c.TLS, Log: c.Log,
			})
			if err != nil {
				return nil, err
			}
			cfg.Cluster.Network = broker.OverTCP(net)
		}
	}
	b, err := broker.Open(ctx, cfg)
	switch {
	case err != nil && net != nil:
		return nil, errors.Join(err, net.Close(ctx))
	case err != nil:
		return nil, err
	case net != nil:
		return &joined{b, net}, nil
	}
	return b, nil
}

// joined is a broker with the connections to its peers.
type joined struct {
	*broker.Broker
	net *transport.TCP
}

func (j *joined) Close(ctx context.Context) error {
	return errors.Join(j.Broker.Close(ctx), j.net.Close(ctx))
}
