package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/broker/setting"
)

// Schemas name the shape of Envelope.Data.
const (
	schemaError      = "rmq.error/1"
	SchemaStatus     = "rmq.status/1"
	SchemaOverview   = "rmq.overview/1"
	SchemaTopics     = "rmq.topics/1"
	SchemaTopic      = "rmq.topic/1"
	SchemaQueues     = "rmq.queues/1"
	SchemaQueue      = "rmq.queue/1"
	SchemaExchanges  = "rmq.exchanges/1"
	SchemaExchange   = "rmq.exchange/1"
	SchemaBindings   = "rmq.bindings/1"
	SchemaBinding    = "rmq.binding/1"
	SchemaSessions   = "rmq.sessions/1"
	SchemaSession    = "rmq.session/1"
	SchemaSlow       = "rmq.slow/1"
	SchemaGroups     = "rmq.groups/1"
	SchemaGroup      = "rmq.group/1"
	SchemaMessages   = "rmq.messages/1"
	SchemaNodes      = "rmq.nodes/1"
	SchemaMember     = "rmq.member/1" // a Node
	SchemaShards     = "rmq.shards/1"
	SchemaMoves      = "rmq.moves/1"
	SchemaNamespaces = "rmq.namespaces/1"
	SchemaNamespace  = "rmq.namespace/1"
	SchemaUsers      = "rmq.users/1"
	SchemaUser       = "rmq.user/1"
	SchemaRules      = "rmq.acl/1"
	SchemaChanged    = "rmq.acl-changed/1" // a RulesChanged
	SchemaVerdict    = "rmq.acl-verdict/1"
	SchemaSettings   = "rmq.settings/1"
	SchemaSetting    = "rmq.setting/1"
	SchemaBans       = "rmq.bans/1"
	SchemaBan        = "rmq.ban/1"
	SchemaBridges    = "rmq.bridges/1"
	SchemaBridge     = "rmq.bridge/1"
	SchemaOptions    = "rmq.options/1"
	SchemaDone       = "rmq.done/1" // a Done: what a command changed
)

// Done is the answer to what returns nothing else.
type Done struct {
	Messages *int64 `json:"messages,omitempty"` // that went with a queue
}

// HandlerOptions are the seams of a handler.
type HandlerOptions struct {
	Clock clock.Clock // paces /v1/watch; nil: the machine's
	// Closing is closed when the broker begins to end: what goes on until its client leaves then ends too. May be nil.
	Closing <-chan struct{}
	// Failed is told of errors whose text the caller is not given. May be nil.
	Failed func(r *http.Request, err error)
}

