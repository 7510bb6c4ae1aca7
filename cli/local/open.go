package local

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/edge"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/cli/env"
)

// clusterName is what nodes of any cluster say to each other: its token tells them apart.
const clusterName = "rmq"

// memberFile is in the data directory of a node of a cluster.
const memberFile = filelog.NodeFile

// OpenBroker starts the broker of this program.
func OpenBroker(ctx context.Context, c Config) (Broker, error) {
	ports := broker.Ports{
		MQTT: c.MQTT, WebSocket: c.MQTTWS, Kafka: c.Kafka, AMQP: c.AMQP, HTTP: c.HTTP,
		MQTTS: c.MQTTS, WebSocketSecure: c.MQTTWSS, KafkaS: c.KafkaS, AMQPS: c.AMQPS, HTTPS: c.HTTPS, One: broker.None,
	}
	if c.Port != 0 {
		ports = broker.OnePort(c.Port)
	}
	cfg := broker.Config{DataDir: c.DataDir, Profile: c.Profile, Host: c.Host, Ports: ports, Durability: kernel.Durability(c.Durability), KafkaAdvertise: c.KafkaAdvertise, FirstUser: c.FirstUser, FirstPassword: c.FirstPassword, Hands: c.Hands, Log: c.Log}
	if c.Snapshot != "" {
		cfg.Snapshot = func() (io.ReadCloser, error) { return os.Open(c.Snapshot) }
	}
	if err := c.Edge.open(&cfg); err != nil {
		return nil, err
	}
	var net *transport.TCP
	var err error
	if c.Auth != "" {
		cfg.AuthAgain = func() (auth.Config, error) { return readAuth(c.Auth) }
	}
	if cfg.Auth, err = readAuth(c.Auth); err != nil {
		return nil, err
	}
	if c.Chaos != "" {
		text, err := os.ReadFile(c.Chaos)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, env.Failf(env.NotFound, "--chaos: %v", err)
		}
		if err == nil {
			cfg.Chaos, err = chaos.Parse(text)
		}
		if err != nil {
			return nil, fmt.Errorf("--chaos %s: %w", c.Chaos, err)
		}
	}
	if cl := c.Cluster; cl != nil {
		if cl.Hub != nil {
			cfg.Cluster = &broker.Cluster{Self: cl.Self, Voters: slices.Sorted(maps.Keys(cl.Peers)), Network: cl.Hub.Node(cl.Self)}
		} else {
			if cfg.Cluster, net, err = enter(ctx, c); err != nil {
				return nil, err
			}
		}
	}
	if cfg.DataDir == "" && cfg.Cluster == nil {
		l, err := openLoadable(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return l, nil
	}
	announcing, stop := context.WithCancel(ctx)
	var told sync.WaitGroup
	if net != nil {
		told.Go(func() { cfg.Cluster.Member.Announce(announcing, c.transport()) })
	}
	b, err := broker.Open(ctx, cfg)
	stop()
	told.Wait()
	switch {
	case errors.Is(err, kernel.ErrRemoved) && net != nil:
		return nil, errors.Join(removed(c.DataDir, cfg.Cluster.Member), net.Close(ctx))
	case err != nil && net != nil:
		return nil, errors.Join(err, net.Close(ctx))
	case err != nil:
		return nil, err
	case net != nil:
		return &joined{b, net}, nil
	}
	return b, nil
}

// open makes a broker's configuration of what is between clients and protocols.
func (e *Edge) open(cfg *broker.Config) error {
	if e == nil {
		return nil
	}
	for _, l := range e.Listeners {
		spec, err := edge.ParseSpec(l)
		if err != nil {
			return err
		}
		cfg.Listeners = append(cfg.Listeners, spec)
	}
	if !e.secure() {
		return nil
	}
	cfg.TLS = &edge.TLSFiles{
		Authorities: e.CA, MinVersion: map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[e.Min],
		Clients: map[string]edge.ClientCert{"none": edge.ClientCertNone, "optional": edge.ClientCertOptional, "required": edge.ClientCertRequired}[e.Client],
	}
	for i := range e.Certs {
		cfg.TLS.Pairs = append(cfg.TLS.Pairs, edge.Pair{Certificate: e.Certs[i], Key: e.Keys[i]})
	}
	return nil
}

// joined is a broker with the connections to its peers.
type joined struct {
	*broker.Broker
	net *transport.TCP
}

func (j *joined) Close(ctx context.Context) error {
	return errors.Join(j.Broker.Close(ctx), j.net.Close(ctx))
}

// transport is how this node speaks with others, whoever it is.
func (c *Config) transport() transport.TCPConfig {
	return transport.TCPConfig{Cluster: clusterName, Token: c.Cluster.Token, TLS: c.TLS, Log: c.Log}
}

