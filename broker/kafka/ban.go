package kafka

import (
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/wire"
)

// banned ends a connection whose user, or address, is banned, at its next request: a client of Kafka
// that is silent takes nothing. Who authenticates is looked at then, in any case.
func (c *conn) banned() error {
	a := c.srv.cfg.Authenticator
	if a == nil {
		return nil
	}
	bans := a.Bans()
	if bans == c.bans {
		return nil
	}
	c.bans = bans
	l := auth.NewLogin("kafka", wire.PeerOf(c.nc))
	l.User = c.sasl.identity
	s := l.Subject()
	if ban := bans.Find(&s, c.srv.cfg.Broker.Now()); ban != nil {
		return failf(Banned, "%w", ban)
	}
	return nil
}
