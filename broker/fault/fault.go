// Package fault is the one error vocabulary that crosses from the kernel into
// the adapters.
//
// An Error says what was attempted, on what, and of which Kind the failure is.
// The kind is what a client may do about it; each adapter owns one table from
// kind to its protocol's own reason code, so that no protocol's numbers leak
// into the kernel and no internal text leaks to a client.
package fault

import (
	"errors"
	"fmt"
)

// Kind classifies a failure by what the client may do about it.
type Kind uint8

const (
	Internal     Kind = iota // our fault, or unclassified: nothing the client can do
	Invalid                  // the request can never succeed as it is
	NotFound                 // the named thing does not exist
	Exists                   // the named thing exists already
	Conflict                 // it exists with other properties, or the state forbids the request
	Denied                   // the identity may not do this
	Unauthorized             // the identity could not be established
	Locked                   // held exclusively by somebody else
	TooLarge                 // beyond a named limit
	Exhausted                // a quota or a buffer is full: try later, slower
	Unavailable              // no leader, no quorum, closing: try again
	Timeout                  // not known to have happened in time
	Unsupported              // known, and not offered
	Fenced                   // an older incarnation of the caller is refused
	OutOfRange               // an offset outside what the log holds
	OutOfOrder               // a sequence number that is neither next nor a repeat
	Full                     // no space on the storage device
	Damaged                  // what the storage device has of it is not whole: an operator must look
)

var kindNames = [...]string{
	"internal", "invalid", "not found", "exists", "conflict", "denied", "unauthorized", "locked", "too large",
	"exhausted", "unavailable", "timeout", "unsupported", "fenced", "out of range", "out of order", "full", "damaged",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Error is the one error type that crosses from the kernel into an adapter.
type Error struct {
	Kind   Kind   // what the client may do about it
	Op     string // what was attempted: "append"
	Target string // on what: "orders/3"; may be empty
	Err    error  // cause, for the operator; never sent to a client
}

func (e *Error) Error() string {
	s := e.Op
	if e.Target != "" {
		s += " " + e.Target
	}
	s += ": "
	if e.Err == nil {
		return s + e.Kind.String()
	}
	return s + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// New returns an error of a kind, for an operation on a target. The text, in
// the manner of fmt.Errorf, tells the operator why.
func New(k Kind, op, target, format string, args ...any) error {
	return &Error{Kind: k, Op: op, Target: target, Err: fmt.Errorf(format, args...)}
}

// Of returns a bare error of a kind: the kind is all there is to say.
func Of(k Kind, op, target string) error { return &Error{Kind: k, Op: op, Target: target} }

// KindOf returns the kind of err: Internal for one that has none, so that an
// unclassified error never leaks its text to a client. KindOf(nil) must not be
// asked.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is tells whether err is of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }
