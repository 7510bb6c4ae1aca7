package adminapitest

import (
	"context"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
)

// Records and Queued show nothing of what there is: a Fake keeps no messages but retained ones.
func (f *Fake) Records(ctx context.Context, q adminapi.RecordsQuery) ([]adminapi.Message, bool, error) {
	_, err := f.Topic(ctx, q.Ref)
	return nil, false, err
}

func (f *Fake) Queued(ctx context.Context, q adminapi.QueuedQuery) ([]adminapi.Queued, bool, error) {
	_, err := f.Queue(ctx, q.Ref)
	return nil, false, err
}

// Want waits for nothing: it tells what is so now of a queue.
func (f *Fake) Want(ctx context.Context, w adminapi.Want) (out adminapi.Wanted, err error) {
	kind, name, err := w.Kind()
	if err != nil || kind != "queue" {
		return out, err
	}
	q, err := f.Queue(ctx, adminapi.Ref{Namespace: w.Namespace, Name: name})
	if err != nil {
		return out, err
	}
	for _, c := range w.If {
		if holds, now, err := c.Holds(adminapi.Fields(q)); err != nil || !holds {
			if err == nil {
				err = fault.New(fault.Timeout, "want", "queue "+name, "%s", now)
			}
			return out, err
		}
	}
	out.Queue = &q
	return out, nil
}
