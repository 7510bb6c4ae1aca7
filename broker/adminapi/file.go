package adminapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"
)

// This file is what goes over the API as one file, and not as JSON: docs/format/ draws each.

// fileBuffer is what is held back of a file: an error before it has that much is told as one.
const fileBuffer = 64 << 10

// file serves what write writes. An error behind the beginning cuts the answer short, which the file's
// own format tells from an end.
func (h *handler) file(w http.ResponseWriter, r *http.Request, write func(ctx context.Context, w io.Writer) error) {
	to := &filing{w: w, rc: http.NewResponseController(w)}
	to.buffer = bufio.NewWriterSize(flushing{to}, fileBuffer)
	err := write(r.Context(), to)
	if err == nil {
		if err = to.buffer.Flush(); err == nil && !to.begun {
			_, err = flushing{to}.Write(nil)
		}
	}
	switch {
	case err == nil:
	case !to.begun:
		h.fail(w, r, err)
	default:
		if h.opt.Failed != nil && r.Context().Err() == nil {
			h.opt.Failed(r, err)
		}
		panic(http.ErrAbortHandler)
	}
}

// filing is a file on its way to a client. Flush sends what is held back.
type filing struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	buffer *bufio.Writer
	begun  bool
}

func (f *filing) Write(b []byte) (int, error) { return f.buffer.Write(b) }

func (f *filing) Flush() error {
	if err := f.buffer.Flush(); err != nil {
		return err
	}
	if err := f.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

type flushing struct{ *filing }

func (f flushing) Write(b []byte) (int, error) {
	if !f.begun {
		f.begun = true
		f.w.Header().Set("Content-Type", "application/octet-stream")
		f.w.Header().Set("Cache-Control", "no-store")
		f.w.WriteHeader(http.StatusOK)
	}
	_ = f.rc.SetWriteDeadline(time.Now().Add(streamStall)) // unsupported by recorders in tests
	return f.w.Write(b)
}

// Snapshot writes all that the broker holds at one moment.
func (c *Client) Snapshot(ctx context.Context, w io.Writer) error {
	return c.fetch(ctx, "/v1/snapshot", nil, w)
}

// SchemaLoaded is of a Loaded.
const SchemaLoaded = "rmq.loaded/1"

// Loaded is the snapshot with which a broker begins anew.
type Loaded struct {
	Number   int       `json:"number"` // which Status.Loads will be
	ID       string    `json:"id"`
	Taken    time.Time `json:"taken"`
	Streams  int       `json:"streams"`
	Queues   int       `json:"queues"`
	Sessions int       `json:"sessions"`
	Lost     int       `json:"lost,omitempty"` // streams and queues of durability memory, of which it has no messages
}

// Load has the broker begin anew with a snapshot.
func (c *Client) Load(ctx context.Context, r io.Reader) (out Loaded, err error) {
	resp, err := c.send(ctx, "POST", "/v1/snapshot", nil, "application/octet-stream", io.NopCloser(r))
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	env, err := c.envelope(resp)
	if err == nil {
		err = json.Unmarshal(env.Data, &out)
	}
	return out, err
}

// fetch copies a file.
func (c *Client) fetch(ctx context.Context, path string, v url.Values, w io.Writer) error {
	resp, err := c.do(ctx, "GET", path, v, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") != "application/octet-stream" {
		_, err := c.envelope(resp)
		return err
	}
	if _, err = io.Copy(w, resp.Body); err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
