// Package broker puts the parts together: one storage engine, the groups and the kernel
// on it, the protocol servers on the kernel, and the listeners before those.
//
// It is the only package that knows all of them. The same Open makes the broker on a
// laptop, the one inside a Go test (package testkit) and the one in production; they
// differ in Config alone.
package broker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/admin"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/amqp"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/bridge"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/group"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/edge"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kafka"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/mqtt"
	"github.com/robustmq/rmq/broker/option"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/memlog"
	"github.com/robustmq/rmq/broker/storage/meta"
	"github.com/robustmq/rmq/broker/storage/snapshot"
	"github.com/robustmq/rmq/broker/trace"
	"github.com/robustmq/rmq/broker/vfs"
)

// Profiles choose defaults.
const (
	// Dev captures: traffic that has no stream gets one, bounded, so that what was just sent
	// over one protocol can be read over another.
	Dev = "dev"
	// Production keeps what was declared and nothing else.
	Production = "production"
)

// Standard ports of the protocols, the second ones over TLS.
const (
	PortMQTT, PortMQTTS                = 1883, 8883
	PortWebSocket, PortWebSocketSecure = 8083, 8084
	PortKafka, PortKafkaS              = 9092, 9093
	PortAMQP, PortAMQPS                = 5672, 5671
	PortHTTP, PortHTTPS                = 15672, 15671
)

// Ports say where each protocol listens: a port, 0 for a free one, None for not at all.
type Ports struct {
	MQTT, WebSocket, Kafka, AMQP, HTTP int
	// Over TLS; they count where Config has certificates.
	MQTTS, WebSocketSecure, KafkaS, AMQPS, HTTPS int
	// One serves every protocol, also over TLS where there are certificates. None: not opened.
	One int
}

// None opens no listener.
const None = -1

// StandardPorts are those that clients try first.
func StandardPorts() Ports {
	return Ports{
		MQTT: PortMQTT, WebSocket: PortWebSocket, Kafka: PortKafka, AMQP: PortAMQP, HTTP: PortHTTP,
		MQTTS: PortMQTTS, WebSocketSecure: PortWebSocketSecure, KafkaS: PortKafkaS, AMQPS: PortAMQPS, HTTPS: PortHTTPS, One: None,
	}
}

// AnyPorts are free ones, chosen by the system.
func AnyPorts() Ports { return Ports{One: None} }

// OnePort serves every protocol on one port.
func OnePort(port int) Ports {
	return Ports{
		MQTT: None, WebSocket: None, Kafka: None, AMQP: None, HTTP: None,
		MQTTS: None, WebSocketSecure: None, KafkaS: None, AMQPS: None, HTTPS: None, One: port,
	}
}

// Config says what to open.
type Config struct {
	DataDir string // "" keeps everything in memory
	Profile string // Dev or Production; "" is Dev
	Host    string // to listen on; "" is 127.0.0.1
	Ports   Ports
	// TLS is what clients are shown over TLS; nil: none is spoken.
	TLS *edge.TLSFiles
	// Listeners are opened besides those of Ports.
	Listeners []edge.Spec

	// Auth names who knows clients, besides the table of users.
	Auth auth.Config
	// AuthAgain reads Auth again: it is called now and then, and by Reload. nil: it does not change.
	AuthAgain func() (auth.Config, error)

	// KafkaAdvertise is where clients of Kafka are told to connect, as host or host:port, where they
	// cannot come to the address that the broker sees: behind a container's or a router's port. Without
	// a port it is the listener's. "": where each has come.
	KafkaAdvertise string

	// FirstUser is made, an administrator, where there is no user yet; "": nobody is.
	FirstUser, FirstPassword string

	// Hands are of the virtual clock that the broker goes by, and over its API they are moved; nil: it
	// goes by Time and Link.
	Hands *clock.Hands
	Time  clock.Clock // broker time; nil: the machine's
	Link  clock.Clock // link time; nil: the machine's
	Log   *slog.Logger

	// Durability of what is made and does not say its own: of the default namespace, at the first
	// start. "": what it has, and sync at first.
	Durability kernel.Durability

	// Chaos is what goes wrong from the start; more can be added while the broker runs. Fired is told each time; nil: the
	// log is.
	Chaos chaos.Plan
	Fired func(chaos.Firing)

	// Workers drive the shards' logs; 0: one per processor, at most 4.
	Workers    int
	DataShards int
	// FS is the file system that DataDir is on, and Checkpoints the store of checkpoints there; nil: the machine's, and
	// a file on it.
	FS          vfs.FS
	Checkpoints func(path string) (filelog.CheckpointStore, error)
	// Engine replaces what DataDir chooses; the broker closes it.
	Engine storage.Engine
	// Snapshot, if set, opens what the broker begins with: a file of package storage/snapshot. It is read
	// twice. Where there is something already, the broker does not open.
	Snapshot func() (io.ReadCloser, error)
	// Load begins the broker anew, with what a snapshot holds, that was sent over the API: it closes this one, and opens
	// another. It returns before that, or an error where it does not. nil: whoever opened the broker does not.
	Load func(ctx context.Context, image *memlog.Image, c *snapshot.Contents) error
	// Loads is how often that was done, and LoadFailed why it was not the last time: this is what was there before.
	Loads      int
	LoadFailed string
	// Cluster names the nodes that this one is of; nil: it is alone.
	Cluster *Cluster
}

