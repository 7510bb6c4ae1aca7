package kafka

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
)

// topic is what a topic name or id stands for: a stream, or a view of one address below a
// stream.
type topic struct {
	name   string
	id     kernel.StreamID // as Kafka is told: the stream's, or the view's own
	stream *kernel.StreamSpec
	leaf   string // address of the view; "" for a stream
	home   int32  // the stream's partition that a view reads
}

func (t *topic) view() bool { return t.leaf != "" }

// address is what the topic's records are read from and written to.
func (t *topic) address() string {
	if t.view() {
		return t.leaf
	}
	return t.stream.Address
}

// internal tells whether a name is one that Kafka keeps its own state under, and shows as
// internal.
func (t *topic) internal() bool {
	switch t.name {
	case "__consumer_offsets", "__transaction_state", "__share_group_state":
		return true
	}
	return false
}

// partitions is how many partitions the topic has: a view has one.
func (t *topic) partitions() int32 {
	if t.view() {
		return 1
	}
	return int32(t.stream.Partitions)
}

// partition returns the kernel's handle of a partition.
func (s *Server) partition(t *topic, index int32) (*kernel.Partition, error) {
	if index < 0 || index >= t.partitions() {
		return nil, fault.Of(fault.NotFound, "open partition", t.name)
	}
	if t.view() {
		index = t.home
	}
	return s.kernel.Partition(t.stream.ID, index)
}

// topicByName finds what a name stands for.
func (s *Server) topicByName(name string) (topic, bool) {
	if !message.ValidKafkaName(name) {
		return topic{}, false
	}
	if message.IsHashed(name) {
		// The name does not contain its address: the streams are the catalogue.
		for _, st := range s.kernel.Streams(s.cfg.Namespace) {
			if message.KafkaName(st.Address) == name {
				return topic{name: name, id: st.ID, stream: &st.StreamSpec}, true
			}
		}
	}
	return s.topicAt(name, message.FromKafkaName(name))
}

func (s *Server) topicAt(name, address string) (topic, bool) {
	f, ok := s.kernel.FindStream(s.cfg.Namespace, address)
	switch {
	case !ok:
		return topic{}, false
	case f.Leaf == "":
		return topic{name: name, id: f.ID, stream: f.StreamSpec}, true
	}
	return topic{name: name, id: f.View, stream: f.StreamSpec, leaf: address, home: f.Partition}, true
}

// topicByID finds what an id stands for. A view's id is known to every node once a client was
// told it; one that was forgotten since is answered with UNKNOWN_TOPIC_ID, upon which clients
// ask Metadata again. So is the id of a view that has become a stream.
func (s *Server) topicByID(id kernel.StreamID) (topic, bool) {
	if st, ok := s.kernel.FindStreamByID(id); ok {
		if st.Namespace != s.cfg.Namespace {
			return topic{}, false
		}
		return topic{name: message.KafkaName(st.Address), id: id, stream: st}, true
	}
	address, ok := s.kernel.FindView(s.cfg.Namespace, id)
	if !ok {
		return topic{}, false
	}
	t, ok := s.topicAt(message.KafkaName(address), address)
	return t, ok && t.id == id
}

// topics lists every stream as a topic, in the order of names. Streams under $-roots are
// not Kafka's to see, save its own internal ones.
func (s *Server) topics() []topic {
	streams := s.kernel.Streams(s.cfg.Namespace)
	out := make([]topic, 0, len(streams))
	for _, st := range streams {
		t := topic{name: message.KafkaName(st.Address), id: st.ID, stream: &st.StreamSpec}
		if message.DollarRoot(st.Address) && !strings.HasPrefix(t.name, "__") {
			continue
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b topic) int { return strings.Compare(a.name, b.name) })
	return out
}

// changeMax bounds how long a request that says nothing of time waits for a change of log 0: without a
// majority of the nodes it would wait for ever.
const changeMax = 10 * time.Second

// autoCreate makes the stream of a name that a client asked for, as
// auto.create.topics.enable has it. Somebody else may be first.
func (s *Server) autoCreate(ctx context.Context, name string) (topic, error) {
	ctx, cancel := context.WithTimeout(ctx, changeMax)
	defer cancel()
	address := message.FromKafkaName(name)
	_, err := s.kernel.CreateStream(ctx, kernel.StreamSpec{
		Namespace: s.cfg.Namespace, Address: address, Partitions: int(s.cfg.Partitions), Exact: s.cfg.ExactStreams,
	})
	if err != nil && !fault.Is(err, fault.Exists) {
		return topic{}, err
	}
	if t, ok := s.topicAt(name, address); ok {
		return t, nil
	}
	return topic{}, fault.Of(fault.Unavailable, "create topic", name)
}

// putViews has every node know what the ids of topics stand for, of those that are views: before
// a client is told them.
func (c *conn) putViews(topics ...topic) error {
	var views []kernel.View
	for i := range topics {
		if t := &topics[i]; t.view() {
			views = append(views, kernel.View{ID: t.id, Namespace: c.srv.cfg.Namespace, Address: t.leaf})
		}
	}
	if len(views) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, changeMax)
	defer cancel()
	return c.srv.kernel.PutViews(ctx, views)
}