// enter has a node listen for those of its cluster, as one of them.
func enter(ctx context.Context, c Config) (*broker.Cluster, *transport.TCP, error) {
	cl := c.Cluster
	t := c.transport()
	m, known, err := broker.ReadMember(c.DataDir)
	switch {
	case err != nil:
		return nil, nil, err
	case known && m.Removed():
		return nil, nil, removed(c.DataDir, m)
	case known && cl.Self != 0 && cl.Self != m.Self():
		return nil, nil, fault.New(fault.Conflict, "open", c.DataDir, "it is of node %d, not of node %d", m.Self(), cl.Self)
	case known && cl.Join != "":
		err := m.OfCluster(ctx, t, cl.Join)
		if fault.Is(err, fault.Unavailable) { // all of it may be starting again, one after another
			c.Log.Warn("nobody tells whether that is this node's cluster", "addr", cl.Join, "err", err)
		} else if err != nil {
			return nil, nil, err
		}
	case !known && cl.Join != "":
		if err := broker.Vacant(c.DataDir); err != nil { // before the cluster has a node that comes to nothing
			return nil, nil, err
		}
		if t.Listener, err = listenFor(cl.Listen, cl.Join); err != nil {
			return nil, nil, err
		}
		if m, err = broker.Join(ctx, t, cl.Join, kernel.NodeSpec{Peer: named(cl.Listen, t.Listener), Rack: cl.Rack}); err == nil {
			err = m.Keep(c.DataDir)
		}
		if err != nil {
			return nil, nil, errors.Join(err, t.Listener.Close())
		}
	case !known:
		m = broker.NewMember(c.DataDir, cl.Self, cl.Peers)
	}
	m.Give(cl.Peers)
	if cl.Forsake {
		if err := gone(ctx, t, m); err != nil {
			return nil, nil, err
		}
	}
	if known && cl.Listen != "" {
		m.Move(cl.Listen)
	}
	t.Self, t.Peers = m.Self(), m.Nodes()
	t.Addr = t.Peers[t.Self]
	net, err := transport.Listen(t)
	if err != nil {
		return nil, nil, err
	}
	if at := named(t.Addr, net); at != t.Addr {
		m.Move(at) // it had asked for any port
	}
	return &broker.Cluster{
		Self: t.Self, Voters: m.Began(), Peer: m.Nodes()[t.Self], Rack: m.Rack(cl.Rack), Member: m, Network: broker.OverTCP(net),
		Forsake: cl.Forsake,
	}, net, nil
}

// removed is why a node cannot start that was removed from its cluster.
func removed(dir string, m *broker.Member) error {
	return fault.New(fault.Conflict, "open", dir, "it is of node %d, which was removed from its cluster", m.Self())
}

// gone makes sure that no other node answers: one that does would make a second cluster of the same data.
func gone(ctx context.Context, t transport.TCPConfig, m *broker.Member) error {
	for id, addr := range m.Nodes() {
		if id == m.Self() {
			continue
		}
		if err := m.OfCluster(ctx, t, addr); !fault.Is(err, fault.Unavailable) {
			return fault.New(fault.Conflict, "forsake", addr, "node %d answers there: it is not gone", id)
		}
	}
	return nil
}

// listenFor listens for the nodes of a cluster, where they find this machine: on the address by
// which it finds one of them, if none is given.
func listenFor(addr, cluster string) (net.Listener, error) {
	if addr == "" {
		way, err := net.Dial("udp", cluster) // nothing is sent
		if err != nil {
			return nil, fault.New(fault.Unavailable, "join", cluster, "%w", err)
		}
		host, _, err := net.SplitHostPort(way.LocalAddr().String())
		if err := errors.Join(err, way.Close()); err != nil {
			return nil, err
		}
		addr = net.JoinHostPort(host, "0")
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Unavailable, Op: "listen", Target: addr, Err: err}
	}
	return l, nil
}

// named is where somebody listens, by the name that it was asked to listen at.
func named(asked string, l interface{ Addr() net.Addr }) string {
	at := l.Addr().String()
	host, _, err := net.SplitHostPort(asked)
	_, port, err2 := net.SplitHostPort(at)
	if err != nil || err2 != nil || host == "" {
		return at
	}
	return net.JoinHostPort(host, port)
}

// addTo has a cluster take in a node that will listen at an address. keep leaves in its data
// directory what it is to be started with.
func addTo(ctx context.Context, cluster, token string, with *tls.Config, addr, rack string) (id uint64, nodes map[uint64]string, keep func(dir string) error, err error) {
	m, err := broker.Join(ctx, transport.TCPConfig{Cluster: clusterName, Token: token, TLS: with}, cluster, kernel.NodeSpec{Peer: addr, Rack: rack})
	if err != nil {
		return 0, nil, nil, err
	}
	return m.Self(), m.Nodes(), m.Keep, nil
}
