package adminapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/robustmq/rmq/broker/fault"
)

// This file is what is looked at without being a client: the records of topics, the messages of queues.
// Nothing is consumed by it, nor counted as delivered.

// SchemaQueued is of a list of Queued.
const SchemaQueued = "rmq.queued/1"

// InspectBytes bounds the values in one answer. What does not fit is left out, and the answer says so.
const InspectBytes = 16 << 20

// RecordsQuery chooses records of a topic.
type RecordsQuery struct {
	Ref
	Partition *int32 // nil: all, one after the other
	From      int64  // offset
	Where     string // an expression of package filter; "": all
	Limit     int    // 0: ListDefault
}

// Queued is a message of a queue.
type Queued struct {
	Message    Message   `json:"message"`
	State      string    `json:"state"` // "ready", or "unacked": it is with a consumer
	Deliveries int       `json:"deliveries"`
	Since      time.Time `json:"since"`
}

// States of a message of a queue.
const (
	QueuedReady   = "ready"
	QueuedUnacked = "unacked"
)

// QueuedQuery chooses messages of a queue.
type QueuedQuery struct {
	Ref
	Where string
	Limit int // 0: ListDefault
}

// Inspection is what may be looked at; part of Source. The bool tells that there is more than the
// answer has.
type Inspection interface {
	Records(context.Context, RecordsQuery) ([]Message, bool, error)
	Queued(context.Context, QueuedQuery) ([]Queued, bool, error)
}

func (h *handler) inspection(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/topics/{name}/records", func(w http.ResponseWriter, r *http.Request) {
		q := RecordsQuery{Ref: refOf(r), Where: r.URL.Query().Get("where")}
		var err error
		if q.Limit, err = intParam(r, "limit", 0, ListMax); err == nil {
			q.From, err = int64Param(r, "from")
		}
		if s := r.URL.Query().Get("partition"); s != "" && err == nil {
			var n int64
			n, err = strconv.ParseInt(s, 10, 32)
			if err != nil || n < 0 {
				err = fault.New(fault.Invalid, "read", "", "partition %q is no partition", s)
			}
			index := int32(n)
			q.Partition = &index
		}
		if err != nil {
			h.fail(w, r, err)
			return
		}
		all, more, err := h.src.Records(r.Context(), q)
		answerSome(h, w, r, SchemaMessages, all, more, err)
	})
	mux.HandleFunc("GET /v1/queues/{name}/messages", func(w http.ResponseWriter, r *http.Request) {
		q := QueuedQuery{Ref: refOf(r), Where: r.URL.Query().Get("where")}
		var err error
		if q.Limit, err = intParam(r, "limit", 0, ListMax); err != nil {
			h.fail(w, r, err)
			return
		}
		all, more, err := h.src.Queued(r.Context(), q)
		answerSome(h, w, r, SchemaQueued, all, more, err)
	})
}

func answerSome[T any](h *handler, w http.ResponseWriter, r *http.Request, schema string, all []T, more bool, err error) {
	if err != nil {
		h.fail(w, r, err)
		return
	}
	var warnings []string
	if more {
		warnings = append(warnings, "only the first "+strconv.Itoa(len(all))+": there are more")
	}
	writeData(w, schema, some(all), "", warnings...)
}

func int64Param(r *http.Request, name string) (int64, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fault.New(fault.Invalid, "read", "", "%s %q is no offset", name, s)
	}
	return n, nil
}

func (c *Client) Records(ctx context.Context, q RecordsQuery) (all []Message, more bool, err error) {
	v := q.Ref.values()
	set(v, "where", q.Where)
	number(v, "limit", q.Limit)
	if q.From > 0 {
		v.Set("from", strconv.FormatInt(q.From, 10))
	}
	if q.Partition != nil {
		v.Set("partition", strconv.Itoa(int(*q.Partition)))
	}
	more, err = c.some(ctx, "/v1/topics/"+escapeName(q.Name)+"/records", v, &all)
	return all, more, err
}

func (c *Client) Queued(ctx context.Context, q QueuedQuery) (all []Queued, more bool, err error) {
	v := q.Ref.values()
	set(v, "where", q.Where)
	number(v, "limit", q.Limit)
	more, err = c.some(ctx, "/v1/queues/"+escapeName(q.Name)+"/messages", v, &all)
	return all, more, err
}

// some reads a list that may be cut short, which a warning says.
func (c *Client) some(ctx context.Context, path string, v url.Values, into any) (more bool, err error) {
	env, err := c.exchange(ctx, "GET", path, v, nil, into)
	return len(env.Warnings) > 0, err
}
