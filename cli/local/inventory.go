package local

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	gm "github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/setting"
)

// thing is something that a broker holds, by its kind and name.
type thing struct{ what, name string }

// held is how a thing stands: what may be shown of it, and a sum of the rest.
type held struct{ text, rest string }

// inventory opens a snapshot in a broker that nobody connects to, whose time stands still, and lists what
// that holds.
func inventory(ctx context.Context, r io.Reader) (out map[thing]held, err error) {
	image, c, err := broker.ReadImage(r)
	if err != nil {
		return nil, err
	}
	none := broker.OnePort(broker.None)
	b, err := broker.Open(ctx, broker.Config{Engine: image.Open(), Profile: broker.Production, Ports: none, Time: clock.NewVirtual(c.Taken)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close(ctx)) }()
	k := b.Kernel()
	out = make(map[thing]held)
	spaces := k.Namespaces()
	for i := range spaces {
		inventoryIn(k, spaces[i].Name, func(what, name string, secret any, format string, args ...any) {
			if spaces[i].Name != kernel.DefaultNamespace {
				name = spaces[i].Name + ":" + name
			}
			out[thing{what, name}] = held{fmt.Sprintf(format, args...), sumOf(secret)}
		})
		out[thing{"namespace", spaces[i].Name}] = held{text: "durability " + string(spaces[i].Durability)}
	}
	for _, kind := range setting.Kinds() {
		for _, s := range k.Settings("", kind) {
			out[thing{"setting", string(kind) + " " + s.Name}] = held{"set", sumOf(s.Value)}
		}
	}
	for _, u := range k.Users() {
		out[thing{"user", u.Name}] = held{"tags " + strings.Join(u.Tags, ","), sumOf([]any{u.Hash, u.SCRAM})}
	}
	for _, rule := range k.Rules() {
		out[thing{"rule", rule.String()}] = held{text: "set"}
	}
	for _, ban := range k.Bans() {
		text, _ := json.Marshal(ban) // its own type always marshals
		out[thing{"ban", string(text)}] = held{text: "set"}
	}
	return out, nil
}

// sumOf stands for what is compared, and not shown.
func sumOf(v any) string {
	if v == nil {
		return ""
	}
	text, _ := json.Marshal(v)
	sum := sha256.Sum256(text)
	return string(sum[:])
}

// retainedMost bounds the retained messages of a namespace that are looked at.
const retainedMost = 10_000_000

// inventoryIn lists what a namespace holds.
func inventoryIn(k *kernel.Kernel, ns string, add func(what, name string, secret any, format string, args ...any)) {
	for _, st := range k.Streams(ns) {
		var parts []string
		bytes := int64(0)
		for _, p := range st.Parts {
			parts = append(parts, fmt.Sprintf("%d-%d", p.Start, p.End))
			bytes += p.Bytes
		}
		add("topic", st.Address, bytes, "offsets %s, durability %s%s", strings.Join(parts, " "), st.Durability, configText(st.Config))
	}
	for _, q := range k.Queues(ns) {
		q.QueueSpec.ID = 0
		add("queue", q.Name, []any{q.QueueSpec, q.Bytes}, "%d ready, %d unacked, durability %s", q.Ready, q.Unacked, q.Durability)
	}
	for _, x := range k.Exchanges(ns) {
		add("exchange", x.Name, x, "type %v", x.Type)
	}
	for _, b := range k.Bindings(ns) {
		text, _ := json.Marshal(b.Arguments)
		add("binding", fmt.Sprintf("%s to %s by %q %s", b.Source, b.Destination, b.Key, text), nil, "bound")
	}
	for _, s := range k.Sessions(ns) {
		var subs []string
		for _, sub := range s.Subscriptions {
			subs = append(subs, sub.Filter)
		}
		slices.Sort(subs)
		add("session", s.ClientID, []any{s.Expiry, s.EndsAt, s.HasWill, s.BacklogBytes, s.Subscriptions}, "%d inflight, %d in backlog, subscribed to %s", s.Inflight, s.Backlog, strings.Join(subs, " "))
	}
	for _, m := range k.RetainedMessages(ns, "#", retainedMost) {
		add("retained", m.Address, []any{m.Value, m.Headers, m.Native}, "%d bytes", len(m.Value))
	}
	k.Groups(ns, func(id string, g *gm.Group) {
		d := g.Describe()
		var offsets []string
		g.Offsets(func(topic string, partition int32, o gm.Offset) bool {
			offsets = append(offsets, fmt.Sprintf("%s/%d:%d", topic, partition, o.Offset))
			return true
		})
		slices.Sort(offsets)
		add("group", id, nil, "%d members, offsets %s", len(d.Members), strings.Join(offsets, " "))
	})
	for _, kind := range setting.Kinds() {
		for _, s := range k.Settings(ns, kind) {
			add("setting", string(kind)+" "+s.Name, s.Value, "set")
		}
	}
}

// configText is what of a topic is configured.
func configText(config map[string]string) string {
	var all []string
	for k, v := range config {
		all = append(all, k+"="+v)
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	return ", " + strings.Join(all, " ")
}
