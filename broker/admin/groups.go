package admin

import (
	"context"
	"encoding/binary"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/message"
)

func (s *Source) Groups(_ context.Context, q adminapi.Query) ([]adminapi.Group, error) {
	return page(q, s.groups(namespace(q.Namespace)), func(g *adminapi.Group) string { return g.ID }), nil
}

func (s *Source) Group(_ context.Context, r adminapi.Ref) (out adminapi.Group, err error) {
	ns := namespace(r.Namespace)
	if !s.c.Kernel.GroupRead(ns, r.Name, func(g *group.Group) { out = s.group(ns, r.Name, g) }) {
		return out, fault.Of(fault.NotFound, "get group", r.Name)
	}
	s.lag(ns, &out)
	return out, nil
}

func (s *Source) groups(ns string) []adminapi.Group {
	var out []adminapi.Group
	s.c.Kernel.Groups(ns, func(id string, g *group.Group) { out = append(out, s.group(ns, id, g)) })
	for i := range out {
		s.lag(ns, &out[i])
	}
	return out
}

// group describes a group, but for its lag.
func (s *Source) group(ns, id string, g *group.Group) adminapi.Group {
	d := g.Describe()
	out := adminapi.Group{
		Namespace: ns, ID: id, State: d.State.String(), Type: "classic", Protocol: d.Protocol, Generation: d.Generation, Coordinator: s.c.Node,
		Members: []adminapi.Member{}, Offsets: []adminapi.GroupOffset{},
	}
	for _, m := range d.Members {
		out.Members = append(out.Members, adminapi.Member{
			ID: m.ID, InstanceID: m.InstanceID, ClientID: m.ClientID, Host: m.ClientHost, Assigned: assigned(m.Assignment),
		})
	}
	g.Offsets(func(topic string, partition int32, o group.Offset) bool {
		out.Offsets = append(out.Offsets, adminapi.GroupOffset{Topic: topic, Partition: partition, Committed: o.Offset, Metadata: o.Metadata})
		return true
	})
	return out
}

// lag fills in where the partitions end, and who reads them.
func (s *Source) lag(ns string, g *adminapi.Group) {
	streams := make(map[string]kernel.StreamInfo)
	for i := range g.Offsets {
		o := &g.Offsets[i]
		st, ok := streams[o.Topic]
		if !ok {
			st, _ = s.c.Kernel.Stream(ns, message.FromKafkaName(o.Topic))
			streams[o.Topic] = st
		}
		if int(o.Partition) < len(st.Parts) {
			o.End = st.Parts[o.Partition].End
			o.Lag = max(o.End-max(o.Committed, st.Parts[o.Partition].Start), 0)
			g.Lag += o.Lag
		}
		for _, m := range g.Members {
			for _, a := range m.Assigned {
				for _, p := range a.Partitions {
					if a.Topic == o.Topic && p == o.Partition {
						o.Member = m.ID
					}
				}
			}
		}
	}
}

// assigned reads an assignment of Kafka's consumer protocol: version, topics with their
// partitions, user data. nil when it is something else, as it may be.
func assigned(b []byte) []adminapi.Assignment {
	take := func(n int) []byte {
		if n < 0 || n > len(b) {
			b = nil
			return nil
		}
		v := b[:n]
		b = b[n:]
		return v
	}
	number := func() int {
		if v := take(4); len(v) == 4 {
			return int(int32(binary.BigEndian.Uint32(v)))
		}
		return 0
	}
	take(2)
	var out []adminapi.Assignment
	for range min(number(), len(b)) {
		var a adminapi.Assignment
		if v := take(2); len(v) == 2 {
			a.Topic = string(take(int(binary.BigEndian.Uint16(v))))
		}
		for range min(number(), len(b)/4) {
			a.Partitions = append(a.Partitions, int32(number()))
		}
		if b == nil {
			return nil
		}
		out = append(out, a)
	}
	return out
}

// DeleteGroup ends a group that has no members.
func (s *Source) DeleteGroup(ctx context.Context, r adminapi.Ref) error {
	e, err := s.c.Kernel.GroupDelete(ctx, namespace(r.Namespace), r.Name)
	switch {
	case err != nil:
		return err
	case e == group.GroupIDNotFound:
		return fault.Of(fault.NotFound, "delete group", r.Name)
	case e == group.NonEmptyGroup:
		return fault.New(fault.Conflict, "delete group", r.Name, "it has members")
	case e != group.OK:
		return fault.New(fault.Conflict, "delete group", r.Name, "%v", e)
	}
	return nil
}
