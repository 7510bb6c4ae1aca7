package mqtt

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// The $SYS tree tells whoever may subscribe to it how the node stands: the topics of Mosquitto
// under $SYS/broker, those of EMQX under $SYS/brokers. What a client subscribes to it is sent at
// once, as retained, and again when it changes, looked at once in the option mqtt.sys-interval; always
// at QoS 0. Nothing of it is stored or crosses to other nodes, and nothing is computed that nobody is
// subscribed to.

// sysRoot is the first level of the tree. Only the server publishes there.
const sysRoot = "$SYS"

// sys publishes the tree.
type sys struct {
	server *Server
	k      *kernel.Kernel
	node   string // in EMQX's topics

	mu       sync.Mutex
	over     bool
	interval time.Duration     // 0: no tree
	timer    clock.Timer       // nil: no tree, or over
	last     map[string]string // what was published, by topic
	loads    []load
	most     int64 // clients connected at once
	heap     uint64
}

// load is a count a minute, averaged over one, five and fifteen minutes with exponential weights.
type load struct {
	name  string
	count func() uint64
	seen  uint64
	avg   [3]float64
}

var loadMinutes = [3]float64{1, 5, 15}

func newSys(s *Server) *sys {
	y := &sys{server: s, k: s.cfg.Kernel, last: make(map[string]string)}
	if y.k == nil {
		return y
	}
	y.node = sysNode(y.k.Self())
	st := &s.stats
	y.loads = []load{
		{name: "messages/received", count: st.PacketsIn.Load},
		{name: "publish/received", count: st.MessagesIn.Load},
		{name: "publish/sent", count: st.MessagesOut.Load},
		{name: "publish/dropped", count: st.Dropped},
		{name: "bytes/received", count: st.BytesIn.Load},
		{name: "connections", count: st.Connects.Load},
		{name: "sockets", count: func() uint64 { return st.Connects.Load() + st.Refused.Load() }},
	}
	y.pace()
	return y
}

// pace has the tree looked at as often as the settings say by now.
func (y *sys) pace() {
	y.mu.Lock()
	defer y.mu.Unlock()
	interval := y.server.cfg.Options.Load().SysInterval
	if y.k == nil || y.over || interval == y.interval {
		return
	}
	if y.timer != nil {
		y.timer.Stop()
		y.timer = nil
	}
	if y.interval = interval; interval > 0 {
		y.timer = y.server.cfg.Link.AfterFunc(interval, y.tick)
	}
}

func sysNode(id uint64) string { return fmt.Sprintf("rmq@%d", id) }

func (y *sys) stop() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.over = true
	if y.timer != nil {
		y.timer.Stop()
		y.timer = nil
	}
}

// tick looks at everything again.
func (y *sys) tick() {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.timer == nil {
		return
	}
	y.observe()
	y.tellLocked(y.look().topics())
	y.timer = y.server.cfg.Link.AfterFunc(y.interval, y.tick)
}

// bridges tells of the bridges at once: who waits for one is not to wait for a tick too.
func (y *sys) bridges() {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.timer != nil {
		y.tellLocked(y.bridgeTopics())
	}
}

// bridgeTopics are Mosquitto's, of each bridge: whether it is connected.
func (y *sys) bridgeTopics() (topics []sysTopic) {
	if each := y.server.cfg.Bridges; each != nil {
		each(func(name string, connected bool) {
			state := "0"
			if connected {
				state = "1"
			}
			topics = append(topics, sysTopic{"$SYS/broker/connection/" + name + "/state", func() string { return state }})
		})
	}
	return topics
}

// ofBridge tells whether a topic under $SYS is that of a bridge of another broker's, which tells there
// whether it is connected, as Mosquitto's do in their wills too.
func (y *sys) ofBridge(topic string) bool {
	name, is := strings.CutPrefix(topic, "$SYS/broker/connection/")
	name, ends := strings.CutSuffix(name, "/state")
	if !is || !ends || name == "" || strings.Contains(name, "/") {
		return false
	}
	for _, own := range y.bridgeTopics() {
		if own.name == topic {
			return false
		}
	}
	return true
}

