package kind

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/setting"
)

// again finds an item in what List returns, for kinds that the API has no single answer for.
func again[T any](k *Kind[T]) func(context.Context, adminapi.Source, T) (T, error) {
	return func(ctx context.Context, src adminapi.Source, item T) (T, error) {
		all, err := k.List(ctx, src, "", adminapi.ListMax)
		if i := slices.IndexFunc(all, func(x T) bool { return k.ID(&x) == k.ID(&item) }); i >= 0 {
			return all[i], err
		}
		if err == nil {
			err = &adminapi.Error{Code: "not_found", Category: adminapi.CategoryNotFound, Message: "there is no such " + k.One + " any more"}
		}
		return item, err
	}
}

// Bans are who is kept out.
func Bans() *Kind[acl.Ban] {
	type T = acl.Ban
	k := &Kind[T]{
		One: "ban", Many: "bans", SortBy: "WHO",
		Empty: "nobody is kept out",
		Columns: []Column[T]{
			{Title: "WHO", Width: 18, Grow: 2, Keep: 9, Text: func(b *T, _ Look) string { return banned(b) }},
			{Title: "UNTIL", Width: 9, Keep: 8, Number: func(b *T, l Look) float64 { return banLeft(b, l) }, Show: func(b *T, l Look) Cell { return banUntil(b, l) }},
			{Title: "SINCE", Width: 6, Keep: 6, Number: func(b *T, l Look) float64 { return age(b.Since, l) }, Show: func(b *T, l Look) Cell { return Cell{Text: l.Since(b.Since)} }},
			{Title: "BY", Width: 8, Keep: 5, Text: func(b *T, _ Look) string { return b.By }},
			{Title: "REASON", Width: 16, Grow: 3, Keep: 7, Text: func(b *T, _ Look) string { return b.Reason }},
		},
		ID: func(b *T) string { return b.Key() },
		List: func(ctx context.Context, src adminapi.Source, _ string, limit int) ([]T, error) {
			all, err := src.Bans(ctx)
			return all[:min(limit, len(all))], err
		},
		Title: banned,
		Detail: func(b *T, l Look) []Section {
			return []Section{{Fields: []Field{
				field("client", b.Client), field("user", b.User), field("host", b.Host), field("reason", b.Reason), field("by", b.By),
				field("since", l.Stamp(b.Since)), {"until", banUntil(b, l)},
			}}}
		},
		Command: func(*T) string { return "rmq ban list" },
		Copied:  banned,
	}
	k.Get = again(k)
	return k
}

