package mqtt

import (
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/internal/pace"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/option"
)

// What clients may take is a setting. Who publishes more than its rate is not read for a while, and not
// disconnected: what it sends waits with it, in order. Keep alive does not count meanwhile. Connections
// beyond their limits are refused, for MQTT has no way to have them wait. A connection has memory for
// this once it has published while there is a limit.

// limits hold one connection to its rates.
type limits struct {
	messages, bytes pace.Pace     // of the reader
	user            *userLimits   // nil: not limited yet
	wake            chan struct{} // capacity 1: the connection has ended
}

// userLimits hold all connections of one user on this node to their rates.
type userLimits struct {
	mu              sync.Mutex
	messages, bytes pace.Pace
	conns           int // that have it; guarded by usersLimited.mu
}

// usersLimited are the users whose connections are limited, each while there is such a connection.
type usersLimited struct {
	mu sync.Mutex
	m  map[string]*userLimits
}

func (u *usersLimited) join(user string) *userLimits {
	u.mu.Lock()
	defer u.mu.Unlock()
	l := u.m[user]
	if l == nil {
		if u.m == nil {
			u.m = make(map[string]*userLimits)
		}
		l = new(userLimits)
		u.m[user] = l
	}
	l.conns++
	return l
}

func (u *usersLimited) leave(user string, l *userLimits) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if l.conns--; l.conns == 0 {
		delete(u.m, user)
	}
}

// pace has a client that has published a packet of size bytes wait, if that was too much.
func (c *conn) pace(size int) {
	v := c.server.cfg.Options.Load()
	if !v.LimitsPublishing() {
		return
	}
	l := c.limits.Load()
	if l == nil {
		l = &limits{wake: make(chan struct{}, 1)}
		c.limits.Store(l)
	}
	now := c.server.cfg.Link.Now()
	wait := takeBoth(&l.messages, &l.bytes, now, size, v.ClientMessages, v.ClientBytes)
	if c.user != "" && (v.UserMessages > 0 || v.UserBytes > 0) {
		if l.user == nil {
			l.user = c.server.users.join(c.user)
		}
		l.user.mu.Lock()
		wait = max(wait, takeBoth(&l.user.messages, &l.user.bytes, now, size, v.UserMessages, v.UserBytes))
		l.user.mu.Unlock()
	}
	if wait > 0 {
		c.pause(l, now, wait)
	}
}

func takeBoth(messages, bytes *pace.Pace, now time.Time, size, perMessages, perBytes int) (wait time.Duration) {
	if perMessages > 0 {
		wait = messages.Take(now, 1, perMessages)
	}
	if perBytes > 0 {
		wait = max(wait, bytes.Take(now, size, perBytes))
	}
	return wait
}

// pause does not read for a while, or until the connection has ended.
func (c *conn) pause(l *limits, now time.Time, wait time.Duration) {
	c.rest()
	c.server.stats.Slowed.Add(1)
	c.lastIn.Store(now.Add(wait).UnixNano()) // it is not the client's silence
	over := make(chan struct{})
	timer := c.server.cfg.Link.AfterFunc(wait, func() { close(over) })
	defer timer.Stop()
	if c.ended.Load() {
		return
	}
	select {
	case <-over:
	case <-l.wake:
	case <-c.server.ctx.Done():
	}
}

// resume ends a pause: the connection has ended.
func (c *conn) resume() {
	if l := c.limits.Load(); l != nil {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// unlimit gives back what a connection shares with others of its user.
func (c *conn) unlimit() {
	if l := c.limits.Load(); l != nil && l.user != nil {
		c.server.users.leave(c.user, l.user)
	}
}

// admission holds CONNECTs to their rate.
type admission struct {
	mu   sync.Mutex
	pace pace.Pace
}

// crowded tells why one more client is not let in; false: it is.
func (s *Server) crowded() (mqttwire.Reason, bool) {
	v := s.cfg.Options.Load()
	if v.Connections > 0 && s.stats.Connections.Load() >= int64(v.Connections) {
		return mqttwire.QuotaExceeded, true
	}
	if v.ConnectionRate == 0 {
		return 0, false
	}
	s.admission.mu.Lock()
	defer s.admission.mu.Unlock()
	return mqttwire.ConnectionRateExceeded, !s.admission.pace.Try(s.cfg.Link.Now(), 1, v.ConnectionRate)
}

// subscribed are the filters that a client has, while their number has a limit; nil otherwise.
func (c *conn) subscribed(v *option.Values) map[string]struct{} {
	if v.Subscriptions == 0 || c.server.cfg.Kernel == nil {
		return nil
	}
	info, _ := c.server.cfg.Kernel.SessionInfo(c.server.cfg.Namespace, c.clientID)
	have := make(map[string]struct{}, len(info.Subscriptions))
	for i := range info.Subscriptions {
		have[info.Subscriptions[i].Filter] = struct{}{}
	}
	return have
}