// tellLocked publishes the topics whose value has changed, if anybody wants them. Caller holds y.mu.
func (y *sys) tellLocked(topics []sysTopic) {
	for _, t := range topics {
		if !y.k.Wanted(y.server.cfg.Namespace, t.name) {
			delete(y.last, t.name)
			continue
		}
		if v := t.value(); y.last[t.name] != v {
			y.last[t.name] = v
			y.publish(t.name, v)
		}
	}
}

// observe takes what is counted over time.
func (y *sys) observe() {
	y.most = max(y.most, y.server.stats.Connections.Load())
	minutes := y.interval.Minutes()
	for i := range y.loads {
		l := &y.loads[i]
		n := l.count()
		rate := float64(n-l.seen) / minutes
		l.seen = n
		for j, m := range loadMinutes {
			keep := math.Exp(-minutes / m)
			l.avg[j] = keep*l.avg[j] + (1-keep)*rate
		}
	}
}

func (y *sys) publish(topic, value string) {
	_ = y.k.Publish(&kernel.Publish{
		Namespace: y.server.cfg.Namespace, Here: true,
		Msg: message.Message{Source: message.MQTT, Address: topic, Value: []byte(value)},
	}) // at QoS 0 nothing is refused
}

// came and went tell of one client, as EMQX does.
func (y *sys) came(c *conn) {
	y.tell(c, "connected", func() any {
		return struct {
			ClientID  string `json:"clientid"`
			User      string `json:"username,omitempty"`
			Address   string `json:"ipaddress"`
			Protocol  string `json:"proto_name"`
			Version   byte   `json:"proto_ver"`
			KeepAlive int    `json:"keepalive"` // seconds after which a silent client is cut off
			Expiry    uint32 `json:"expiry_interval"`
			At        int64  `json:"connected_at"` // ms
		}{c.clientID, c.user, c.nc.RemoteAddr().String(), "MQTT", byte(c.version), int(c.patience().Seconds()), c.expiry, y.now()}
	})
}

func (y *sys) went(c *conn, err error) {
	reason := "normal"
	if why := c.why.Load(); why != 0 {
		reason = mqttwire.Reason(why).String()
	} else if err != nil {
		reason = "tcp_closed"
	}
	y.tell(c, "disconnected", func() any {
		return struct {
			ClientID string `json:"clientid"`
			User     string `json:"username,omitempty"`
			Reason   string `json:"reason"`
			At       int64  `json:"disconnected_at"` // ms
		}{c.clientID, c.user, reason, y.now()}
	})
}

func (y *sys) now() int64 { return y.server.cfg.Clock.Now().UnixMilli() }

func (y *sys) tell(c *conn, event string, what func() any) {
	if y.node == "" || y.server.cfg.Options.Load().SysInterval == 0 || strings.ContainsAny(c.clientID, "/+#") { // not one level
		return
	}
	topic := "$SYS/brokers/" + y.node + "/clients/" + c.clientID + "/" + event
	if !y.k.Wanted(y.server.cfg.Namespace, topic) {
		return
	}
	if b, err := json.Marshal(what()); err == nil {
		y.publish(topic, string(b))
	}
}

// show sends a client what there is of the tree now, as retained messages.
func (y *sys) show(c *conn, sub *kernel.Subscription) {
	y.mu.Lock()
	if y.timer == nil {
		y.mu.Unlock()
		return
	}
	y.most = max(y.most, y.server.stats.Connections.Load())
	now := y.look()
	var all []message.Message
	for _, t := range now.topics() {
		if route.MatchFilter(sub.Filter, t.name) {
			v := t.value()
			y.last[t.name] = v
			all = append(all, message.Message{Source: message.MQTT, Address: t.name, Value: []byte(v)})
		}
	}
	y.mu.Unlock()
	d := kernel.Delivery{Retain: true}
	if sub.ID != 0 {
		d.SubIDs = []uint32{sub.ID}
	}
	for i := range all {
		d.Msg = &all[i]
		c.Deliver(&d)
	}
}

// sysTopic is one topic of the tree.
type sysTopic struct {
	name  string
	value func() string
}

// sysLook is one look at the node. What costs something is asked once, and only if a topic
// needs it.
type sysLook struct {
	y      *sys
	counts func() kernel.Counts
	heap   func() uint64
}

func (y *sys) look() *sysLook {
	return &sysLook{
		y: y, counts: sync.OnceValue(y.k.Counts),
		heap: sync.OnceValue(func() uint64 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			y.heap = max(y.heap, m.HeapAlloc)
			return m.HeapAlloc
		}),
	}
}