// Handler serves a Source under /v1. It authenticates nobody: broker/admin stands
// before it. Requests that change something are refused when a browser sent them
// from another origin.
func Handler(src Source, opt HandlerOptions) http.Handler {
	if opt.Clock == nil {
		opt.Clock = clock.Wall{}
	}
	h := &handler{src: src, opt: opt}
	mux := http.NewServeMux()

	get(h, mux, "GET /v1/status", SchemaStatus, func(ctx context.Context, _ *http.Request) (Status, error) { return src.Status(ctx) })
	get(h, mux, "GET /v1/overview", SchemaOverview, func(ctx context.Context, _ *http.Request) (Overview, error) { return src.Overview(ctx) })
	mux.HandleFunc("GET /v1/watch", h.goesOn(h.watch))
	mux.HandleFunc("GET /v1/live", h.goesOn(h.live))
	mux.HandleFunc("GET /v1/trace", h.goesOn(h.trace))
	mux.HandleFunc("GET /v1/snapshot", func(w http.ResponseWriter, r *http.Request) { h.file(w, r, src.Snapshot) })
	get(h, mux, "POST /v1/snapshot", SchemaLoaded, func(ctx context.Context, r *http.Request) (Loaded, error) { return src.Load(ctx, r.Body) })
	mux.HandleFunc("GET /v1/changes", h.goesOn(h.changes))
	h.explain(mux)

	list(h, mux, "GET /v1/topics", SchemaTopics, src.Topics, func(t Topic) string { return t.Name })
	one(h, mux, "GET /v1/topics/{name}", SchemaTopic, src.Topic)
	put(h, mux, "POST /v1/topics", SchemaTopic, func(ctx context.Context, _ *http.Request, s TopicSpec) (Topic, error) { return src.CreateTopic(ctx, s) })
	put(h, mux, "PATCH /v1/topics/{name}", SchemaTopic, func(ctx context.Context, r *http.Request, c TopicChange) (Topic, error) {
		return src.AlterTopic(ctx, refOf(r), c)
	})
	drop(h, mux, "DELETE /v1/topics/{name}", src.DeleteTopic)

	list(h, mux, "GET /v1/queues", SchemaQueues, src.Queues, func(q Queue) string { return q.Name })
	one(h, mux, "GET /v1/queues/{name}", SchemaQueue, src.Queue)
	put(h, mux, "POST /v1/queues", SchemaQueue, func(ctx context.Context, _ *http.Request, s QueueSpec) (Queue, error) { return src.CreateQueue(ctx, s) })
	get(h, mux, "DELETE /v1/queues/{name}", SchemaDone, func(ctx context.Context, r *http.Request) (Done, error) {
		v := r.URL.Query()
		n, err := src.DeleteQueue(ctx, refOf(r), DeleteQueueOptions{IfUnused: v.Has("if_unused"), IfEmpty: v.Has("if_empty")})
		return Done{Messages: &n}, err
	})
	get(h, mux, "POST /v1/queues/{name}/purge", SchemaDone, func(ctx context.Context, r *http.Request) (Done, error) {
		n, err := src.PurgeQueue(ctx, refOf(r))
		return Done{Messages: &n}, err
	})

	list(h, mux, "GET /v1/exchanges", SchemaExchanges, src.Exchanges, func(x Exchange) string { return x.Name })
	get(h, mux, "GET /v1/exchanges/{name}", SchemaExchange, func(ctx context.Context, r *http.Request) (Exchange, error) {
		return src.Exchange(ctx, exchangeRef(r))
	})
	put(h, mux, "POST /v1/exchanges", SchemaExchange, func(ctx context.Context, _ *http.Request, x Exchange) (Exchange, error) {
		return src.CreateExchange(ctx, x)
	})
	get(h, mux, "DELETE /v1/exchanges/{name}", SchemaDone, func(ctx context.Context, r *http.Request) (Done, error) {
		return Done{}, src.DeleteExchange(ctx, exchangeRef(r), DeleteExchangeOptions{IfUnused: r.URL.Query().Has("if_unused")})
	})

	list(h, mux, "GET /v1/bindings", SchemaBindings, src.Bindings, nil)
	put(h, mux, "POST /v1/bindings", SchemaDone, func(ctx context.Context, _ *http.Request, b Binding) (Done, error) { return Done{}, src.Bind(ctx, b) })
	put(h, mux, "POST /v1/bindings/remove", SchemaDone, func(ctx context.Context, _ *http.Request, b Binding) (Done, error) {
		return Done{}, src.Unbind(ctx, b)
	})

	list(h, mux, "GET /v1/sessions", SchemaSessions, src.Sessions, func(s Session) string { return s.ClientID })
	one(h, mux, "GET /v1/sessions/{name}", SchemaSession, src.Session)
	drop(h, mux, "DELETE /v1/sessions/{name}", src.DeleteSession)

	get(h, mux, "GET /v1/slow", SchemaSlow, func(ctx context.Context, _ *http.Request) ([]Slow, error) {
		all, err := src.Slow(ctx)
		return some(all), err
	})

	list(h, mux, "GET /v1/groups", SchemaGroups, src.Groups, func(g Group) string { return g.ID })
	one(h, mux, "GET /v1/groups/{name}", SchemaGroup, src.Group)
	drop(h, mux, "DELETE /v1/groups/{name}", src.DeleteGroup)

	mux.HandleFunc("GET /v1/retained", h.retained)

	get(h, mux, "GET /v1/nodes", SchemaNodes, func(ctx context.Context, _ *http.Request) ([]Node, error) {
		nodes, err := src.Nodes(ctx)
		return some(nodes), err
	})
	get(h, mux, "GET /v1/shards", SchemaShards, func(ctx context.Context, _ *http.Request) ([]Shard, error) {
		shards, err := src.Shards(ctx)
		return some(shards), err
	})

	get(h, mux, "GET /v1/moves", SchemaMoves, func(ctx context.Context, _ *http.Request) ([]Move, error) {
		moves, err := src.Moves(ctx)
		return some(moves), err
	})
	node(h, mux, "POST /v1/nodes/{id}/drain", src.DrainNode)
	node(h, mux, "POST /v1/nodes/{id}/fill", func(ctx context.Context, id uint64, _ bool) (Node, error) { return src.FillNode(ctx, id) })
	node(h, mux, "DELETE /v1/nodes/{id}", src.RemoveNode)

	get(h, mux, "GET /v1/namespaces", SchemaNamespaces, func(ctx context.Context, _ *http.Request) ([]Namespace, error) {
		ns, err := src.Namespaces(ctx)
		return some(ns), err
	})
	get(h, mux, "GET /v1/namespace", SchemaNamespace, func(ctx context.Context, r *http.Request) (Namespace, error) {
		return src.Namespace(ctx, namespaceOf(r))
	})
	put(h, mux, "POST /v1/namespaces", SchemaNamespace, func(ctx context.Context, _ *http.Request, s NamespaceSpec) (Namespace, error) {
		return src.CreateNamespace(ctx, s)
	})
	put(h, mux, "PATCH /v1/namespace", SchemaNamespace, func(ctx context.Context, r *http.Request, s NamespaceSpec) (Namespace, error) {
		s.Name = namespaceOf(r)
		return src.AlterNamespace(ctx, s)
	})

	get(h, mux, "GET /v1/users", SchemaUsers, func(ctx context.Context, _ *http.Request) ([]User, error) {
		us, err := src.Users(ctx)
		return some(us), err
	})
	get(h, mux, "GET /v1/users/{name}", SchemaUser, func(ctx context.Context, r *http.Request) (User, error) {
		return src.User(ctx, r.PathValue("name"))
	})
	put(h, mux, "PUT /v1/users/{name}", SchemaUser, func(ctx context.Context, r *http.Request, s UserSpec) (User, error) {
		s.Name = r.PathValue("name")
		return src.PutUser(ctx, s)
	})
	get(h, mux, "DELETE /v1/users/{name}", SchemaDone, func(ctx context.Context, r *http.Request) (Done, error) {
		return Done{}, src.DeleteUser(ctx, r.PathValue("name"))
	})

	get(h, mux, "GET /v1/acl", SchemaRules, func(ctx context.Context, _ *http.Request) ([]acl.Rule, error) {
		rules, err := src.Rules(ctx)
		return some(rules), err
	})
	put(h, mux, "POST /v1/acl", SchemaChanged, func(ctx context.Context, _ *http.Request, rules []acl.Rule) (RulesChanged, error) {
		n, err := src.PutRules(ctx, rules)
		return RulesChanged{n}, err
	})
	put(h, mux, "POST /v1/acl/remove", SchemaChanged, func(ctx context.Context, _ *http.Request, rules []acl.Rule) (RulesChanged, error) {
		n, err := src.DeleteRules(ctx, rules)
		return RulesChanged{n}, err
	})
	put(h, mux, "POST "+pathTestAccess, SchemaVerdict, func(ctx context.Context, _ *http.Request, q AccessQuestion) (acl.Verdict, error) {
		return src.TestAccess(ctx, q)
	})

	kindOf := func(r *http.Request) setting.Kind { return setting.Kind(r.PathValue("kind")) }
	get(h, mux, "GET /v1/settings/{kind}", SchemaSettings, func(ctx context.Context, r *http.Request) ([]setting.Setting, error) {
		all, err := src.Settings(ctx, namespaceOf(r), kindOf(r))
		return some(all), err
	})
	put(h, mux, "PUT /v1/settings/{kind}/{name}", SchemaSetting, func(ctx context.Context, r *http.Request, value json.RawMessage) (setting.Setting, error) {
		return src.PutSetting(ctx, setting.Setting{Namespace: namespaceOf(r), Kind: kindOf(r), Name: r.PathValue("name"), Value: value})
	})
	get(h, mux, "DELETE /v1/settings/{kind}/{name}", SchemaDone, func(ctx context.Context, r *http.Request) (Done, error) {
		return Done{}, src.DeleteSetting(ctx, namespaceOf(r), kindOf(r), r.PathValue("name"))
	})

	get(h, mux, "GET /v1/bridges", SchemaBridges, func(ctx context.Context, _ *http.Request) ([]Bridge, error) {
		all, err := src.Bridges(ctx)
		return some(all), err
	})
	get(h, mux, "GET /v1/bridges/{name}", SchemaBridge, func(ctx context.Context, r *http.Request) (Bridge, error) {
		return src.Bridge(ctx, r.PathValue("name"))
	})
	put(h, mux, "POST /v1/bridges", SchemaBridge, func(ctx context.Context, _ *http.Request, s BridgeSpec) (Bridge, error) { return src.AddBridge(ctx, s) })
	get(h, mux, "DELETE /v1/bridges/{name}", SchemaDone, func(ctx context.Context, r *http.Request) (Done, error) {
		return Done{}, src.RemoveBridge(ctx, r.PathValue("name"))
	})
	for verb, paused := range map[string]bool{"pause": true, "resume": false} {
		get(h, mux, "POST /v1/bridges/{name}/"+verb, SchemaBridge, func(ctx context.Context, r *http.Request) (Bridge, error) {
			return src.PauseBridge(ctx, r.PathValue("name"), paused)
		})
	}

	get(h, mux, "GET /v1/bans", SchemaBans, func(ctx context.Context, _ *http.Request) ([]acl.Ban, error) {
		bans, err := src.Bans(ctx)
		return some(bans), err
	})
	put(h, mux, "POST /v1/bans", SchemaBan, func(ctx context.Context, _ *http.Request, b acl.Ban) (acl.Ban, error) { return src.PutBan(ctx, b) })
	put(h, mux, "POST /v1/bans/remove", SchemaDone, func(ctx context.Context, _ *http.Request, b acl.Ban) (Done, error) {
		return Done{}, src.DeleteBan(ctx, b)
	})

	h.faults(mux)

	get(h, mux, "GET /v1/options", SchemaOptions, func(ctx context.Context, _ *http.Request) ([]Option, error) {
		all, err := src.Options(ctx)
		return some(all), err
	})
	put(h, mux, "PATCH /v1/options", SchemaOptions, func(ctx context.Context, _ *http.Request, c OptionsChange) ([]Option, error) {
		all, err := src.ChangeOptions(ctx, c)
		return some(all), err
	})

	h.clocks(mux)
	h.resets(mux)
	h.inspection(mux)
	h.recordings(mux)
	put(h, mux, "POST "+pathWant, SchemaWanted, func(ctx context.Context, _ *http.Request, w Want) (Wanted, error) {
		ctx, end := h.untilClosing(ctx)
		defer end()
		return src.Want(ctx, w)
	})
	get(h, mux, "POST /v1/shutdown", SchemaDone, func(ctx context.Context, _ *http.Request) (Done, error) { return Done{}, src.Shutdown(ctx) })

	mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		// The mux would answer a wrong method itself if this pattern were not here.
		h.fail(w, r, fault.New(fault.NotFound, "find", r.Method+" "+r.URL.Path, "no such call"))
	})

	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, fault.New(fault.Denied, "call", r.URL.Path, "a browser sent it from another origin"))
	}))
	return guard.Handler(mux)
}

