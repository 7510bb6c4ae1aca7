package kind

import (
	"context"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Subscription is one filter, with the session it belongs to.
type Subscription struct {
	adminapi.Subscription
	Session adminapi.Session
}

// Subscriptions are the filters of all sessions.
func Subscriptions() *Kind[Subscription] {
	type T = Subscription
	return &Kind[T]{
		One: "subscription", Many: "subscriptions", SortBy: "FILTER",
		Empty: "no subscriptions; this makes one: rmq consume 'mqtt:#'",
		Columns: []Column[T]{
			{Title: "FILTER", Width: 18, Grow: 3, Keep: 9, Text: func(s *T, _ Look) string { return s.Filter }},
			{Title: "CLIENT", Width: 14, Grow: 2, Keep: 8, Text: func(s *T, _ Look) string { return s.Session.ClientID }},
			{Title: "QOS", Width: 3, Keep: 7, Number: func(s *T, _ Look) float64 { return float64(s.QoS) }},
			{Title: "STATE", Width: 7, Keep: 6, Text: func(s *T, _ Look) string { return state(&s.Session).Text }, Show: func(s *T, _ Look) Cell { return state(&s.Session) }},
			{Title: "SHARED", Width: 10, Keep: 4, Text: func(s *T, _ Look) string { return shared(s.Filter) }},
			{Title: "OPTIONS", Width: 12, Grow: 1, Keep: 3, Text: func(s *T, _ Look) string { return options(&s.Subscription) }},
			{Title: "ID", Width: 5, Keep: 1, Number: func(s *T, _ Look) float64 { return float64(s.ID) }},
		},
		// A space ends a client id here; what follows is unique all the same.
		ID:    func(s *T) string { return s.Session.ClientID + " " + s.Filter },
		Title: func(s *T) string { return s.Filter },
		List: func(ctx context.Context, src adminapi.Source, namespace string, limit int) ([]T, error) {
			sessions, err := src.Sessions(ctx, adminapi.Query{Namespace: namespace, Limit: adminapi.ListMax})
			var out []T
			for i := range sessions {
				for _, u := range sessions[i].Subscriptions {
					if len(out) == limit {
						return out, err
					}
					out = append(out, T{u, sessions[i]})
				}
			}
			return out, err
		},
		Get: func(ctx context.Context, src adminapi.Source, s T) (T, error) {
			session, err := src.Session(ctx, adminapi.Ref{Namespace: s.Session.Namespace, Name: s.Session.ClientID})
			for _, u := range session.Subscriptions {
				if u.Filter == s.Filter {
					return T{u, session}, err
				}
			}
			if err == nil {
				err = &adminapi.Error{Code: "not_found", Category: adminapi.CategoryNotFound, Message: "the session no longer subscribes to it"}
			}
			return s, err
		},
		Tree: func(items []T, shown []int, _ Look) []*Twig {
			tree := newLevels()
			for _, i := range shown {
				s := &items[i]
				filter, group := s.Filter, shared(s.Filter)
				if group != "" {
					filter = strings.TrimPrefix(filter, "$share/"+group+"/")
				}
				at := tree.at(filter)
				label := Line{{"◆ ", state(&s.Session).Tone}, {Clean(s.Session.ClientID), Strong}, {"  QoS " + number(int64(s.QoS)), Faint}, {"  " + state(&s.Session).Text, Faint}}
				if group != "" {
					label = append(label, Cell{"  shared by " + Clean(group), Warn})
				}
				if o := options(&s.Subscription); o != "" {
					label = append(label, Cell{"  " + o, Faint})
				}
				// A zero byte is in no filter, so no level below has this name.
				at.Kids = append(at.Kids, &Twig{ID: filter + "/\x00" + s.Session.ClientID + " " + group, Label: label, Item: i})
			}
			return tree.done()
		},
		Detail: func(s *T, l Look) []Section {
			about := Section{Fields: []Field{
				field("filter", s.Filter), field("client", s.Session.ClientID), field("qos", number(int64(s.QoS))),
				field("shared", shared(s.Filter)), field("options", options(&s.Subscription)),
			}}
			of := sessionDetail(&s.Session, l)
			of[0].Title = "its session"
			return append([]Section{about}, of...)
		},
		Command: func(s *T) string { return "rmq session get " + quote(s.Session.ClientID) },
		Trace:   func(s *T) adminapi.TraceQuery { return adminapi.TraceQuery{Client: s.Session.ClientID} },
		Copied:  func(s *T) string { return s.Filter },
	}
}

// shared is the name of the group that shares a subscription, or "".
func shared(filter string) string {
	rest, ok := strings.CutPrefix(filter, "$share/")
	if !ok {
		return ""
	}
	group, _, _ := strings.Cut(rest, "/")
	return group
}
