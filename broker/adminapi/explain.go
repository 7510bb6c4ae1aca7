package adminapi

import (
	"context"
	"net/http"

	"github.com/robustmq/rmq/broker/acl"
)

// This file is the question who would get a message: POST /v1/explain, ExplainQuestion → Explanation.

// SchemaExplanation names an Explanation.
const SchemaExplanation = "rmq.explanation/1"

// ExplainQuestion asks who would get a message that is published so, now, at the node that answers.
type ExplainQuestion struct {
	Namespace string `json:"namespace,omitempty"`
	Protocol  string `json:"protocol"` // mqtt, kafka or amqp
	// Topic is that of MQTT or Kafka; Exchange, Key and CC are AMQP's.
	Topic    string   `json:"topic,omitempty"`
	Exchange string   `json:"exchange,omitempty"`
	Key      string   `json:"key,omitempty"`
	CC       []string `json:"cc,omitempty"` // further routing keys

	QoS    uint8 `json:"qos"`
	Retain bool  `json:"retain,omitempty"`
	// Size is how many bytes it carries.
	Size    int               `json:"size,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`

	// Who publishes: the rules of access and of rewriting are asked for them. "" is nobody known.
	User   string `json:"user,omitempty"`
	Client string `json:"client,omitempty"` // MQTT client id: of a session that wants nothing of its own, too
	Host   string `json:"host,omitempty"`   // IP address
}

// Explanation says who would get a message, and who would not, of whom one might think so.
type Explanation struct {
	Address string `json:"address"` // that it is published to, in MQTT's spelling
	// Rewritten is the topic that stands in place of the one that was named, by Rule.
	Rewritten string `json:"rewritten,omitempty"`
	Rule      string `json:"rule,omitempty"`
	// Access is whether it may be published.
	Access acl.Verdict `json:"access"`
	// Refused: nobody gets it, and why; Targets are those that would if that were otherwise.
	Refused string `json:"refused,omitempty"`

	Targets []ExplainTarget `json:"targets"`
	Misses  []ExplainTarget `json:"misses"`
	// MoreTargets and MoreMisses are not named, for there are too many.
	MoreTargets int `json:"more_targets,omitempty"`
	MoreMisses  int `json:"more_misses,omitempty"`
	// Unlooked: there are more subscriptions than were looked at for misses.
	Unlooked bool `json:"unlooked,omitempty"`
}

// ExplainTarget is one who gets a message, or does not.
type ExplainTarget struct {
	Kind string `json:"kind"` // stream, queue, share, session, retained or exchange
	Name string `json:"name"`
	// Via is how the message comes there, or does not, each way by itself: a filter, or the bindings
	// that lead there, one after the other.
	Via []string `json:"via,omitempty"`
	Why string   `json:"why,omitempty"` // what becomes of it there, or why it does not come there

	QoS       *uint8 `json:"qos,omitempty"`   // of the delivery to a session
	Where     string `json:"where,omitempty"` // of a session: here, elsewhere (on another node) or away
	Next      string `json:"next,omitempty"`  // the client that a share gives it
	Partition *int32 `json:"partition,omitempty"`
}

func (h *handler) explain(mux *http.ServeMux) {
	put(h, mux, "POST "+pathExplain, SchemaExplanation, func(ctx context.Context, _ *http.Request, q ExplainQuestion) (Explanation, error) {
		x, err := h.src.Explain(ctx, q)
		x.Targets, x.Misses = some(x.Targets), some(x.Misses)
		return x, err
	})
}

// Explain tells who would get a message.
func (c *Client) Explain(ctx context.Context, q ExplainQuestion) (x Explanation, err error) {
	return x, c.call(ctx, "POST", pathExplain, nil, q, &x)
}