type handler struct {
	src Source
	opt HandlerOptions
}

// goesOn serves what goes on until its client leaves. A broker that ends waits for requests, and would for these
// in vain.
func (h *handler) goesOn(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, end := h.untilClosing(r.Context())
		defer end()
		f(w, r.WithContext(ctx))
	}
}

// untilClosing is ctx that ends when the broker begins to end.
func (h *handler) untilClosing(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if h.opt.Closing != nil {
		go func() { // ends with ctx
			select {
			case <-h.opt.Closing:
				cancel(fault.New(fault.Unavailable, "serve", "", "the broker is ending"))
			case <-ctx.Done():
			}
		}()
	}
	return ctx, func() { cancel(nil) }
}

// The helpers below register one call each; what differs is in the function given.

func get[T any](h *handler, mux *http.ServeMux, pattern, schema string, f func(context.Context, *http.Request) (T, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r.Context(), r)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		writeData(w, schema, v, "")
	})
}

func one[T any](h *handler, mux *http.ServeMux, pattern, schema string, f func(context.Context, Ref) (T, error)) {
	get(h, mux, pattern, schema, func(ctx context.Context, r *http.Request) (T, error) { return f(ctx, refOf(r)) })
}

func node(h *handler, mux *http.ServeMux, pattern string, f func(ctx context.Context, id uint64, force bool) (Node, error)) {
	get(h, mux, pattern, SchemaMember, func(ctx context.Context, r *http.Request) (Node, error) {
		id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
		if err != nil {
			return Node{}, fault.New(fault.Invalid, "read", "node "+r.PathValue("id"), "it is no node's id")
		}
		return f(ctx, id, r.URL.Query().Has("force"))
	})
}

