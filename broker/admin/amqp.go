package admin

import (
	"context"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
)

// This file is AMQP's topology: queues, exchanges, bindings.

func (s *Source) Queues(_ context.Context, q adminapi.Query) ([]adminapi.Queue, error) {
	var out []adminapi.Queue
	for _, i := range s.c.Kernel.Queues(namespace(q.Namespace)) {
		out = append(out, s.queue(&i))
	}
	return page(q, out, func(x *adminapi.Queue) string { return x.Name }), nil
}

func (s *Source) queue(i *kernel.QueueInfo) adminapi.Queue {
	return adminapi.Queue{
		QueueSpec: adminapi.QueueSpec{
			Namespace: i.Namespace, Name: i.Name, Durable: i.Durable, AutoDelete: i.AutoDelete, Exclusive: i.Exclusive, Arguments: argumentsOf(i.Arguments),
			Durability: s.effective(i.Durability),
		},
		Ready: i.Ready, Unacked: i.Unacked, Consumers: i.Consumers, Bytes: i.Bytes, Shard: i.Shard,
	}
}

func argumentsOf(args []kernel.Argument) []adminapi.Argument {
	out := make([]adminapi.Argument, len(args))
	for i, a := range args {
		out[i] = adminapi.Argument{Name: a.Name, Value: a.Value}
	}
	return out
}

// anyQueue finds a queue whoever owns it.
func (s *Source) anyQueue(r adminapi.Ref) (kernel.QueueInfo, error) {
	for _, i := range s.c.Kernel.Queues(namespace(r.Namespace)) {
		if i.Name == r.Name {
			return i, nil
		}
	}
	return kernel.QueueInfo{}, fault.Of(fault.NotFound, "get queue", r.Name)
}

func (s *Source) Queue(_ context.Context, r adminapi.Ref) (adminapi.Queue, error) {
	i, err := s.anyQueue(r)
	if err != nil {
		return adminapi.Queue{}, err
	}
	return s.queue(&i), nil
}

func (s *Source) CreateQueue(ctx context.Context, spec adminapi.QueueSpec) (adminapi.Queue, error) {
	k := kernel.QueueSpec{
		Namespace: namespace(spec.Namespace), Name: spec.Name, Durable: spec.Durable, AutoDelete: spec.AutoDelete, Durability: kernel.Durability(spec.Durability),
		MessageTTL: -1, MaxLength: -1, MaxLengthBytes: -1, DeliveryLimit: -1,
	}
	for _, a := range spec.Arguments {
		if err := argument(&k, a); err != nil {
			return adminapi.Queue{}, err
		}
		k.Arguments = append(k.Arguments, kernel.Argument{Name: a.Name, Value: a.Value})
	}
	i, created, err := s.c.Kernel.DeclareQueue(ctx, k)
	if err != nil {
		return adminapi.Queue{}, err
	}
	if !created && (i.Durable != k.Durable || i.AutoDelete != k.AutoDelete || k.Durability != "" && i.Durability != k.Durability) {
		return adminapi.Queue{}, fault.New(fault.Conflict, "create queue", spec.Name, "it exists with other properties")
	}
	return s.queue(&i), nil
}

// argument sets what a queue argument stands for; its text carries its type: "int:60000".
func argument(k *kernel.QueueSpec, a adminapi.Argument) error {
	kind, text, ok := strings.Cut(a.Value, ":")
	if !ok {
		kind, text = "str", a.Value
	}
	number := func(dst *int64) error {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return fault.New(fault.Invalid, "create queue", k.Name, "argument %s: %q is not a number of at least 0", a.Name, text)
		}
		*dst = n
		return nil
	}
	switch a.Name {
	case "x-message-ttl":
		return number(&k.MessageTTL)
	case "x-expires":
		return number(&k.Expires)
	case "x-max-length":
		return number(&k.MaxLength)
	case "x-max-length-bytes":
		return number(&k.MaxLengthBytes)
	case "x-delivery-limit":
		return number(&k.DeliveryLimit)
	case "x-max-priority":
		var n int64
		if err := number(&n); err != nil {
			return err
		}
		k.MaxPriority = uint8(min(n, 255))
	case "x-dead-letter-exchange":
		k.DeadLetterExchange = &text
	case "x-dead-letter-routing-key":
		k.DeadLetterRoutingKey = &text
	case "x-single-active-consumer":
		k.SingleActive = text == "true"
	case "x-durability":
		if k.Durability != "" && k.Durability != kernel.Durability(text) {
			return fault.New(fault.Invalid, "create queue", k.Name, "durability is to be %s, and %s", k.Durability, text)
		}
		k.Durability = kernel.Durability(text)
	case "x-overflow":
		switch text {
		case "drop-head":
			k.Overflow = kernel.DropHead
		case "reject-publish":
			k.Overflow = kernel.RejectPublish
		case "reject-publish-dlx":
			k.Overflow = kernel.RejectPublishDLX
		default:
			return fault.New(fault.Invalid, "create queue", k.Name, "x-overflow %q is none of drop-head, reject-publish, reject-publish-dlx", text)
		}
	default:
		_ = kind // kept as declared
	}
	return nil
}

func (s *Source) DeleteQueue(ctx context.Context, r adminapi.Ref, o adminapi.DeleteQueueOptions) (int64, error) {
	i, err := s.anyQueue(r)
	if err != nil {
		return 0, err
	}
	return s.c.Kernel.DeleteQueue(ctx, i.Namespace, i.Name, i.Owner, o.IfUnused, o.IfEmpty)
}

