//go:build !linux

package wire

import "syscall"

// Poller waits for many connections with one goroutine where the system has epoll. Here it waits for none, and
// connections wait each on a goroutine of its own.
type Poller struct{}

func (p *Poller) sleep(*Valve, syscall.RawConn, Sleeper) bool { return false }

func (p *Poller) take(uint64) Sleeper { return nil }

// Close ends the poller.
func (p *Poller) Close() {}