func drop(h *handler, mux *http.ServeMux, pattern string, f func(context.Context, Ref) error) {
	get(h, mux, pattern, SchemaDone, func(ctx context.Context, r *http.Request) (Done, error) { return Done{}, f(ctx, refOf(r)) })
}

func put[In, Out any](h *handler, mux *http.ServeMux, pattern, schema string, f func(context.Context, *http.Request, In) (Out, error)) {
	get(h, mux, pattern, schema, func(ctx context.Context, r *http.Request) (Out, error) {
		var in In
		if err := readJSON(r, &in); err != nil {
			var none Out
			return none, err
		}
		return f(ctx, r, in)
	})
}

func list[T any](h *handler, mux *http.ServeMux, pattern, schema string, f func(context.Context, Query) ([]T, error), name func(T) string) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		q, err := queryOf(r)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		// One more than asked tells whether the list goes on.
		limit := q.Limit
		q.Limit++
		items, err := f(r.Context(), q)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		var next string
		var warnings []string
		if len(items) > limit {
			items = items[:limit]
			warnings = []string{fmt.Sprintf("only the first %d: there are more", limit)}
			if name != nil && limit > 0 {
				next = name(items[limit-1])
			}
		}
		writeData(w, schema, some(items), next, warnings...)
	})
}