// Broker is a running broker.
type Broker struct {
	cfg     Config
	engine  storage.Engine
	host    *group.Host
	kernel  *kernel.Kernel
	auth    *auth.Auth
	mqtt    *mqtt.Server
	kafka   *kafka.Server
	amqp    *amqp.Server
	bridges *bridge.Bridges
	http    *edge.HTTPHandler
	certs   *edge.Certs
	edge    *edge.Server
	admin   *admin.Source
	urls    adminapi.URLs
	ports   Ports // as they are open
	started time.Time

	authFile  *authFile // nil: it does not change
	options   *option.Live
	trace     *trace.Tracer
	chaos     *chaos.Engine
	following following
	obeying   obeying

	leaveHands func() // nil: it has none

	stopping chan struct{} // closed when Close begins
	closing  sync.Once
	err      error
	done     chan struct{} // closed when somebody asked for the end: Shutdown over the API
	ask      sync.Once
}

// Open opens a broker: when it returns, every port accepts clients. The error says what
// to do about it where something can be done.
func Open(ctx context.Context, cfg Config) (_ *Broker, err error) {
	if cfg.Profile == "" {
		cfg.Profile = Dev
	}
	if cfg.Profile != Dev && cfg.Profile != Production {
		return nil, fault.New(fault.Invalid, "open", "profile", "%q is none of dev, production", cfg.Profile)
	}
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	if cfg.Hands != nil {
		cfg.Time, cfg.Link = cfg.Hands.Time(), cfg.Hands.Link()
	}
	if cfg.Time == nil {
		cfg.Time = clock.Wall{}
	}
	if cfg.Link == nil {
		cfg.Link = clock.Wall{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Workers == 0 {
		cfg.Workers = min(max(runtime.GOMAXPROCS(0), 1), 4)
	}
	b := &Broker{cfg: cfg, following: following{poke: make(chan struct{}, 1)}, obeying: obeying{poke: make(chan struct{}, 1)}, started: cfg.Time.Now(), done: make(chan struct{}), stopping: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close(ctx))
		}
	}()
	if cfg.Fired == nil {
		cfg.Fired = func(f chaos.Firing) { cfg.Log.Info("planned fault", "what", f.String()) }
	}
	b.chaos = chaos.New(cfg.Link, cfg.Fired)
	if err := b.chaos.Run(cfg.Chaos); err != nil {
		return nil, err
	}
	if err := b.openEngine(); err != nil {
		return nil, err
	}
	if err := b.openKernel(ctx); err != nil {
		if c := cfg.Cluster; c != nil && c.Member != nil && errors.Is(err, kernel.ErrRemoved) {
			err = errors.Join(err, c.Member.expelled())
		}
		return nil, err
	}
	if err := b.openServers(ctx); err != nil {
		return nil, err
	}
	if err := b.listen(ctx); err != nil {
		return nil, err
	}
	if b.cfg.Cluster != nil {
		if err := b.kernel.Announce(ctx, b.addresses()); err != nil {
			return nil, err
		}
		if net, ok := b.cfg.Cluster.Network.(interface {
			Answer(func(ctx context.Context, asked []byte) []byte)
		}); ok && b.cfg.Cluster.Member != nil {
			net.Answer(b.answer)
		}
	}
	b.edge.Start()
	if cfg.Hands != nil {
		b.leaveHands = cfg.Hands.Join(b)
	}
	return b, nil
}

// Works and Settle implement clock.Settler: time has passed only when what it set going has happened.
func (b *Broker) Works() uint64 { return b.kernel.Works() }

