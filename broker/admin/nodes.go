package admin

import (
	"context"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Nodes lists the nodes of the cluster, by id, with the shards that each leads.
func (s *Source) Nodes(context.Context) ([]adminapi.Node, error) { return s.nodes(), nil }

func (s *Source) nodes() []adminapi.Node {
	leads := make(map[uint64][]uint32)
	for _, shard := range s.c.Shards() {
		leads[shard.Leader] = append(leads[shard.Leader], shard.ID)
	}
	var out []adminapi.Node
	for _, n := range s.c.Kernel.Nodes() {
		a := n.Addresses
		x := adminapi.Node{
			ID: n.ID, Up: !n.Down, Self: n.ID == s.c.Node, Incarnation: n.Incarnation, Rack: n.Rack, Leads: leads[n.ID],
			URLs: adminapi.URLs{MQTT: a["mqtt"], MQTTWS: a["ws"], Kafka: a["kafka"], AMQP: a["amqp"], HTTP: a["http"]},
		}
		if x.Self {
			x.Up, x.URLs = true, s.c.URLs() // whatever the others think
		}
		if x.Leads == nil {
			x.Leads = []uint32{}
		}
		out = append(out, x)
	}
	return out
}

// Shards tells how each log stands, as this node sees it, by id.
func (s *Source) Shards(context.Context) ([]adminapi.Shard, error) { return s.c.Shards(), nil }
