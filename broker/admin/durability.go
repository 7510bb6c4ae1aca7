package admin

import (
	"context"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
)

// This file tells what may be lost, and holds the namespaces that decide it.

// effective is the durability that something has here: a broker that keeps everything in
// memory keeps no promise beyond that.
func (s *Source) effective(d kernel.Durability) string {
	if s.c.DataDir == "" {
		return string(kernel.Memory)
	}
	return string(d)
}

// durability fills in what a status says of it.
func (s *Source) durability(st *adminapi.Status) {
	k := s.c.Kernel
	ns, _ := k.Namespace(kernel.DefaultNamespace)
	d, capture := s.effective(ns.Durability), kernel.Async
	if ns.Durability == kernel.Memory {
		capture = kernel.Memory
	}
	st.Durability = map[string]string{"streams": d, "queues": d, "sessions": d, "capture": s.effective(capture)}
	for _, h := range k.Holdings() {
		st.Holdings = append(st.Holdings, adminapi.Holding{
			Durability: string(h.Durability), Shards: h.Shards, Topics: h.Streams, Queues: h.Queues, Sessions: h.Sessions, Groups: h.Groups, Retained: h.Retained,
		})
	}
	for _, r := range k.Restarts() {
		a := adminapi.Restart{
			Durability: string(r.Durability), Shard: r.Shard, Held: r.Held, Topics: r.Streams, Queues: r.Queues, Text: r.String(),
		}
		if r.Durability == kernel.Async && !r.Held {
			a.Until, a.BehindSeconds = r.Until.UTC().Truncate(time.Millisecond), kernel.AsyncBehind.Seconds()
		}
		st.Restarts = append(st.Restarts, a)
	}
}

// Namespaces lists the namespaces with how much each holds.
func (s *Source) Namespaces(context.Context) ([]adminapi.Namespace, error) {
	var out []adminapi.Namespace
	for _, ns := range s.c.Kernel.Namespaces() {
		out = append(out, s.namespace(&ns))
	}
	return out, nil
}

func (s *Source) namespace(ns *kernel.Namespace) adminapi.Namespace {
	k := s.c.Kernel
	return adminapi.Namespace{
		Name: ns.Name, Durability: s.effective(ns.Durability),
		Topics: len(k.Streams(ns.Name)), Queues: len(k.Queues(ns.Name)), Sessions: len(k.Sessions(ns.Name)),
	}
}

func (s *Source) Namespace(_ context.Context, name string) (adminapi.Namespace, error) {
	ns, ok := s.c.Kernel.Namespace(name)
	if !ok {
		return adminapi.Namespace{}, fault.Of(fault.NotFound, "get namespace", name)
	}
	return s.namespace(&ns), nil
}

func (s *Source) CreateNamespace(ctx context.Context, spec adminapi.NamespaceSpec) (adminapi.Namespace, error) {
	ns, created, err := s.c.Kernel.CreateNamespace(ctx, spec.Name, kernel.Durability(spec.Durability))
	if err == nil && !created {
		err = fault.Of(fault.Exists, "create namespace", spec.Name)
	}
	if err != nil {
		return adminapi.Namespace{}, err
	}
	return s.namespace(&ns), nil
}

// AlterNamespace changes the durability of what is made in a namespace from now on.
func (s *Source) AlterNamespace(ctx context.Context, spec adminapi.NamespaceSpec) (adminapi.Namespace, error) {
	if spec.Durability == "" {
		return s.Namespace(ctx, spec.Name)
	}
	ns, err := s.c.Kernel.ConfigureNamespace(ctx, spec.Name, kernel.Durability(spec.Durability))
	if err != nil {
		return adminapi.Namespace{}, err
	}
	return s.namespace(&ns), nil
}
