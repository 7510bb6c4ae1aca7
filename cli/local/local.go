// Package local runs a broker on this machine, and finds, shows and stops those that
// run: `rmq up`, `down`, `status` and `env`.
//
// It alone, of all that is behind the command line, knows package broker, and that in
// open.go only. A broker in the foreground is this process; a detached one is this
// program again, with its log in a file and nothing of the terminal (detach.go). Both
// leave a run file by which other commands find them (package env).
//
// Many nodes are many processes of this program under one that serves no clients itself
// (parent.go), or, with --in-process, many brokers in this one (nodes.go).
package local

import (
	"context"
	"crypto/tls"
	"log/slog"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/transport"
)

// Config is what `rmq up` asks of a broker.
type Config struct {
	DataDir string // "": nothing outlives the process
	Profile string // dev or production
	Host    string // where every port listens
	// Durability of what does not say its own; "": what the directory has, and sync at first.
	Durability string
	Port       int // one port for every protocol, alone; 0: each its own

	// 0 takes a free port, -1 serves no such port.
	MQTT, MQTTWS, Kafka, AMQP, HTTP int
	// Over TLS; they count where Edge has certificates.
	MQTTS, MQTTWSS, KafkaS, AMQPS, HTTPS int
	// Edge is about TLS to clients, and more listeners; nil: there is nothing of it.
	Edge *Edge

	// Auth is a file that names who knows clients, besides the table of users; "": nobody.
	Auth string
	// Chaos is a file with what goes wrong from the start; "": nothing does.
	Chaos string
	// KafkaAdvertise is where clients of Kafka are told to connect, as host or host:port; "": where
	// they have come.
	KafkaAdvertise string
	// FirstUser is made, an administrator, where there is no user yet; "": nobody is.
	FirstUser, FirstPassword string

	// Hands are of the virtual clock that the broker goes by, the same ones for all nodes of this
	// process; nil: it goes by the machine's.
	Hands *clock.Hands
	// Snapshot is the file that the broker begins with, where there is nothing yet; "": nothing.
	Snapshot string

	// TLS is for connections between nodes; nil: they are plain.
	TLS *tls.Config
	// Cluster is what the broker is a node of; nil: it is alone.
	Cluster *Cluster

	Log *slog.Logger
}

// ports are those of protocols, as portFlags has them.
func (c *Config) ports() [len(portFlags)]*int {
	return [...]*int{&c.MQTT, &c.MQTTWS, &c.Kafka, &c.AMQP, &c.HTTP, &c.MQTTS, &c.MQTTWSS, &c.KafkaS, &c.AMQPS, &c.HTTPS}
}

// Cluster is what one node of a cluster is started with.
type Cluster struct {
	Self uint64 // 0: as its data directory says, or the cluster that it joins
	// Peers are all nodes, this one too, and where they listen for each other; nil: as the data
	// directory says.
	Peers map[uint64]string
	Token string // what all of them know, and nobody else
	// Join is where any node of a cluster listens for others: that cluster takes this one in, unless
	// its data directory is of one already. Listen is where this one will listen; "": on a free port.
	Join, Listen string
	Rack         string // what fails together with it; "": as the data directory says
	Forsake      bool   // the others are gone for good: go on without them, with what the data directory has
	// Hub joins nodes of this process; nil: they are joined over TCP.
	Hub *transport.Hub
}

// Broker is one that runs.
type Broker interface {
	URLs() adminapi.URLs
	// Done is closed when the broker was asked over its API to end.
	Done() <-chan struct{}
	// Err is what stopped a part of it, or nil.
	Err() error
	Close(context.Context) error
}

// Open starts a broker, which is ready when Open returns.
type Open func(context.Context, Config) (Broker, error)