func (b *Broker) Settle(ctx context.Context) error {
	if err := errors.Join(b.mqtt.Settle(ctx), b.amqp.Settle(ctx)); err != nil {
		return err
	}
	return b.kernel.Settle(ctx)
}

func (b *Broker) openEngine() error {
	switch {
	case b.cfg.Engine != nil:
		b.engine = b.cfg.Engine
	case b.cfg.DataDir == "":
		b.engine = memlog.New()
	default:
		o := filelog.Options{FS: b.disk(), Checkpoints: b.cfg.Checkpoints}
		if o.Checkpoints == nil {
			o.Checkpoints = func(path string) (filelog.CheckpointStore, error) { return meta.Open(path) }
		}
		e, err := filelog.Open(b.cfg.DataDir, o)
		if err != nil {
			return err
		}
		b.engine = e
	}
	if b.cfg.Snapshot != nil {
		return b.install()
	}
	return nil
}

func (b *Broker) openKernel(ctx context.Context) (err error) {
	o := group.Options{Self: b.self(), Workers: b.cfg.Workers, Clock: b.cfg.Link, Seed: uint64(time.Now().UnixNano()), Logger: b.cfg.Log}
	at := Cluster{Self: b.self()}
	var peers kernel.Peers
	if c := b.cfg.Cluster; c != nil {
		at = *c
		o.Transport, peers = b.channel(channelGroups), b.channel(channelKernel)
		o.Urgent = b.channel(transport.ChanBeat)
	}
	b.host = group.NewHost(o)
	checkpoint := 0
	if !b.engine.Durable() {
		checkpoint = memoryCheckpoint
	}
	b.kernel, err = kernel.Open(kernel.Config{
		Engine: b.engine, Time: b.cfg.Time, Link: b.cfg.Link, Log: b.cfg.Log, DataShards: b.cfg.DataShards, Durability: b.cfg.Durability,
		Capture: b.cfg.Profile == Dev, CheckpointBytes: checkpoint, Self: at.Self, Voters: at.Voters,
		Replicas: at.Replicas, Rack: at.Rack, Peer: at.Peer, Forsake: at.Forsake, Peers: peers, Removed: b.askToEnd,
		NodesChanged: b.following.nodesChanged, ItemsChanged: b.obeying.itemsChanged,
		Bind: func(k *kernel.Kernel) { b.join(k) },
		OpenGroup: func(s kernel.GroupSpec) (kernel.Group, error) {
			g, err := b.host.Open(group.Config{
				Shard: s.Shard, Log: b.engine.Log(), Sync: s.Sync, Applied: s.Applied, AppliedTerm: s.AppliedTerm, Machine: s.Machine,
				Bind: func(g *group.Group) { s.Bind(g) }, EntriesMax: s.EntriesMax, BytesMax: s.BytesMax, Members: s.Members, Forsake: s.Forsake,
			})
			if err != nil || peers != nil { // who leads is none of our choosing
				return g, err
			}
			return g, g.Await(ctx)
		},
	})
	return err
}

// memoryCheckpoint is how often, in bytes applied, the memory engine is told to let go of
// its log.
const memoryCheckpoint = 8 << 20

// users keeps the table of users in log 0.
type users struct{ k *kernel.Kernel }

func (u users) User(name string) (auth.User, bool) {
	x, ok := u.k.User(name)
	out := auth.User{Name: x.Name, Hash: x.Hash, Tags: x.Tags}
	for _, s := range x.SCRAM {
		out.SCRAM = append(out.SCRAM, auth.SCRAM(s))
	}
	return out, ok
}
func (u users) UserCount() int { return u.k.UserCount() }
func (u users) PutUser(ctx context.Context, x auth.User) error {
	in := kernel.User{Name: x.Name, Hash: x.Hash, Tags: x.Tags}
	for _, s := range x.SCRAM {
		in.SCRAM = append(in.SCRAM, kernel.SCRAM(s))
	}
	return u.k.PutUser(ctx, in)
}
func (u users) DeleteUser(ctx context.Context, name string) error { return u.k.DeleteUser(ctx, name) }

func (u users) Rules() []acl.Rule                     { return u.k.Rules() }
func (u users) AccessVersions() (users, rules uint64) { return u.k.AccessVersions() }
func (u users) Bans() []acl.Ban                       { return u.k.Bans() }
func (u users) ItemsVersion() uint64                  { return u.k.ItemsVersion() }

