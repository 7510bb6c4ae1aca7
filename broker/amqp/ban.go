package amqp

import (
	"maps"
	"slices"

	"github.com/robustmq/rmq/broker/amqpwire"
)

// Changed has the server follow what bans say by now.
func (s *Server) Changed() {
	if s.cfg.Auth.Bans() == nil {
		return
	}
	for _, c := range s.snapshot() {
		if c.info.Load() != nil {
			c.enforce()
		}
	}
}

func (c *conn) enforce() {
	bans := c.s.cfg.Auth.Bans()
	if bans == nil {
		return
	}
	if ban := bans.Find(&c.subject, c.s.k.Clock().Now()); ban != nil {
		c.abort(failf(amqpwire.ConnectionForced, "%s", ban.Error()))
	}
}

// snapshot returns the connections there are, in no order.
func (s *Server) snapshot() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}
