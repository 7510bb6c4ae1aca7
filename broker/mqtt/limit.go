package mqtt

import (
	"cmp"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/internal/pace"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/option"
	"github.com/robustmq/rmq/broker/trace"
)

// What clients may take is a setting. Who publishes more than its rate is not read for a while, and not
// disconnected: what it sends waits with it, in order. No pause is so long that the client takes the
// broker for gone, or the broker the client; what would be due later than that is forgiven, and so a rate
// of less than one packet in that time is not kept. Connections beyond their limits are refused, for MQTT
// has no way to have them wait. A connection has memory for this once it has published while there is a
// limit.

// pauseMax bounds a pause, and how far ahead of its rate anybody gets. It is below the 10 s for which
// clients are known to wait for a PINGRESP.
const pauseMax = 5 * time.Second

// limits hold one connection to its rates.
type limits struct {
	messages, bytes pace.Pace     // of the reader
	user, listener  *shared       // nil: not limited yet
	name            string        // of the listener
	wake            chan struct{} // capacity 1: the connection has ended
}

// shared hold all connections of one user, or of one listener, on this node to their rates.
type shared struct {
	mu              sync.Mutex
	messages, bytes pace.Pace
	conns           int // that have it; guarded by rates.mu
}

// sharers are whose connections share: those of a user or a listener, by its name.
type sharers struct {
	listener bool
	name     string
}

// rates are those that are shared, each while there is a connection that is limited by it, and those of
// CONNECTs.
type rates struct {
	mu       sync.Mutex
	m        map[sharers]*shared
	connects map[sharers]*pace.Pace // at most connectsMax
}

// connectsMax bounds the users and listeners whose CONNECTs are counted at once; beyond it, any of them
// begins anew.
const connectsMax = 1 << 16

func (r *rates) join(by sharers) *shared {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.m[by]
	if l == nil {
		if r.m == nil {
			r.m = make(map[sharers]*shared)
		}
		l = new(shared)
		r.m[by] = l
	}
	l.conns++
	return l
}

func (r *rates) leave(by sharers, l *shared) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.conns--; l.conns == 0 {
		delete(r.m, by)
	}
}

// connect counts a CONNECT; false: there are too many.
func (r *rates) connect(by sharers, now time.Time, perSecond int) bool {
	if perSecond == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.connects[by]
	if p == nil {
		if r.connects == nil {
			r.connects = make(map[sharers]*pace.Pace)
		}
		if len(r.connects) >= connectsMax {
			for other := range r.connects {
				delete(r.connects, other)
				break
			}
		}
		p = new(pace.Pace)
		r.connects[by] = p
	}
	return p.Try(now, 1, perSecond)
}

// listenerOf is the name of a listener as quotas have it: its port, or the path of its socket.
func listenerOf(nc net.Conn) string {
	switch a := nc.LocalAddr().(type) {
	case *net.TCPAddr:
		return strconv.Itoa(a.Port)
	case *net.UDPAddr:
		return strconv.Itoa(a.Port)
	case nil:
		return ""
	default:
		return a.String()
	}
}

// pace has a client that has published a packet of size bytes wait, if that was too much.
func (c *conn) pace(size int) {
	v, q := c.server.cfg.Options.Load(), c.server.cfg.Quotas.Load()
	if !v.LimitsPublishing() && q == nil {
		return
	}
	l := c.limits.Load()
	if l == nil {
		l = &limits{wake: make(chan struct{}, 1), name: listenerOf(c.nc)}
		c.limits.Store(l)
	}
	now := c.server.cfg.Link.Now()
	most := c.pauseMost()
	wait := takeBoth(&l.messages, &l.bytes, now, size, v.ClientMessages, v.ClientBytes, most)
	if c.user != "" {
		x := q.User(c.user)
		messages, bytes := cmp.Or(x.Messages, v.UserMessages), cmp.Or(x.Bytes, v.UserBytes)
		wait = max(wait, c.server.rates.take(&l.user, sharers{name: c.user}, now, size, messages, bytes))
	}
	if x := q.Listener(l.name); x.Messages|x.Bytes != 0 {
		wait = max(wait, c.server.rates.take(&l.listener, sharers{true, l.name}, now, size, x.Messages, x.Bytes))
	}
	if wait = min(wait, most); wait > 0 { // what is shared may have others wait for longer
		c.pause(l, wait)
	}
}

// pauseMost is how long this client may not be read at once: a part of its keep alive, so that neither
// side's runs out meanwhile.
func (c *conn) pauseMost() time.Duration {
	if c.keepAlive == 0 {
		return pauseMax
	}
	return min(pauseMax, time.Duration(c.keepAlive)*time.Second/3)
}

// take takes a packet of what a connection shares with others, which it joins the first time.
func (r *rates) take(at **shared, by sharers, now time.Time, size, messages, bytes int) time.Duration {
	if messages|bytes == 0 {
		return 0
	}
	if *at == nil {
		*at = r.join(by)
	}
	l := *at
	l.mu.Lock()
	defer l.mu.Unlock()
	return takeBoth(&l.messages, &l.bytes, now, size, messages, bytes, pauseMax)
}

func takeBoth(messages, bytes *pace.Pace, now time.Time, size, perMessages, perBytes int, most time.Duration) (wait time.Duration) {
	if perMessages > 0 {
		wait = messages.TakeWithin(now, 1, perMessages, most)
	}
	if perBytes > 0 {
		wait = max(wait, bytes.TakeWithin(now, size, perBytes, most))
	}
	return wait
}

// pause does not read for a while, or until the connection has ended.
func (c *conn) pause(l *limits, wait time.Duration) {
	c.rest()
	c.server.stats.Slowed.Add(1)
	if c.server.cfg.Trace.On() {
		c.traceWhy(trace.Wait, "", "more is published than a rate allows: not read for "+wait.String())
	}
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

// unlimit gives back what a connection shares with others of its user and its listener.
func (c *conn) unlimit() {
	l := c.limits.Load()
	if l == nil {
		return
	}
	if l.user != nil {
		c.server.rates.leave(sharers{name: c.user}, l.user)
	}
	if l.listener != nil {
		c.server.rates.leave(sharers{true, l.name}, l.listener)
	}
}

// admission holds CONNECTs to their rate.
type admission struct {
	mu   sync.Mutex
	pace pace.Pace
}

// connectsTooFast tells whether the clients of a user connect more often than its quota says.
func (s *Server) connectsTooFast(user string) bool {
	q := s.cfg.Quotas.Load()
	return q != nil && user != "" && !s.rates.connect(sharers{name: user}, s.cfg.Link.Now(), q.User(user).Connections)
}

// crowded tells why one more client is not let in on a connection; false: it is.
func (s *Server) crowded(nc net.Conn) (mqttwire.Reason, bool) {
	v := s.cfg.Options.Load()
	if v.Connections > 0 && s.stats.Connections.Load() >= int64(v.Connections) {
		return mqttwire.QuotaExceeded, true
	}
	if q := s.cfg.Quotas.Load(); q != nil {
		name := listenerOf(nc)
		if !s.rates.connect(sharers{true, name}, s.cfg.Link.Now(), q.Listener(name).Connections) {
			return mqttwire.ConnectionRateExceeded, true
		}
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