func (b *Broker) openServers(ctx context.Context) (err error) {
	if b.auth, err = auth.New(users{b.kernel}, b.cfg.Auth, b.kernel.Clock()); err != nil {
		return err
	}
	a := b.auth
	if b.cfg.FirstUser != "" && b.kernel.UserCount() == 0 {
		if err := a.Put(ctx, b.cfg.FirstUser, &b.cfg.FirstPassword, []string{auth.Administrator}); err != nil {
			return err
		}
	}
	if b.cfg.AuthAgain != nil {
		b.authFile = followAuth(b.cfg.AuthAgain, b.cfg.Auth, a, b.cfg.Link, b.cfg.Log)
	}
	version, commit := admin.Build()
	cluster := b.kernel.Cluster()
	b.options = option.NewLive(b.kernel)
	b.trace = trace.New(b.self())
	quotas := setting.NewLiveQuotas(b.kernel)
	b.bridges = bridge.New(bridge.Config{Kernel: b.kernel, Clock: b.kernel.Clock(), Link: b.cfg.Link, Log: b.cfg.Log})
	b.mqtt = mqtt.New(mqtt.Config{
		Kernel: b.kernel, Version: version, Auth: a, Options: b.options, Quotas: quotas, Trace: b.trace, Chaos: b.chaos, Ban: b.kernel.PutBan, Bridges: b.bridges.Connected,
		Clock: b.kernel.Clock(), Link: b.cfg.Link, Log: b.cfg.Log,
	})
	b.kafka = kafka.New(kafka.Config{
		Kernel: b.kernel, ClusterID: cluster, NodeID: int32(b.self()), Authenticator: a, Users: a.Guards, Quotas: quotas, Trace: b.trace, Chaos: b.chaos,
		Broker: b.kernel.Clock(), Link: b.cfg.Link, ExactStreams: b.cfg.Profile == Production, LogDir: b.cfg.DataDir,
		Advertise: b.advertise,
	})
	b.amqp = amqp.New(amqp.Config{Kernel: b.kernel, Auth: a, Trace: b.trace, Chaos: b.chaos, Link: b.cfg.Link, Log: b.cfg.Log, Product: "rmq", Version: version, Cluster: cluster})

	b.admin = admin.New(admin.Config{
		Kernel: b.kernel, Auth: a, WAL: func() storage.LogStats { return b.engine.Log().Stats() }, Shards: b.shards, Hands: b.cfg.Hands, Clock: b.cfg.Time, Link: b.cfg.Link,
		Version: version, Commit: commit, Node: b.self(), Cluster: cluster, Profile: b.cfg.Profile, DataDir: b.cfg.DataDir, Started: b.started,
		URLs: b.URLs, Listeners: b.listeners, Traffic: b.traffic, Warnings: b.warnings, Clients: b.clientsOf, Bridges: b.bridges, CheckTopic: kafka.CheckTopicConfig, Slow: b.slow, Trace: b.trace, Chaos: b.chaos, Shutdown: b.askToEnd,
		Snapshot: func(ctx context.Context, w io.Writer) error { _, err := b.Snapshot(ctx, w); return err },
		Load:     b.load, Loads: b.cfg.Loads, LoadFailed: b.cfg.LoadFailed, Closing: b.stopping,
	})
	web := b.mqtt.WebSocket()
	mux := http.NewServeMux()
	mux.Handle("/mqtt", web)
	mux.Handle("/", admin.Handler(b.admin, a, b.cfg.Link))
	b.http = edge.NewHTTP(&http.Server{
		Handler: mux, ReadHeaderTimeout: headerWait, MaxHeaderBytes: headerMax, IdleTimeout: idleWait,
		ErrorLog: slog.NewLogLogger(b.cfg.Log.Handler(), slog.LevelDebug),
	})
	if b.cfg.TLS != nil {
		var err error
		if b.certs, err = edge.OpenCerts(*b.cfg.TLS, b.cfg.Link, b.cfg.Log); err != nil {
			return err
		}
	}
	b.obeying.begin(b.obey)
	b.edge = edge.New(edge.Config{
		Handlers: map[edge.Proto]edge.Handler{
			edge.MQTT:  b.mqtt,
			edge.Kafka: edge.HandlerFunc(func(c net.Conn) { _ = b.kafka.ServeConn(c) }), // counted by the server
			edge.AMQP:  edge.HandlerFunc(func(c net.Conn) { _ = b.amqp.ServeConn(c) }),
			edge.HTTP:  b.http,
		},
		Users: a.Guards, Certs: b.certs, Chaos: b.chaos, Link: b.cfg.Link, Log: b.cfg.Log,
	})
	return nil
}

