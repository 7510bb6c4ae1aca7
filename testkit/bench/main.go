// Command bench measures a broker from outside, as its clients see it, and prints one
// table, with peers beside it where they run.
//
//	go run ./testkit/bench [-rmq bin/rmq] [-seconds 3]
//	    [-peer-mqtt host:port] [-peer-nats host:port] [-peer-kafka host:port] [-peer-amqp amqp://…] [-peer-pids name=pid,…]
//	    [-only mqtt] [-idle 15000]
//	go run ./testkit/bench -nodes 3 [-rmq bin/rmq] [-peer-kafka host:port]
//	go run ./testkit/bench -log [-log-mib 256] [-log-only sync/message]
//
// With -nodes it measures what a cluster costs: Kafka's protocol on one node, on so many, and on a Kafka
// of so many that runs; all of them, and the generator, on this machine. With -log it measures the write path instead, in this process and without network: see
// log.go.
//
// rmq is started by it, in profile production on a fresh directory (so every
// acknowledgement has waited for the device); peers are somebody else's to start. Both
// sides get the same generator, in turn, in the same run: compare within a row. What the
// generator, which shares the machine, can do at most bounds every figure; the broker's
// CPU per message is shown for that reason.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.rmq, "rmq", "bin/rmq", "the binary to measure")
	flag.DurationVar(&o.window, "window", 3*time.Second, "how long each throughput is measured")
	flag.StringVar(&o.peerMQTT, "peer-mqtt", os.Getenv("PEER_MQTT"), "a Mosquitto to compare with, host:port")
	flag.StringVar(&o.peerNATS, "peer-nats", os.Getenv("PEER_NATS"), "the MQTT port of a nats-server to compare fan-out with, host:port")
	flag.StringVar(&o.only, "only", "", "measure but one of start, mqtt, kafka and amqp")
	flag.IntVar(&o.idle, "idle", 15_000, "MQTT connections that are idle; each takes a file of the generator's and of the broker's")
	flag.StringVar(&o.peerKafka, "peer-kafka", os.Getenv("PEER_KAFKA"), "an Apache Kafka to compare with, host:port")
	flag.StringVar(&o.peerAMQP, "peer-amqp", os.Getenv("PEER_AMQP"), "a RabbitMQ to compare with, amqp://user:password@host:port/")
	pids := flag.String("peer-pids", os.Getenv("PEER_PIDS"), "process ids of the peers, for their CPU and memory: mqtt=1,nats=2,kafka=3,amqp=4")
	nodes := flag.Int("nodes", 0, "measure one node, and so many")
	var l logBench
	logOnly := flag.Bool("log", false, "measure the write path in process")
	mib := flag.Int64("log-mib", 256, "payload of each line of -log, in MiB")
	flag.StringVar(&l.only, "log-only", "", "the lines of -log that have this in durability/by/shards=/size=/producers=")
	flag.StringVar(&l.dir, "log-dir", "", "where -log makes its directories; the device under it is what is measured")
	flag.StringVar(&l.profile, "log-profile", "", "where -log writes a CPU profile")
	flag.IntVar(&l.commits, "log-commits", 1000, "messages that -log commits one at a time")
	flag.Parse()
	if *logOnly {
		l.payload = *mib << 20
		if err := l.run(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if *nodes > 0 {
		if err := o.cluster(*nodes); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	o.pids = make(map[string]int)
	for _, kv := range strings.Split(*pids, ",") {
		if name, pid, ok := strings.Cut(kv, "="); ok {
			o.pids[name], _ = strconv.Atoi(pid)
		}
	}
	rows, err := o.run()
	printRows(rows)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	rmq                           string
	window                        time.Duration
	only                          string
	idle                          int
	peerNATS                      string
	peerMQTT, peerKafka, peerAMQP string
	pids                          map[string]int
}

// row is one line of the table: a figure of rmq and, maybe, of a peer.
type row struct {
	what      string
	rmq, peer float64 // 0: not measured
	unit      string
	peerName  string
	lower     bool // lower is better
	// durability is what rmq's acknowledgement has waited for: sync, async or memory; none where
	// nothing is stored, or acknowledged.
	durability string
}

func printRows(rows []row) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "measured\tdurability\trmq\tpeer\tunit\trmq is\t")
	for _, r := range rows {
		peer, ratio := "-", ""
		if r.peer > 0 {
			peer = number(r.peer)
			f := r.rmq / r.peer
			word := "of " + r.peerName
			ratio = fmt.Sprintf("%.2fx %s", f, word)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", r.what, r.durability, number(r.rmq), peer, r.unit, ratio)
	}
	_ = w.Flush()
}

func number(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 1:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

func (o *options) run() (rows []row, err error) {
	fmt.Printf("rmq: profile production; durability sync is fsync before every acknowledgement, and none is of what is neither stored nor acknowledged; %v per throughput; generator on the same machine\n\n", o.window)
	if o.only == "" || o.only == "start" {
		if rows, err = o.startUp(); err != nil {
			return rows, err
		}
	}
	b, err := o.start("--profile", "production")
	if err != nil {
		return rows, err
	}
	defer b.stop()
	for _, f := range []struct {
		name    string
		measure func(*instance) ([]row, error)
	}{{"mqtt", o.mqtt}, {"kafka", o.kafka}, {"amqp", o.amqp}} {
		if o.only != "" && o.only != f.name {
			continue
		}
		more, err := f.measure(b)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}