func (l *sysLook) topics() []sysTopic {
	y, s, cfg := l.y, &l.y.server.stats, &l.y.server.cfg
	up := func() time.Duration { return cfg.Link.Now().Sub(y.server.since).Truncate(time.Second) }
	num := func(f func() int) func() string { return func() string { return strconv.Itoa(f()) } }
	count := func(f func() uint64) func() string { return func() string { return strconv.FormatUint(f(), 10) } }
	connected := func() int { return int(s.Connections.Load()) }
	sessions := func() int { return l.counts().Sessions }
	away := func() int { return max(l.counts().Sessions-l.counts().Connected, 0) }
	subscriptions := func() int { return l.counts().Subscriptions }
	retained := func() int { return l.counts().Retained }
	most := func() int { return int(y.most) }
	text := func(s string) func() string { return func() string { return s } }

	topics := []sysTopic{
		{"$SYS/broker/version", text("rmq version " + cfg.Version)},
		{"$SYS/broker/uptime", func() string { return fmt.Sprintf("%d seconds", int64(up().Seconds())) }},
		{"$SYS/broker/clients/total", num(sessions)},
		{"$SYS/broker/clients/connected", num(connected)},
		{"$SYS/broker/clients/active", num(connected)},
		{"$SYS/broker/clients/disconnected", num(away)},
		{"$SYS/broker/clients/inactive", num(away)},
		{"$SYS/broker/clients/maximum", num(most)},
		{"$SYS/broker/messages/received", count(s.PacketsIn.Load)},
		{"$SYS/broker/publish/messages/received", count(s.MessagesIn.Load)},
		{"$SYS/broker/publish/messages/sent", count(s.MessagesOut.Load)},
		{"$SYS/broker/publish/messages/dropped", count(s.Dropped)},
		{"$SYS/broker/publish/bytes/sent", count(s.BytesOut.Load)},
		{"$SYS/broker/bytes/received", count(s.BytesIn.Load)},
		{"$SYS/broker/retained messages/count", num(retained)},
		{"$SYS/broker/subscriptions/count", num(subscriptions)},
		{"$SYS/broker/heap/current", count(l.heap)},
		{"$SYS/broker/heap/maximum", func() string { l.heap(); return strconv.FormatUint(y.heap, 10) }},
	}
	for i := range y.loads {
		for j, m := range loadMinutes {
			topics = append(topics, sysTopic{
				fmt.Sprintf("$SYS/broker/load/%s/%gmin", y.loads[i].name, m),
				func() string { return strconv.FormatFloat(y.loads[i].avg[j], 'f', 2, 64) },
			})
		}
	}
	topics = append(topics, y.bridgeTopics()...)
	node := "$SYS/brokers/" + y.node
	return append(topics, []sysTopic{
		{"$SYS/brokers", func() string { return strings.Join(y.nodes(), ",") }},
		{node + "/version", text(cfg.Version)},
		{node + "/sysdescr", text("rmq")},
		{node + "/uptime", func() string { return up().String() }},
		{node + "/datetime", func() string { return cfg.Clock.Now().Format(time.RFC3339) }},
		{node + "/stats/connections/count", num(connected)},
		{node + "/stats/connections/max", num(most)},
		{node + "/stats/sessions/count", num(sessions)},
		{node + "/stats/subscriptions/count", num(subscriptions)},
		{node + "/stats/retained/count", num(retained)},
		{node + "/metrics/bytes/received", count(s.BytesIn.Load)},
		{node + "/metrics/packets/received", count(s.PacketsIn.Load)},
		{node + "/metrics/messages/received", count(s.MessagesIn.Load)},
		{node + "/metrics/messages/sent", count(s.MessagesOut.Load)},
		{node + "/metrics/messages/dropped", count(s.Dropped)},
		{node + "/metrics/client/connected", count(s.Connects.Load)},
	}...)
}

// nodes are the names of all nodes of the cluster.
func (y *sys) nodes() []string {
	var names []string
	for _, n := range y.k.Nodes() {
		names = append(names, sysNode(n.ID))
	}
	if len(names) == 0 { // it is alone
		names = append(names, y.node)
	}
	return names
}