// Bounds of a client of HTTP: the time for its headers, their bytes, and the time between
// two requests on one connection.
const (
	headerWait = 10 * time.Second
	headerMax  = 64 << 10
	idleWait   = 2 * time.Minute
)

// listen opens the listeners that Ports ask for, and the others.
func (b *Broker) listen(ctx context.Context) error {
	b.ports = b.cfg.Ports
	p := &b.ports
	for _, l := range []struct {
		proto edge.Proto
		tls   edge.Encryption
		port  *int
		url   *string
		form  [2]string // before and after host:port
	}{
		{edge.MQTT, edge.Plain, &p.MQTT, &b.urls.MQTT, [2]string{"mqtt://", ""}},
		{edge.Kafka, edge.Plain, &p.Kafka, &b.urls.Kafka, [2]string{"kafka://", ""}},
		{edge.AMQP, edge.Plain, &p.AMQP, &b.urls.AMQP, [2]string{"amqp://", ""}},
		{edge.HTTP, edge.Plain, &p.HTTP, &b.urls.HTTP, [2]string{"http://", ""}},
		{edge.HTTP, edge.Plain, &p.WebSocket, &b.urls.MQTTWS, [2]string{"ws://", "/mqtt"}},
		{edge.MQTT, edge.MustTLS, &p.MQTTS, &b.urls.MQTTS, [2]string{"mqtts://", ""}},
		{edge.Kafka, edge.MustTLS, &p.KafkaS, &b.urls.KafkaS, [2]string{"kafkas://", ""}},
		{edge.AMQP, edge.MustTLS, &p.AMQPS, &b.urls.AMQPS, [2]string{"amqps://", ""}},
		{edge.HTTP, edge.MustTLS, &p.HTTPS, &b.urls.HTTPS, [2]string{"https://", ""}},
		{edge.HTTP, edge.MustTLS, &p.WebSocketSecure, &b.urls.MQTTWSS, [2]string{"wss://", "/mqtt"}},
		{edge.Any, edge.MayTLS, &p.One, nil, [2]string{}},
	} {
		if *l.port < 0 || b.certs == nil && l.tls == edge.MustTLS {
			continue
		}
		if b.certs == nil {
			l.tls = edge.Plain
		}
		addr, err := b.edge.Listen(ctx, edge.Spec{Proto: l.proto, TLS: l.tls, Address: net.JoinHostPort(b.cfg.Host, strconv.Itoa(*l.port))})
		if err != nil {
			return err
		}
		if tcp, ok := addr.(*net.TCPAddr); ok {
			*l.port = tcp.Port
		}
		at := addr.String()
		if l.proto == edge.Kafka && b.cfg.KafkaAdvertise != "" {
			at = b.advertised(at)
		}
		if l.url != nil {
			*l.url = l.form[0] + at + l.form[1]
			continue
		}
		b.urls = adminapi.URLs{
			MQTT: "mqtt://" + at, MQTTWS: "ws://" + at + "/mqtt", Kafka: "kafka://" + at, AMQP: "amqp://" + at, HTTP: "http://" + at,
		}
		if b.certs != nil {
			b.urls.MQTTS, b.urls.MQTTWSS, b.urls.KafkaS = "mqtts://"+at, "wss://"+at+"/mqtt", "kafkas://"+at
			b.urls.AMQPS, b.urls.HTTPS = "amqps://"+at, "https://"+at
		}
	}
	for _, spec := range b.cfg.Listeners {
		if _, err := b.edge.Listen(ctx, spec); err != nil {
			return err
		}
	}
	return nil
}

// advertise tells a client of Kafka where this node is: where it has come, or, over a Unix
// socket, where others come.
func (b *Broker) advertise(local net.Addr) (host string, port int32) {
	at := local.String()
	switch {
	case b.cfg.KafkaAdvertise != "":
		at = b.advertised(at)
	case local.Network() == "unix":
		at = strings.TrimPrefix(b.urls.Kafka, "kafka://")
	}
	host, number, err := net.SplitHostPort(at)
	if err != nil {
		return at, 0
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return host, 0
	}
	return host, int32(n)
}

// advertised is KafkaAdvertise with a port: its own, or that of the address.
func (b *Broker) advertised(at string) string {
	if _, _, err := net.SplitHostPort(b.cfg.KafkaAdvertise); err == nil {
		return b.cfg.KafkaAdvertise
	}
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		port = strconv.Itoa(b.cfg.Ports.Kafka)
	}
	return net.JoinHostPort(b.cfg.KafkaAdvertise, port)
}