func (h *handler) retained(w http.ResponseWriter, r *http.Request) {
	q, err := queryOf(r)
	if err == nil {
		var ms []Message
		if ms, err = h.src.Retained(r.Context(), q, r.URL.Query().Get("filter")); err == nil {
			writeData(w, SchemaMessages, some(ms), "")
			return
		}
	}
	h.fail(w, r, err)
}

func (h *handler) watch(w http.ResponseWriter, r *http.Request) {
	interval := time.Second
	if s := r.URL.Query().Get("interval"); s != "" {
		d, err := grammar.ParseDuration(s)
		if err != nil || d < WatchMin {
			h.fail(w, r, fault.New(fault.Invalid, "watch", "", "interval %q is not a duration of at least %v", s, WatchMin))
			return
		}
		interval = d
	}
	lines := newLines(w)
	err := Watch(r.Context(), h.src, h.opt.Clock, interval, func(o Overview) error { return lines.write(o) })
	h.endStream(w, r, lines, err)
}

func (h *handler) live(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	q := LiveQuery{Namespace: namespaceOf(r), Filter: v.Get("filter"), Protocol: v.Get("protocol"), Contains: v.Get("contains"), Where: v.Get("where")}
	var err error
	if q.BodyMax, err = intParam(r, "body_max", 0, RequestMax); err == nil {
		q.RateMax, err = intParam(r, "rate_max", 0, 1<<30)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	lines := newLines(w)
	lines.begin()
	err = h.src.Live(r.Context(), q, func(e LiveEvent) error {
		line := liveLine{Stats: e.Stats}
		if e.Message != nil {
			line.Message = e.Message.wire() // by itself it would be written, and read and written again
		}
		if e.Behind {
			return lines.put(&line)
		}
		return lines.write(&line)
	})
	h.endStream(w, r, lines, err)
}

// liveLine is a LiveEvent in JSON.
type liveLine struct {
	Message *wireMessage `json:"message,omitempty"`
	Stats   *LiveStats   `json:"stats,omitempty"`
}

func (h *handler) trace(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	q := TraceQuery{Client: v.Get("client"), Topic: v.Get("topic"), IP: v.Get("ip"), Mark: v.Get("mark")}
	var err error
	if q.Count, err = intParam(r, "count", 0, TraceCountMax); err == nil {
		q.Bytes, err = intParam(r, "bytes", 0, TraceBytesMax)
	}
	if s := v.Get("for"); s != "" && err == nil {
		if q.For, err = grammar.ParseDuration(s); err != nil || q.For <= 0 {
			err = fault.New(fault.Invalid, "trace", "", "for %q is no duration", s)
		}
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	lines := newLines(w)
	h.endStream(w, r, lines, h.src.Trace(r.Context(), q, func(l TraceLine) error { return lines.write(l) }))
}

// endStream tells an error where it still can: in an envelope before the first
// line, in the log after it. The caller sees a stream cut short either way.
func (h *handler) endStream(w http.ResponseWriter, r *http.Request, l *lines, err error) {
	if err == nil || r.Context().Err() != nil {
		return
	}
	if l.written {
		if h.opt.Failed != nil {
			h.opt.Failed(r, err)
		}
		_ = l.write(Envelope{Schema: schemaError, Error: ErrorOf(err)})
		return
	}
	h.fail(w, r, err)
}

func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if e := ErrorOf(err); e.Category == CategoryInternal && h.opt.Failed != nil {
		h.opt.Failed(r, err)
	}
	WriteError(w, err)
}

// lines writes NDJSON, each line flushed, under a deadline so that a reader that
// stopped reading is let go.
type lines struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	enc     *json.Encoder
	written bool
}

