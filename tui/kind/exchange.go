package kind

import (
	"context"
	"fmt"
	"slices"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Exchange is an exchange with the bindings at it.
type Exchange struct {
	adminapi.Exchange
	Out []adminapi.Binding // from it
	In  []adminapi.Binding // from other exchanges to it
}

// defaultExchange is what the exchange without a name is called where it must be.
const defaultExchange = "amq.default"

// ExchangeName writes an exchange's name so that there is something to see.
func ExchangeName(name string) string {
	if name == "" {
		return defaultExchange
	}
	return name
}

// Exchanges take what AMQP clients publish, and bindings lead on from them.
func Exchanges() *Kind[Exchange] {
	type T = Exchange
	return &Kind[T]{
		One: "exchange", Many: "exchanges", SortBy: "EXCHANGE",
		Empty: "no exchanges",
		Columns: []Column[T]{
			{Title: "EXCHANGE", Width: 20, Grow: 3, Keep: 9, Text: func(x *T, _ Look) string { return ExchangeName(x.Name) }},
			{Title: "TYPE", Width: 8, Keep: 8, Text: func(x *T, _ Look) string { return x.Type }},
			{Title: "OUT", Width: 5, Keep: 7, Number: func(x *T, _ Look) float64 { return float64(len(x.Out)) }},
			{Title: "IN", Width: 5, Keep: 6, Number: func(x *T, _ Look) float64 { return float64(len(x.In)) }},
			{Title: "FEATURES", Width: 18, Grow: 1, Keep: 5, Text: func(x *T, _ Look) string { return exchangeFeatures(x) }},
			{Title: "ALTERNATE", Width: 12, Keep: 2, Text: func(x *T, _ Look) string { return x.Alternate }},
		},
		ID:    func(x *T) string { return x.Name },
		Title: func(x *T) string { return ExchangeName(x.Name) },
		List:  listExchanges,
		Get: func(ctx context.Context, src adminapi.Source, x T) (T, error) {
			got, err := src.Exchange(ctx, adminapi.Ref{Namespace: x.Namespace, Name: x.Name})
			if err != nil {
				return T{}, err
			}
			all, err := src.Bindings(ctx, adminapi.Query{Namespace: x.Namespace, Limit: adminapi.ListMax})
			out := T{Exchange: got}
			out.bind(all)
			return out, err
		},
		Tree:    bindingGraph,
		Detail:  exchangeDetail,
		Command: func(x *T) string { return "rmq exchange get " + quote(ExchangeName(x.Name)) },
	}
}

func listExchanges(ctx context.Context, src adminapi.Source, namespace string, limit int) ([]Exchange, error) {
	xs, err := src.Exchanges(ctx, adminapi.Query{Namespace: namespace, Limit: limit})
	if err != nil {
		return nil, err
	}
	all, err := src.Bindings(ctx, adminapi.Query{Namespace: namespace, Limit: adminapi.ListMax})
	if err != nil {
		return nil, err
	}
	out := make([]Exchange, len(xs))
	at := make(map[string]*Exchange, len(xs))
	for i := range xs {
		out[i].Exchange = xs[i]
		at[xs[i].Name] = &out[i]
	}
	for _, b := range all {
		if x := at[b.Source]; x != nil {
			x.Out = append(x.Out, b)
		}
		if x := at[b.Destination]; x != nil && b.ToExchange {
			x.In = append(x.In, b)
		}
	}
	return out, nil
}

// bindingGraph hangs below each exchange what its bindings lead to, and below an exchange that they lead
// to its own. One that is above itself is named and not gone into again.
func bindingGraph(items []Exchange, shown []int, _ Look) []*Twig {
	at := make(map[string]int, len(items))
	for i := range items {
		at[items[i].Name] = i
	}
	budget := graphMax
	var below func(id string, i int, above []string) []*Twig
	below = func(id string, i int, above []string) (out []*Twig) {
		x := &items[i]
		lead := func(b adminapi.Binding, what string, tone Tone) {
			if budget--; budget < 0 {
				return
			}
			name := "queue"
			if b.ToExchange {
				name = "exchange"
			}
			t := &Twig{ID: fmt.Sprintf("%s\x00%s\x00%s\x00%s\x00%s", id, what, b.Key, name, b.Destination), Item: -1}
			t.Label = Line{{what, tone}, {"─▶ ", Faint}, {name + " ", Faint}, {Clean(b.Destination), Strong}}
			if args := argumentLine(b.Arguments); args != "" {
				t.Label = append(t.Label, Cell{"  " + args, Faint})
			}
			out = append(out, t)
			next, known := at[b.Destination]
			switch {
			case !b.ToExchange || !known:
			case slices.Contains(above, b.Destination):
				t.Label = append(t.Label, Cell{"  ↺ above", Warn})
			default:
				t.Item = next
				t.Kids = below(t.ID, next, append(above, b.Destination))
			}
		}
		for _, b := range x.Out {
			what := ""
			if b.Key != "" {
				what = Clean(b.Key) + " "
			}
			lead(b, what, Name)
		}
		if x.Alternate != "" {
			lead(adminapi.Binding{Destination: x.Alternate, ToExchange: true}, "what goes nowhere ", Faint)
		}
		return out
	}
	var out []*Twig
	for _, i := range shown {
		x := &items[i]
		t := &Twig{ID: ExchangeName(x.Name), Item: i, Label: Line{{Clean(ExchangeName(x.Name)), Strong}, {"  " + x.Type, Faint}}}
		t.Kids = below(t.ID, i, []string{x.Name})
		switch {
		case x.Name == "":
			t.Label = append(t.Label, Cell{"  every queue, by its name", Faint})
		case len(t.Kids) == 0:
			t.Label = append(t.Label, Cell{"  leads nowhere", Faint})
		}
		out = append(out, t)
	}
	if budget < 0 {
		out = append(out, &Twig{ID: "\x00more", Item: -1, Label: Line{{fmt.Sprintf("%d more ways are not drawn", -budget), Warn}}})
	}
	return out
}

// graphMax is how many ways a graph of bindings has: with many exchanges bound in rows they are more than
// anybody looks at.
const graphMax = 20_000

func (x *Exchange) bind(all []adminapi.Binding) {
	for _, b := range all {
		if b.Source == x.Name {
			x.Out = append(x.Out, b)
		}
		if b.ToExchange && b.Destination == x.Name {
			x.In = append(x.In, b)
		}
	}
}

func exchangeFeatures(x *Exchange) string {
	return words(yes(x.Durable, "durable"), yes(x.AutoDelete, "auto-delete"), yes(x.Internal, "internal"))
}

func exchangeDetail(x *Exchange, _ Look) []Section {
	about := Section{Fields: []Field{
		field("type", x.Type), field("namespace", x.Namespace), field("features", exchangeFeatures(x)), field("alternate", x.Alternate),
	}}
	out := Section{Title: "leads to", Head: left("KEY", "", "DESTINATION", "KIND", "ARGUMENTS"), Empty: "nothing is bound to it: what is published here goes nowhere"}
	if x.Name == "" {
		out.Empty = "every queue, by its name as the key"
	} else if x.Alternate != "" {
		out.Empty = "nothing is bound to it: everything goes to its alternate, " + Clean(x.Alternate)
	}
	for _, b := range x.Out {
		kind := "queue"
		if b.ToExchange {
			kind = "exchange"
		}
		out.Rows = append(out.Rows, []Cell{{Text: orDash(Clean(b.Key))}, {"─▶", Faint}, {Clean(b.Destination), Strong}, {kind, Faint}, {Text: argumentLine(b.Arguments)}})
	}
	sections := []Section{about, out}
	if len(x.In) > 0 {
		in := Section{Title: "fed by", Head: left("EXCHANGE", "", "KEY", "ARGUMENTS")}
		for _, b := range x.In {
			in.Rows = append(in.Rows, []Cell{{Clean(ExchangeName(b.Source)), Strong}, {"─▶", Faint}, {Text: orDash(Clean(b.Key))}, {Text: argumentLine(b.Arguments)}})
		}
		sections = append(sections, in)
	}
	return append(sections, arguments(x.Arguments))
}
