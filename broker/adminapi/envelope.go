package adminapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/robustmq/rmq/broker/fault"
)

// Envelope is every answer that is not a stream, and what `rmq … -o json` prints.
// Data or Error is set, never both.
type Envelope struct {
	Schema   string          `json:"schema"` // "rmq.topics/1"
	Data     json.RawMessage `json:"data,omitempty"`
	Next     string          `json:"next,omitempty"` // a list goes on after this name
	Warnings []string        `json:"warnings,omitempty"`
	Error    *Error          `json:"error,omitempty"`
}

// Category groups error codes by what a caller does next; commands exit by it.
type Category string

const (
	CategoryUsage       Category = "usage"       // ask differently
	CategoryAuth        Category = "auth"        // ask as somebody else
	CategoryNotFound    Category = "not_found"   // ask for something else
	CategoryConflict    Category = "conflict"    // settle with what is there
	CategoryUnavailable Category = "unavailable" // ask again later
	CategoryTimeout     Category = "timeout"     // nobody knows; look before asking again
	CategoryInternal    Category = "internal"    // tell us
)

// Error is a failure as the API tells it.
type Error struct {
	Code      string   `json:"code"` // a fault kind: "not_found", "too_large"…
	Category  Category `json:"category"`
	Message   string   `json:"message"` // one lower-case line: what, and why
	Retryable bool     `json:"retryable"`
	Hint      string   `json:"hint,omitempty"` // the next command, where one helps
}

func (e *Error) Error() string { return e.Message }

// kinds is the one table from fault kinds to the API's words.
var kinds = map[fault.Kind]struct {
	category  Category
	status    int
	retryable bool
}{
	fault.Internal:     {CategoryInternal, http.StatusInternalServerError, false},
	fault.Invalid:      {CategoryUsage, http.StatusBadRequest, false},
	fault.NotFound:     {CategoryNotFound, http.StatusNotFound, false},
	fault.Exists:       {CategoryConflict, http.StatusConflict, false},
	fault.Conflict:     {CategoryConflict, http.StatusConflict, false},
	fault.Denied:       {CategoryAuth, http.StatusForbidden, false},
	fault.Unauthorized: {CategoryAuth, http.StatusUnauthorized, false},
	fault.Locked:       {CategoryConflict, http.StatusLocked, true},
	fault.TooLarge:     {CategoryUsage, http.StatusRequestEntityTooLarge, false},
	fault.Exhausted:    {CategoryUnavailable, http.StatusTooManyRequests, true},
	fault.Unavailable:  {CategoryUnavailable, http.StatusServiceUnavailable, true},
	fault.Timeout:      {CategoryTimeout, http.StatusGatewayTimeout, true},
	fault.Unsupported:  {CategoryUsage, http.StatusNotImplemented, false},
	fault.Fenced:       {CategoryConflict, http.StatusConflict, false},
	fault.OutOfRange:   {CategoryUsage, http.StatusRequestedRangeNotSatisfiable, false},
	fault.OutOfOrder:   {CategoryConflict, http.StatusConflict, false},
	fault.Full:         {CategoryUnavailable, http.StatusInsufficientStorage, true},
	fault.Damaged:      {CategoryInternal, http.StatusInternalServerError, false},
}

// Code returns the API's word for a kind.
func Code(k fault.Kind) string { return strings.ReplaceAll(k.String(), " ", "_") }

// ErrorOf returns err as the API tells it. An error of no kind becomes "internal"
// and loses its text, which is the operator's to read in the log.
func ErrorOf(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return &Error{Code: Code(fault.Internal), Category: CategoryInternal, Message: "internal error"}
	}
	row, ok := kinds[f.Kind]
	if !ok {
		row = kinds[fault.Internal]
	}
	return &Error{Code: Code(f.Kind), Category: row.category, Message: f.Error(), Retryable: row.retryable}
}

// statusOf returns the HTTP status that goes with an error's code.
func statusOf(e *Error) int {
	for k, row := range kinds {
		if Code(k) == e.Code {
			return row.status
		}
	}
	return http.StatusInternalServerError
}

// WriteError answers a request with an error, in an envelope. For handlers that stand
// before Handler, such as one that checks who asks.
func WriteError(w http.ResponseWriter, err error) {
	e := ErrorOf(err)
	writeEnvelope(w, statusOf(e), Envelope{Schema: schemaError, Error: e})
}

func writeEnvelope(w http.ResponseWriter, status int, env Envelope) {
	body, err := json.Marshal(env)
	if err != nil { // our own types always marshal
		panic("adminapi: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a caller that left is no concern of ours
}
