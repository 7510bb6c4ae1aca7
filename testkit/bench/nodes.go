package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"text/tabwriter"
)

// rounds of cluster: the sides take turns, as other load on the machine changes.
const rounds = 3

// cluster measures Kafka's protocol on one node, on n, and on a peer of n; the median of some rounds.
func (o *options) cluster(n int) error {
	type side struct {
		name     string
		address  string
		replicas int16
		got      [4][]float64 // in, out, p50, p99
	}
	one, stopOne, err := o.upNodes(1)
	if err != nil {
		return err
	}
	defer stopOne()
	all, stopAll, err := o.upNodes(n)
	if err != nil {
		return err
	}
	defer stopAll()
	sides := []*side{{name: "rmq, 1 node", address: one, replicas: 1}, {name: fmt.Sprintf("rmq, %d nodes", n), address: all, replicas: int16(n)}}
	if o.peerKafka != "" {
		sides = append(sides, &side{name: fmt.Sprintf("Kafka, %d nodes", n), address: o.peerKafka, replicas: int16(n)})
	}
	for range rounds {
		for _, s := range sides {
			in, out, _, err := kafkaFlow(s.address, s.replicas, o.window)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			p50, p99, err := kafkaLatency(s.address, s.replicas, 1000)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			for i, v := range [...]float64{in, out, p50, p99} {
				s.got[i] = append(s.got[i], v)
			}
		}
	}
	fmt.Printf("acks=all, min.insync.replicas=%d of %d; rmq: profile production, every replica that counts has synced; %v per throughput, medians of %d; all on this machine\n\n", max(1, n-1), n, o.window, rounds)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "measured\tunit\t")
	for _, s := range sides {
		fmt.Fprintf(w, "%s\t", s.name)
	}
	for i, what := range [...]string{"produce, 1 KiB\tMB/s", "consume, 1 KiB\tMB/s", "produce one record, p50\tus", "produce one record, p99\tus"} {
		fmt.Fprintf(w, "\n%s\t", what)
		for _, s := range sides {
			fmt.Fprintf(w, "%s\t", number(median(s.got[i])))
		}
	}
	fmt.Fprintln(w)
	return w.Flush()
}

// upNodes starts so many nodes, and returns where Kafka's clients find one of them.
func (o *options) upNodes(n int) (address string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "rmq-bench-")
	if err != nil {
		return "", nil, err
	}
	ports, err := freePorts(1)
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(o.rmq, "up", "-n", strconv.Itoa(n), "--name", filepath.Base(dir), "--data", filepath.Join(dir, "data"), "--profile", "production", "--port", strconv.Itoa(ports[0]))
	var said bytes.Buffer
	cmd.Env, cmd.Stderr = append(os.Environ(), "XDG_RUNTIME_DIR="+dir), &said
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	address = "127.0.0.1:" + strconv.Itoa(ports[0])
	if err := waitFor(address); err != nil {
		stop()
		return "", nil, fmt.Errorf("rmq up -n %d: %w\n%s", n, err, &said)
	}
	return address, stop, nil
}