func (s *Source) PurgeQueue(ctx context.Context, r adminapi.Ref) (int64, error) {
	i, err := s.anyQueue(r)
	if err != nil {
		return 0, err
	}
	return s.c.Kernel.PurgeQueue(ctx, i.Namespace, i.Name, i.Owner)
}

func (s *Source) Exchanges(_ context.Context, q adminapi.Query) ([]adminapi.Exchange, error) {
	var out []adminapi.Exchange
	for _, x := range s.c.Kernel.Exchanges(namespace(q.Namespace)) {
		out = append(out, exchangeOf(&x))
	}
	return page(q, out, func(x *adminapi.Exchange) string { return x.Name }), nil
}

func exchangeOf(x *kernel.Exchange) adminapi.Exchange {
	return adminapi.Exchange{
		Namespace: x.Namespace, Name: x.Name, Type: x.Type.String(), Durable: x.Durable, AutoDelete: x.AutoDelete, Internal: x.Internal,
		Alternate: x.Alternate, Arguments: argumentsOf(x.Arguments),
	}
}

func (s *Source) Exchange(_ context.Context, r adminapi.Ref) (adminapi.Exchange, error) {
	x, ok := s.c.Kernel.Exchange(namespace(r.Namespace), exchangeName(r.Name))
	if !ok {
		return adminapi.Exchange{}, fault.Of(fault.NotFound, "get exchange", r.Name)
	}
	return exchangeOf(&x), nil
}

// exchangeName reads the default exchange's name in a path.
func exchangeName(name string) string {
	if name == "amq.default" {
		return ""
	}
	return name
}

func (s *Source) CreateExchange(ctx context.Context, x adminapi.Exchange) (adminapi.Exchange, error) {
	k := kernel.Exchange{
		Namespace: namespace(x.Namespace), Name: x.Name, Durable: x.Durable, AutoDelete: x.AutoDelete, Internal: x.Internal, Alternate: x.Alternate,
	}
	switch x.Type {
	case "direct":
		k.Type = kernel.Direct
	case "fanout":
		k.Type = kernel.Fanout
	case "topic":
		k.Type = kernel.Topic
	case "headers":
		k.Type = kernel.Headers
	default:
		return adminapi.Exchange{}, fault.New(fault.Invalid, "create exchange", x.Name, "type %q is none of direct, fanout, topic, headers", x.Type)
	}
	if x.Name == "" || strings.HasPrefix(x.Name, "amq.") {
		return adminapi.Exchange{}, fault.New(fault.Denied, "create exchange", x.Name, "the name is reserved")
	}
	for _, a := range x.Arguments {
		k.Arguments = append(k.Arguments, kernel.Argument{Name: a.Name, Value: a.Value})
	}
	got, created, err := s.c.Kernel.DeclareExchange(ctx, k)
	if err != nil {
		return adminapi.Exchange{}, err
	}
	if !created && (got.Type != k.Type || got.Durable != k.Durable) {
		return adminapi.Exchange{}, fault.New(fault.Conflict, "create exchange", x.Name, "it exists with other properties")
	}
	return exchangeOf(&got), nil
}

func (s *Source) DeleteExchange(ctx context.Context, r adminapi.Ref, o adminapi.DeleteExchangeOptions) error {
	name := exchangeName(r.Name)
	if name == "" || strings.HasPrefix(name, "amq.") {
		return fault.New(fault.Denied, "delete exchange", r.Name, "it is always there")
	}
	return s.c.Kernel.DeleteExchange(ctx, namespace(r.Namespace), name, o.IfUnused)
}

func (s *Source) Bindings(_ context.Context, q adminapi.Query) ([]adminapi.Binding, error) {
	var out []adminapi.Binding
	for _, b := range s.c.Kernel.Bindings(namespace(q.Namespace)) {
		out = append(out, adminapi.Binding{
			Namespace: b.Namespace, Source: b.Source, Destination: b.Destination, ToExchange: b.ToExchange, Key: b.Key, Arguments: argumentsOf(b.Arguments),
		})
	}
	return page(q, out, func(b *adminapi.Binding) string { return b.Source }), nil
}

func (s *Source) Bind(ctx context.Context, b adminapi.Binding) error {
	x, err := binding(b)
	if err != nil {
		return err
	}
	return s.c.Kernel.Bind(ctx, x)
}

func (s *Source) Unbind(ctx context.Context, b adminapi.Binding) error {
	x, err := binding(b)
	if err != nil {
		return err
	}
	return s.c.Kernel.Unbind(ctx, x)
}

func binding(b adminapi.Binding) (kernel.Binding, error) {
	out := kernel.Binding{
		Namespace: namespace(b.Namespace), Source: exchangeName(b.Source), Destination: b.Destination, ToExchange: b.ToExchange, Key: b.Key,
	}
	for _, a := range b.Arguments {
		out.Arguments = append(out.Arguments, kernel.Argument{Name: a.Name, Value: a.Value})
		kind, value, _ := strings.Cut(a.Value, ":")
		switch {
		case a.Name != "x-match":
			h := message.Header{Name: a.Name}
			if kind != "void" { // with it any value will do
				h.Value = []byte(value)
			}
			out.Match = append(out.Match, h)
		case value == "all" || value == "all-with-x" || value == "any" || value == "any-with-x":
			out.MatchAny, out.MatchX = strings.HasPrefix(value, "any"), strings.HasSuffix(value, "-with-x")
		default:
			return out, fault.New(fault.Invalid, "bind", b.Source, "x-match %q is none of all, any, all-with-x, any-with-x", value)
		}
	}
	return out, nil
}
