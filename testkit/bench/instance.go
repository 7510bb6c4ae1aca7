package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker"
)

// instance is an rmq that this program started.
type instance struct {
	cmd                     *exec.Cmd
	dir                     string
	mqtt, kafka, amqp, http string // host:port
	began                   time.Time
	said                    strings.Builder // on standard error
}

// freePorts asks the system for free ports, which somebody else may take meanwhile.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func (o *options) start(args ...string) (*instance, error) {
	dir, err := os.MkdirTemp("", "rmq-bench-")
	if err != nil {
		return nil, err
	}
	p, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(p[i]) }
	b := &instance{dir: dir, mqtt: at(0), kafka: at(1), amqp: at(2), http: at(3)}
	flag := func(name string, i int) string { return "--" + name + "-port=" + strconv.Itoa(p[i]) }
	b.cmd = exec.Command(o.rmq, append([]string{
		"up", "--name", filepath.Base(dir), "--data", filepath.Join(dir, "data"),
		flag("mqtt", 0), flag("kafka", 1), flag("amqp", 2), flag("http", 3), flag("ws", 4),
	}, args...)...)
	b.cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
	b.cmd.Stderr = &b.said
	b.began = time.Now()
	return b, b.cmd.Start()
}

func (b *instance) stop() {
	_ = b.cmd.Process.Signal(os.Interrupt)
	_ = b.cmd.Wait()
	_ = os.RemoveAll(b.dir)
}

// startUp measures from exec to the first acknowledged message, for each protocol on a
// broker of its own, and what an idle broker holds in memory. Medians of five.
func (o *options) startUp() (rows []row, err error) {
	for _, p := range []struct {
		name  string
		first func(b *instance) error
		kept  string // what the first message is kept as
	}{
		{"MQTT", func(b *instance) error { return mqttFirst(b.mqtt) }, "async"}, // captured
		{"Kafka", func(b *instance) error { return kafkaFirst(b.kafka) }, "sync"},
		{"AMQP", func(b *instance) error { return amqpFirst("amqp://guest:guest@" + b.amqp + "/") }, "sync"},
	} {
		var ms, rss []float64
		for range 5 {
			b, err := o.start()
			if err != nil {
				return rows, err
			}
			err = waitFor(map[string]string{"MQTT": b.mqtt, "Kafka": b.kafka, "AMQP": b.amqp}[p.name])
			if err == nil {
				err = p.first(b)
			}
			ms = append(ms, time.Since(b.began).Seconds()*1000)
			rss = append(rss, float64(memory(b.cmd.Process.Pid))/(1<<20))
			b.stop()
			if err != nil {
				return rows, fmt.Errorf("first message over %s: %w\n%s", p.name, err, b.said.String())
			}
		}
		rows = append(rows, row{what: "exec to first message, " + p.name, rmq: median(ms), unit: "ms", durability: p.kept})
		if p.name == "AMQP" {
			rows = append(rows, row{what: "memory after it (RSS)", rmq: median(rss), unit: "MiB", durability: p.kept})
		}
	}
	var ms, end []float64
	for range 20 {
		at := time.Now()
		b, err := broker.Open(context.Background(), broker.Config{Ports: broker.AnyPorts()})
		if err != nil {
			return rows, err
		}
		ms = append(ms, time.Since(at).Seconds()*1000)
		at = time.Now()
		if err := b.Close(context.Background()); err != nil {
			return rows, err
		}
		end = append(end, time.Since(at).Seconds()*1000)
	}
	return append(rows,
		row{what: "in process: start, in memory", rmq: median(ms), unit: "ms", durability: "memory"},
		row{what: "in process: close", rmq: median(end), unit: "ms", durability: "memory"}), nil
}

// waitFor dials until something listens.
func waitFor(address string) error {
	for end := time.Now().Add(20 * time.Second); ; {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return err
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// memory is a process's resident memory in bytes.
func memory(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	f := strings.Fields(string(b))
	if err != nil || len(f) < 2 {
		return 0
	}
	n, _ := strconv.ParseInt(f[1], 10, 64)
	return n * int64(os.Getpagesize())
}

// cpu is the time that a process has spent on processors, in seconds.
func cpu(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil || pid == 0 {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	u, _ := strconv.ParseFloat(f[11], 64)
	s, _ := strconv.ParseFloat(f[12], 64)
	return (u + s) / 100
}

func median(v []float64) float64 { return quantile(v, 0.5) }

func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}
