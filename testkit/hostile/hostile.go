// Package hostile sends a broker what no client should send, and looks at how it takes it.
//
// The exchanges are those of package fixtures; any broker can be asked, over its public port.
// Run has one conversation: it sends bytes, reads frames, and compares each with what is
// expected. What comes is decoded as far as its name and code (decode.go), and kept as bytes.
package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/robustmq/rmq/fixtures"
)

// Dial opens a connection to the broker.
type Dial func(ctx context.Context) (net.Conn, error)

// Event is one thing that was sent, or that came.
type Event struct {
	Sent  bool   `json:"sent,omitempty"`
	Name  string `json:"name,omitempty"` // of a frame that came; "close": the end of the connection
	Code  *int   `json:"code,omitempty"`
	Text  string `json:"text,omitempty"` // what the broker says to it
	Bytes []byte `json:"-"`
	Hex   string `json:"hex,omitempty"` // of Bytes, cut at hexMax
	Size  int    `json:"size"`
}

// Result is how a broker has taken one exchange.
type Result struct {
	ID     string   `json:"id"`
	About  string   `json:"about"`
	Spec   string   `json:"spec,omitempty"`
	OK     bool     `json:"ok"`
	Want   []string `json:"want"` // of the step that decided: any of these
	Got    string   `json:"got"`
	Events []Event  `json:"events"`
}

const (
	hexMax   = 256      // bytes of an event that are shown
	frameMax = 16 << 20 // bytes of a frame that are read
)

// Run has one exchange with a broker. patience is how long each reaction may take. The error is that
// the broker could not be reached; how it reacts is in the result.
func Run(ctx context.Context, dial Dial, h *fixtures.Hostile, patience time.Duration) (Result, error) {
	r := Result{ID: h.ID, About: h.About, Spec: h.Spec, Want: []string{}}
	conn, err := dial(ctx)
	if err != nil {
		return r, err
	}
	defer func() { _ = conn.Close() }() // the conversation is over
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	d := newDecoder(h.Protocol, conn)
	for _, step := range h.Steps {
		if step.Send != nil {
			r.add(Event{Sent: true, Bytes: step.Send})
			_ = conn.SetWriteDeadline(time.Now().Add(patience))
			// A broker that has had enough ends the connection while we speak: what it says is read next.
			_, _ = conn.Write(step.Send)
			continue
		}
		if !r.expect(conn, d, step, patience) {
			return r, context.Cause(ctx)
		}
	}
	r.OK = true
	return r, context.Cause(ctx)
}

func (r *Result) add(e Event) {
	e.Size = len(e.Bytes)
	e.Hex = fmt.Sprintf("%x", e.Bytes[:min(len(e.Bytes), hexMax)])
	r.Events = append(r.Events, e)
}

// expect reads until a reaction is one of those of a step, or cannot be any more.
func (r *Result) expect(conn net.Conn, d *decoder, step fixtures.Step, patience time.Duration) bool {
	r.Want = r.Want[:0]
	mayEnd := false
	for _, x := range step.Expect {
		r.Want = append(r.Want, x.String())
		mayEnd = mayEnd || x.Close
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	for {
		e, err := d.next()
		switch {
		case err == nil:
			r.add(e)
			r.Got = e.String()
			for _, x := range step.Expect {
				if matches(x, &e) {
					return true
				}
			}
			if !mayEnd {
				return false
			}
			// It may say something before it ends the connection.
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			r.add(Event{Name: "close"})
			r.Got = "close"
			return mayEnd
		case errors.Is(err, os.ErrDeadlineExceeded):
			if r.Got = "nothing"; len(r.Events) > 0 && !r.Events[len(r.Events)-1].Sent {
				r.Got = r.Events[len(r.Events)-1].String() + ", and nothing more"
			}
			return false
		default:
			r.Got = err.Error()
			return false
		}
	}
}

// String names an event: CONNACK 0x84.
func (e *Event) String() string {
	switch {
	case e.Code == nil:
		return e.Name
	case *e.Code > 255:
		return fmt.Sprintf("%s %d", e.Name, *e.Code)
	}
	return fmt.Sprintf("%s 0x%02x", e.Name, *e.Code)
}

func matches(x fixtures.Reaction, e *Event) bool {
	switch {
	case x.Close:
		return false
	case x.Bytes != nil:
		if len(e.Bytes) < len(x.Bytes) {
			return false
		}
		for i, b := range x.Bytes {
			if b >= 0 && byte(b) != e.Bytes[i] {
				return false
			}
		}
		return true
	}
	return x.Name == e.Name && (x.Code < 0 || e.Code != nil && *e.Code == x.Code)
}
