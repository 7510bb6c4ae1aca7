package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/robustmq/rmq/broker/fault"
)

// RecordQuery says what is recorded. The zero value: all of the default namespace.
type RecordQuery struct {
	Namespace string
	Filter    string // MQTT filter of addresses; "" matches all
	Protocol  string // of who published: mqtt, kafka or amqp; "" is any
	Where     string // an expression of package filter
}

// ReplayQuery says how a recording is published again.
type ReplayQuery struct {
	// Speed is how much faster than it was recorded; 0: as fast as can be.
	Speed float64
}

// Replayed is how far a replay is. Every line counts from its beginning.
type Replayed struct {
	Published int64 `json:"published"` // messages, and records of Kafka batches, that are where they were to go
	Failed    int64 `json:"failed"`    // that the broker did not take
	LeftOut   int64 `json:"left_out"`  // that the recording says it lacks
	// Problems are why some failed; the first few.
	Problems []string `json:"problems,omitempty"`
	// Created are the topics that were not there.
	Created []string `json:"created,omitempty"`
	// Waiting: broker time is virtual and stands still, and the next item is due later.
	Waiting bool `json:"waiting,omitempty"`
	// Torn: the recording had no end.
	Torn bool `json:"torn,omitempty"`
	// Done: this is the last line.
	Done bool `json:"done"`
}

// Recordings is what may be asked for to record and to replay; part of Source.
type Recordings interface {
	// Record writes a file of what is published and committed on this node from now on
	// (docs/format/recording.md), until ctx ends, and then its end. Who is slow is not waited for: what is
	// left out is counted in the file.
	Record(ctx context.Context, q RecordQuery, w io.Writer) error
	// Replay publishes a recording again, each item when its time has come by broker time, and returns when
	// the last is where it was to go. emit is called now and then with how far it is.
	Replay(ctx context.Context, q ReplayQuery, r io.Reader, emit func(Replayed) error) error
}

func (h *handler) recordings(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/record", h.goesOn(func(w http.ResponseWriter, r *http.Request) {
		v := r.URL.Query()
		q := RecordQuery{Namespace: namespaceOf(r), Filter: v.Get("filter"), Protocol: v.Get("protocol"), Where: v.Get("where")}
		h.file(w, r, func(ctx context.Context, w io.Writer) error { return h.src.Record(ctx, q, w) })
	}))
	mux.HandleFunc("POST /v1/replay", h.goesOn(func(w http.ResponseWriter, r *http.Request) {
		q := ReplayQuery{}
		if s := r.URL.Query().Get("speed"); s != "" {
			var err error
			if q.Speed, err = strconv.ParseFloat(s, 64); err != nil || !(q.Speed >= 0 && q.Speed <= 1e9) {
				h.fail(w, r, fault.New(fault.Invalid, "replay", "", "speed %q is no number from 0", s))
				return
			}
		}
		// How far it is is told while the file still comes.
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			h.fail(w, r, err)
			return
		}
		lines := newLines(w)
		h.endStream(w, r, lines, h.src.Replay(r.Context(), q, r.Body, func(l Replayed) error { return lines.write(l) }))
	}))
}

// Record writes what is committed on a node from now on. When ctx ends the file has no end.
func (c *Client) Record(ctx context.Context, q RecordQuery, w io.Writer) error {
	v := url.Values{}
	set(v, "namespace", q.Namespace)
	set(v, "filter", q.Filter)
	set(v, "protocol", q.Protocol)
	set(v, "where", q.Where)
	return c.fetch(ctx, "/v1/record", v, w)
}

// Replay publishes a recording again.
func (c *Client) Replay(ctx context.Context, q ReplayQuery, r io.Reader, emit func(Replayed) error) error {
	v := url.Values{"speed": {strconv.FormatFloat(q.Speed, 'g', -1, 64)}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of the file, if the broker has answered before its end
	resp, err := c.send(ctx, "POST", "/v1/replay", v, "application/octet-stream", io.NopCloser(r))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") != ndjson {
		_, err := c.envelope(resp)
		return err
	}
	for lines := json.NewDecoder(resp.Body); ; {
		var line struct {
			Replayed
			Error *Error `json:"error"`
		}
		if err := lines.Decode(&line); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return c.unreachable(err)
		}
		if line.Error != nil {
			return line.Error
		}
		if err := emit(line.Replayed); err != nil || line.Done {
			return err
		}
	}
}
