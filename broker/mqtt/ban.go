package mqtt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/wire"
)

// A client that is banned is refused with 0x8A. One that is there when the ban comes is ended with
// 0x98, for 0x8A stands in no DISCONNECT (MQTT 5 section 3.14.2.1).

// Changed has the server follow what bans and settings say by now.
func (s *Server) Changed() {
	s.sys.pace()
	s.timing()
	s.sys.bridges()
	if s.cfg.Auth.Bans() == nil {
		return
	}
	for _, c := range s.snapshot() {
		if c.connected.Load() {
			c.enforce()
		}
	}
}

func (c *conn) enforce() {
	bans := c.server.cfg.Auth.Bans()
	if bans == nil {
		return
	}
	l := auth.NewLogin("mqtt", wire.PeerOf(c.nc))
	l.User, l.Client = c.user, c.clientID
	s := l.Subject()
	if ban := bans.Find(&s, c.server.cfg.Clock.Now()); ban != nil {
		c.end(mqttwire.AdministrativeAction, ban.Error())
	}
}

// snapshot returns the connections there are, in no order.
func (s *Server) snapshot() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}

const (
	// flapsMax bounds the client ids whose connections are counted at once; beyond it, any of them
	// makes room.
	flapsMax = 1 << 16
	// flapBansMax bounds the bans on their way into log 0; more are given up: the client comes again.
	flapBansMax = 64
	// flapBanTimeout is how long one may take.
	flapBanTimeout = 10 * time.Second
)

// flaps counts the connections of clients that end, while anybody wants to know.
type flaps struct {
	mu      sync.Mutex
	counted map[string]flap // guarded by mu
	banning int             // guarded by mu
	over    bool            // guarded by mu
	all     sync.WaitGroup  // one for each of banning
}

// flap is how many connections of a client have ended since a time.
type flap struct {
	n     int
	since time.Time // link time
}

// left counts a connection that has ended, and bans its client when there are too many.
func (f *flaps) left(c *conn) {
	s := c.server
	v := s.cfg.Options.Load()
	if v.FlappingConnections == 0 || s.cfg.Ban == nil || mqttwire.Reason(c.why.Load()) == mqttwire.ServerShuttingDown {
		return
	}
	now := s.cfg.Link.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	x, known := f.counted[c.clientID]
	if !known || now.Sub(x.since) > v.FlappingWindow {
		if !known && len(f.counted) >= flapsMax {
			for id := range f.counted {
				delete(f.counted, id)
				break
			}
		}
		x = flap{since: now}
	}
	if x.n++; x.n < v.FlappingConnections {
		if f.counted == nil {
			f.counted = make(map[string]flap)
		}
		f.counted[c.clientID] = x
		return
	}
	delete(f.counted, c.clientID)
	if f.over || f.banning >= flapBansMax {
		return
	}
	at := s.cfg.Clock.Now()
	ban := acl.Ban{
		Client: c.clientID, By: acl.ByFlapping, Since: at.UTC(), Until: at.Add(v.FlappingBan).UTC(),
		Reason: fmt.Sprintf("%d connections in %v", x.n, now.Sub(x.since).Round(time.Millisecond)),
	}
	f.banning++
	f.all.Go(func() { f.ban(s, ban) }) // ends with the server's context at the latest
}

func (f *flaps) ban(s *Server, b acl.Ban) {
	ctx, cancel := context.WithTimeout(s.ctx, flapBanTimeout)
	defer cancel()
	if err := s.cfg.Ban(ctx, b); err != nil {
		s.cfg.Log.Warn("mqtt: a client that comes and goes too often is not banned", "client", b.Client, "err", err)
	} else {
		s.stats.Flapping.Add(1)
		s.cfg.Log.Info("mqtt: banned a client that comes and goes too often", "client", b.Client, "connections", b.Reason, "until", b.Until)
	}
	f.mu.Lock()
	f.banning--
	f.mu.Unlock()
}

// stop ends what is under way once s.ctx has ended.
func (f *flaps) stop() {
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	f.all.Wait()
}

// isBanned tells whether an error says that a client is banned.
func isBanned(err error) bool { return errors.Is(err, acl.ErrBanned) }