// listeners tells of those that are open, and of what is shown over TLS.
func (b *Broker) listeners() (all []adminapi.Listener, shown *adminapi.TLS) {
	for _, l := range b.edge.Listeners() {
		all = append(all, adminapi.Listener{URL: l.Spec.URL(l.Addr), Open: l.Open, Accepted: l.Accepted, Refused: l.Refused})
	}
	if b.certs == nil {
		return all, nil
	}
	st := b.certs.State()
	shown = &adminapi.TLS{Read: st.Read, Problem: st.Problem}
	for _, c := range st.Certs {
		shown.Certificates = append(shown.Certificates, adminapi.Certificate{File: c.File, Names: c.Names, Until: c.Until})
	}
	return all, shown
}

// Reload reads again what is on disk and may change: certificates, authorities of clients, and who
// knows clients. They are read by themselves too, a few seconds after they have changed.
func (b *Broker) Reload() error {
	var errs []error
	if b.certs != nil {
		errs = append(errs, b.certs.Reload())
	}
	if b.authFile != nil {
		errs = append(errs, b.authFile.reload(true))
	}
	return errors.Join(errs...)
}

// warnings are those of what was to be read again.
func (b *Broker) warnings() []string {
	if b.authFile != nil {
		if w := b.authFile.warning(); w != "" {
			return []string{w}
		}
	}
	return nil
}

// Ports are those that the broker has, none of them 0: another that is opened with them is found where this one was.
func (b *Broker) Ports() Ports { return b.ports }

// URLs are where clients connect.
func (b *Broker) URLs() adminapi.URLs { return b.urls }

// Auth is who there is and what they may do, for tests that make users.
func (b *Broker) Auth() *auth.Auth { return b.auth }

// Chaos is what goes wrong here by plan.
func (b *Broker) Chaos() *chaos.Engine { return b.chaos }

// Kernel is the broker's kernel, for tests that look inside.
func (b *Broker) Kernel() *kernel.Kernel { return b.kernel }

// Admin is what the broker's administration API asks, for tests that ask without a client.
func (b *Broker) Admin() adminapi.Source { return b.admin }

// Connections lists the connections of AMQP.
func (b *Broker) Connections() []amqp.ConnInfo { return b.amqp.Connections() }

// Clients lists the clients of MQTT that are connected.
func (b *Broker) Clients() []mqtt.Client { return b.mqtt.Clients() }

// Done is closed when somebody asked the broker over its API to end. Whoever opened the
// broker closes it then.
func (b *Broker) Done() <-chan struct{} { return b.done }

func (b *Broker) askToEnd() { b.ask.Do(func() { close(b.done) }) }

// Err is the error that stopped a part of the broker, or nil.
func (b *Broker) Err() error { return b.kernel.Err() }

// Close ends the broker: no new clients, then goodbye to those there are, then kernel,
// groups and storage. It may be called twice. ctx bounds the waiting; what has not
// ended by then is cut off.
func (b *Broker) Close(ctx context.Context) error {
	b.closing.Do(func() {
		close(b.stopping)
		b.chaos.Close()
		var errs []error
		add := func(err error) { errs = append(errs, err) }
		if b.leaveHands != nil {
			b.leaveHands()
		}
		if b.edge != nil {
			b.edge.StopListening()
		}
		b.obeying.stop()
		if b.kernel != nil {
			b.kernel.Leave()
		}
		if b.bridges != nil {
			add(b.bridges.Close(ctx))
		}
		if b.mqtt != nil {
			add(b.mqtt.Close(ctx))
		}
		if b.kafka != nil {
			add(b.kafka.Close(ctx))
		}
		if b.amqp != nil {
			add(b.amqp.Close(ctx))
		}
		if b.http != nil {
			add(b.http.Close(ctx))
		}
		if b.edge != nil {
			add(b.edge.Close(ctx))
		}
		if b.certs != nil {
			b.certs.Close()
		}
		if b.authFile != nil {
			b.authFile.stop()
		}
		if b.cfg.Cluster != nil {
			b.cfg.Cluster.Network.Leave()
		}
		b.following.stop()
		if b.kernel != nil {
			add(b.kernel.Close(ctx))
		}
		if b.host != nil {
			add(b.host.Close(ctx))
		}
		if b.engine != nil {
			add(b.engine.Close())
		}
		b.err = errors.Join(errs...)
	})
	return b.err
}
