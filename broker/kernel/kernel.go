// Package kernel routes messages, keeps them in logs and remembers who has seen
// them. It knows no wire protocol.
package kernel

// Kernel is one node's kernel.
type Kernel struct{}

// Session is a client's session; see session.go.
type Session struct{}

// Attachment is one consumer of one queue; see queue.go.
type Attachment struct{}