func banned(b *acl.Ban) string {
	return words(prefixed("client ", b.Client), prefixed("user ", b.User), prefixed("host ", b.Host))
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func banLeft(b *acl.Ban, l Look) float64 {
	if b.Until.IsZero() {
		return 1e18 // after all that end
	}
	return b.Until.Sub(l.Now).Seconds()
}

func banUntil(b *acl.Ban, l Look) Cell {
	switch d := b.Until.Sub(l.Now); {
	case b.Until.IsZero():
		return Cell{"for good", Bad}
	case d <= 0:
		return Cell{"over", Faint}
	default:
		return Cell{countdown(d), Warn}
	}
}

// Bridges lead to other brokers.
func Bridges() *Kind[adminapi.Bridge] {
	type T = adminapi.Bridge
	return &Kind[T]{
		One: "bridge", Many: "bridges", SortBy: "BRIDGE",
		Empty: "no bridges; this makes one: rmq bridge add NAME mqtt://HOST --route out:FILTER",
		Columns: []Column[T]{
			{Title: "BRIDGE", Width: 14, Grow: 1, Keep: 9, Text: func(b *T, _ Look) string { return b.Name }},
			{Title: "STATE", Width: 9, Keep: 8, Text: func(b *T, _ Look) string { return b.State }, Show: func(b *T, _ Look) Cell { return bridgeState(b) }},
			{Title: "FOR", Width: 6, Keep: 5, Number: func(b *T, l Look) float64 { return age(b.Since, l) }, Show: func(b *T, l Look) Cell { return Cell{Text: l.Since(b.Since)} }},
			{Title: "QUEUED", Width: 6, Keep: 7, Number: func(b *T, _ Look) float64 { return float64(b.Queued) }, Show: func(b *T, _ Look) Cell { return lag(b.Queued) }},
			{Title: "INFLIGHT", Width: 8, Keep: 4, Number: func(b *T, _ Look) float64 { return float64(b.Inflight) }},
			rateColumn("MSG/S", bridgeID), trendColumn(bridgeID),
			{Title: "URL", Width: 18, Grow: 2, Keep: 6, Text: func(b *T, _ Look) string { return b.URL }},
			{Title: "ERROR", Width: 12, Grow: 2, Keep: 3, Text: func(b *T, _ Look) string { return b.Error }},
			{Title: "NODE", Width: 4, Keep: 2, Number: func(b *T, _ Look) float64 { return float64(b.Node) }},
		},
		ID: bridgeID,
		List: func(ctx context.Context, src adminapi.Source, _ string, limit int) ([]T, error) {
			all, err := src.Bridges(ctx)
			return all[:min(limit, len(all))], err
		},
		Get: func(ctx context.Context, src adminapi.Source, b T) (T, error) { return src.Bridge(ctx, b.Name) },
		Counter: func(b *T) int64 {
			if b.Traffic == nil {
				return 0
			}
			return int64(b.Traffic.In + b.Traffic.Out)
		},
		Span: 3 * time.Second,
		Detail: func(b *T, l Look) []Section {
			about := Section{Fields: []Field{
				{"state", bridgeState(b)}, field("url", b.URL), field("protocol", b.Protocol), field("client id", b.ClientID), field("user", b.User),
				field("node", number(int64(b.Node))), {"queued", lag(b.Queued)}, field("inflight", number(int64(b.Inflight))), field("moving", perSecond(l.rate(b.Name))),
			}}
			if t := b.Traffic; t != nil {
				about.Fields = append(about.Fields, field("in", number(int64(t.In))), field("out", number(int64(t.Out))), Field{"dropped", dropped(t.Dropped)})
			}
			if b.Error != "" {
				about.Fields = append(about.Fields, Field{"error", Cell{Clean(b.Error) + " (" + l.Since(b.ErrorAt) + " ago)", Bad}})
			}
			routes := Section{Title: "routes", Head: left("DIRECTION", "HERE", "THERE"), Empty: "none"}
			for i := range b.Routes {
				r := &b.Routes[i]
				routes.Rows = append(routes.Rows, plain(string(r.Direction), r.LocalFilter(), r.RemoteFilter()))
			}
			return []Section{about, routes}
		},
		Command: func(b *T) string { return "rmq bridge show " + quote(b.Name) },
	}
}

func bridgeID(b *adminapi.Bridge) string { return b.Name }

func bridgeState(b *adminapi.Bridge) Cell {
	switch b.State {
	case adminapi.BridgeConnected:
		return Cell{b.State, Good}
	case adminapi.BridgeAway:
		return Cell{b.State, Bad}
	}
	return Cell{b.State, Warn}
}

// Quotas are what may be done in a second.
func Quotas() *Kind[setting.Setting] {
	type T = setting.Setting
	k := &Kind[T]{
		One: "quota", Many: "quotas", SortBy: "FOR",
		Empty: "no quotas; this makes one: rmq quota set user:+ mqtt_message_rate=100",
		Columns: []Column[T]{
			{Title: "FOR", Width: 18, Grow: 1, Keep: 9, Text: func(s *T, _ Look) string { return s.Name }},
			{Title: "QUOTA", Width: 40, Grow: 3, Keep: 8, Text: func(s *T, _ Look) string { return quotaText(s) }},
		},
		ID: func(s *T) string { return s.Name },
		List: func(ctx context.Context, src adminapi.Source, namespace string, limit int) ([]T, error) {
			all, err := src.Settings(ctx, namespace, setting.KindQuota)
			return all[:min(limit, len(all))], err
		},
		Detail: func(s *T, _ Look) []Section {
			about := Section{Fields: []Field{field("for", s.Name)}}
			for _, part := range strings.Fields(quotaText(s)) {
				name, value, _ := strings.Cut(part, "=")
				about.Fields = append(about.Fields, field(name, value+" a second"))
			}
			return []Section{about}
		},
		Command: func(*T) string { return "rmq quota list" },
	}
	k.Get = again(k)
	return k
}

func quotaText(s *setting.Setting) string {
	var q setting.Quota
	if err := json.Unmarshal(s.Value, &q); err != nil {
		return string(s.Value)
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(q)) {
		out = append(out, key+"="+strconv.FormatFloat(q[key], 'f', -1, 64))
	}
	return strings.Join(out, " ")
}

// Settings are what may be changed while the broker runs, and where each value comes from.
func Settings() *Kind[adminapi.Option] {
	type T = adminapi.Option
	k := &Kind[T]{
		One: "setting", Many: "settings", SortBy: "NAME",
		Empty: "this broker has no settings",
		Columns: []Column[T]{
			{Title: "NAME", Width: 28, Grow: 2, Keep: 9, Text: func(o *T, _ Look) string { return o.Name }},
			{Title: "VALUE", Width: 10, Grow: 1, Keep: 8, Text: func(o *T, _ Look) string { return o.Value }, Show: func(o *T, _ Look) Cell { return optionValue(o) }},
			{Title: "ORIGIN", Width: 8, Keep: 7, Text: func(o *T, _ Look) string { return o.Origin }, Show: func(o *T, _ Look) Cell { return Cell{o.Origin, optionValue(o).Tone} }},
			{Title: "DEFAULT", Width: 10, Grow: 1, Keep: 5, Text: func(o *T, _ Look) string { return o.Default }},
			{Title: "HELP", Width: 16, Grow: 4, Keep: 4, Text: func(o *T, _ Look) string { return o.Help }},
		},
		ID: func(o *T) string { return o.Name },
		List: func(ctx context.Context, src adminapi.Source, _ string, limit int) ([]T, error) {
			all, err := src.Options(ctx)
			return all[:min(limit, len(all))], err
		},
		Detail: func(o *T, _ Look) []Section {
			origin := o.Origin + ": the broker's own"
			if o.Origin == adminapi.OriginSet {
				origin = o.Origin + ": kept by the broker, the same on every node"
			}
			return []Section{
				{Fields: []Field{field("name", o.Name), {"value", optionValue(o)}, field("origin", origin), field("default", o.Default)}},
				{Title: "what it is", Lines: []Line{{{Text: Clean(o.Help)}}}},
				{Title: "how to change it", Lines: []Line{{{Text: "rmq config set " + quote(o.Name+"=VALUE"), Tone: Strong}}, {{Text: "rmq config unset " + quote(o.Name), Tone: Strong}}}},
			}
		},
		Command: func(o *T) string { return "rmq config get " + quote(o.Name) },
		Copied:  func(o *T) string { return o.Name + "=" + o.Value },
	}
	k.Get = again(k)
	return k
}

func optionValue(o *adminapi.Option) Cell {
	if o.Origin == adminapi.OriginSet {
		return Cell{Clean(o.Value), Warn}
	}
	return Cell{Text: Clean(o.Value)}
}
