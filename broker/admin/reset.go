package admin

import (
	"context"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/message"
)

// resetMax is how often a reset looks for what clients have made meanwhile, before it gives up.
const resetMax = 10

// Reset takes away what clients have made. What that sets going, as the end of a session does a will, is waited for,
// and what comes of it goes too.
func (s *Source) Reset(ctx context.Context) (out adminapi.Reset, err error) {
	if s.c.DataDir != "" {
		e := adminapi.ErrorOf(fault.New(fault.Conflict, "reset", "", "this broker keeps its data in %s, and only one in memory is emptied", s.c.DataDir))
		e.Hint = "run tests with a broker of their own: rmq test -- CMD   or: rmq up --memory"
		return out, e
	}
	_, rules := s.c.Chaos.List()
	if err := s.c.Chaos.Run(chaos.Plan{}); err != nil {
		return out, err
	}
	for range resetMax {
		was := out
		for _, ns := range s.c.Kernel.Namespaces() {
			if err := s.empty(ctx, ns.Name, &out); err != nil {
				return out, err
			}
		}
		n, err := s.c.Kernel.DropDelayed(ctx)
		if err != nil {
			return out, err
		}
		out.Delayed += n
		if err := s.c.Kernel.Settle(ctx); err != nil {
			return out, err
		}
		if out == was {
			out.Faults = len(rules)
			return out, nil
		}
	}
	e := adminapi.ErrorOf(fault.New(fault.Conflict, "reset", "", "clients make anew what is taken away"))
	e.Hint = "end the clients of the last test first: rmq session list   and: rmq group list   tell of some"
	return out, e
}

// empty takes away what is in a namespace, in an order in which nothing that goes makes something that is gone.
func (s *Source) empty(ctx context.Context, ns string, out *adminapi.Reset) error {
	k := s.c.Kernel
	// count counts what has gone, but what somebody else has taken away.
	count := func(n *int, err error) error {
		switch {
		case err == nil:
			*n++
		case fault.KindOf(err) == fault.NotFound:
			err = nil
		}
		return err
	}
	for _, i := range k.Sessions(ns) {
		if err := count(&out.Sessions, k.EndSession(ctx, ns, i.ClientID)); err != nil {
			return err
		}
	}
	members := map[string][]group.LeaveMember{}
	k.Groups(ns, func(id string, g *group.Group) {
		members[id] = nil
		for _, m := range g.Describe().Members {
			members[id] = append(members[id], group.LeaveMember{MemberID: m.ID, InstanceID: m.InstanceID})
		}
	})
	for id, all := range members {
		if len(all) > 0 {
			if _, err := k.GroupLeave(ctx, ns, id, all); err != nil {
				return err
			}
		}
		e, err := k.GroupDelete(ctx, ns, id)
		if err != nil {
			return err
		}
		if e == group.OK {
			out.Groups++
		}
	}
	for more := true; more; {
		all := k.RetainedMessages(ns, "", adminapi.ListMax)
		if err := s.unretain(ctx, ns, all); err != nil {
			return err
		}
		out.Retained += len(all)
		more = len(all) == adminapi.ListMax
	}
	for _, q := range k.Queues(ns) {
		_, err := k.DeleteQueue(ctx, ns, q.Name, q.Owner, false, false)
		if err := count(&out.Queues, err); err != nil {
			return err
		}
	}
	for _, x := range k.Exchanges(ns) {
		if x.Name == "" || strings.HasPrefix(x.Name, "amq.") { // predeclared
			continue
		}
		if err := count(&out.Exchanges, k.DeleteExchange(ctx, ns, x.Name, false)); err != nil {
			return err
		}
	}
	for _, b := range k.Bindings(ns) {
		if err := count(&out.Bindings, k.Unbind(ctx, b)); err != nil {
			return err
		}
	}
	for _, i := range k.Streams(ns) {
		if err := count(&out.Topics, k.DeleteStream(ctx, ns, i.Address)); err != nil {
			return err
		}
	}
	return nil
}

// unretain clears the retained messages of addresses, as a client does.
func (s *Source) unretain(ctx context.Context, ns string, all []message.Message) error {
	done := make(published, len(all))
	for i := range all {
		p := kernel.Publish{Namespace: ns, Msg: message.Message{Source: message.MQTT, Address: all[i].Address, Retain: true}, Reply: done}
		if err := s.c.Kernel.PublishWait(ctx, &p); err != nil {
			return err
		}
	}
	for range all {
		select {
		case r := <-done:
			if r.Err != nil {
				return r.Err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// published has room for every answer.
type published chan kernel.PublishResult

func (p published) Published(_ uint64, r kernel.PublishResult) { p <- r }