// streamStall is how long a reader of a stream may take for one line.
const streamStall = 30 * time.Second

func newLines(w http.ResponseWriter) *lines {
	return &lines{w: w, rc: http.NewResponseController(w), enc: json.NewEncoder(w)}
}

// ndjson is the type of a stream of lines.
const ndjson = "application/x-ndjson"

// begin sends the status at once, so that a client knows it is connected before
// anything happens.
func (l *lines) begin() {
	l.header()
	_ = l.rc.Flush()
}

func (l *lines) header() {
	if !l.written {
		l.written = true
		l.w.Header().Set("Content-Type", ndjson)
		l.w.Header().Set("Cache-Control", "no-store")
		l.w.WriteHeader(http.StatusOK)
	}
}

// put writes a line that is sent with the one after it, or before.
func (l *lines) put(v any) error {
	l.header()
	_ = l.rc.SetWriteDeadline(time.Now().Add(streamStall)) // unsupported by recorders in tests
	return l.enc.Encode(v)
}

func (l *lines) write(v any) error {
	if err := l.put(v); err != nil {
		return err
	}
	if err := l.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

func writeData(w http.ResponseWriter, schema string, v any, next string, warnings ...string) {
	data, err := json.Marshal(v)
	if err != nil { // our own types always marshal
		panic("adminapi: " + err.Error())
	}
	writeEnvelope(w, http.StatusOK, Envelope{Schema: schema, Data: data, Next: next, Warnings: warnings})
}

// some makes an empty list print as [] and not as null.
func some[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

func readJSON(r *http.Request, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, RequestMax))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return fault.New(fault.TooLarge, "read", "request body", "more than %d bytes", RequestMax)
		}
		return fault.New(fault.Invalid, "read", "request body", "%w", err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fault.New(fault.Invalid, "read", "request body", "%w", err)
	}
	return nil
}

func namespaceOf(r *http.Request) string {
	if ns := r.URL.Query().Get("namespace"); ns != "" {
		return ns
	}
	return DefaultNamespace
}

func refOf(r *http.Request) Ref {
	return Ref{Namespace: namespaceOf(r), Name: r.PathValue("name"), Spelling: r.URL.Query().Get("spelling")}
}

// exchangeRef also knows the default exchange by the name it has in a path.
func exchangeRef(r *http.Request) Ref {
	ref := refOf(r)
	if ref.Name == defaultExchangePath {
		ref.Name = ""
	}
	return ref
}

const defaultExchangePath = "amq.default"

func queryOf(r *http.Request) (Query, error) {
	v := r.URL.Query()
	limit, err := intParam(r, "limit", ListDefault, ListMax)
	return Query{Namespace: namespaceOf(r), Prefix: v.Get("prefix"), After: v.Get("after"), Limit: limit}, err
}

// intParam reads a whole number of at most top; larger ones are brought down to it.
func intParam(r *http.Request, name string, otherwise, top int) (int, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fault.New(fault.Invalid, "read", name, "%q is not a whole number", s)
	}
	return min(n, top), nil
}

// escapeName makes a path segment of any name, "." and ".." included, which a
// server would otherwise take for steps in the path.
func escapeName(name string) string {
	switch name {
	case ".":
		return "%2E"
	case "..":
		return "%2E%2E"
	}
	return url.PathEscape(name)
}
