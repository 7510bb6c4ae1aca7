package crash

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Clients in other languages, of which each is a process: Python's (testkit/clients/python/load.py),
// where RMQ_PYTHON names a Python that has them, Mosquitto's, where they are installed, and Kafka's
// own, where RMQ_KAFKA_RUN names a program that runs a main class of Kafka's.

const mirrorQueue = "mirror" // what pika publishes and consumes

// others are those that have to be started again when the node they are connected to is gone, as
// they come back to the same one only.
type others struct {
	mosquitto *mosquittoSub // nil: not installed
}

// moved tells that a node is gone.
func (o *others) moved(addr string) {
	if o.mosquitto != nil {
		o.mosquitto.leave(addr)
	}
}

// startOthers starts those that there are.
func (l *load) startOthers(t *testing.T) *others {
	t.Helper()
	o := new(others)
	if python := os.Getenv("RMQ_PYTHON"); python != "" {
		l.startPython(t, python)
	} else {
		t.Log("RMQ_PYTHON is not set: no Python clients; RMQ_PYTHON=$(testkit/clients/python/run --python)")
	}
	if java := os.Getenv("RMQ_KAFKA_RUN"); java != "" {
		l.startJava(t, java)
	} else {
		t.Log("RMQ_KAFKA_RUN is not set: no Java clients")
	}
	if _, err := exec.LookPath("mosquitto_pub"); err != nil {
		t.Log("no Mosquitto clients are installed")
		return o
	}
	o.mosquitto = l.startMosquitto(t)
	return o
}

// program is one that runs.
type program struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}
}

// program runs one until the load ends, with each line that it writes given to told. What it
// writes as an error, and that it ends before producers do, is a fault.
func (l *load) program(t *testing.T, name string, told func(line string), args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.CommandContext(l.living, args[0], args[1:]...), ended: make(chan struct{})}
	errs := new(said)
	p.cmd.Stderr = errs
	out := must(p.cmd.StdoutPipe())(t)
	p.stdin = must(p.cmd.StdinPipe())(t)
	check(t, p.cmd.Start())
	l.readers.Go(func() { // ends with the process
		defer close(p.ended)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			told(lines.Text())
		}
		err := p.cmd.Wait()
		if l.sending.Err() == nil {
			l.fault("%s has ended: %v\n%.2000s", name, err, errs)
		}
	})
	return p
}

// over waits until it has ended by itself, or the load does.
func (l *load) over(p *program) {
	select {
	case <-p.ended:
	case <-l.living.Done():
	}
}

// feed publishes a track by a program until the load stops sending.
func (l *load) feed(t *testing.T, tr *track, args ...string) {
	t.Helper()
	p := l.program(t, tr.name, func(line string) {
		what, text, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(text)
		switch {
		case what == "a" && err == nil:
			tr.ack(n)
		case what == "x":
			l.troubleSaid(tr.name, text)
		default:
			l.fault("%s says %q", tr.name, line)
		}
	}, args...)
	l.producers.Go(func() {
		for next := l.pace(); next(); {
			_, body := tr.body()
			if _, err := io.WriteString(p.stdin, body+"\n"); err != nil {
				break // it has ended, which is told
			}
		}
		_ = p.stdin.Close()
		l.over(p)
	})
}

// read has what a program receives seen.
func (l *load) read(t *testing.T, who string, args ...string) {
	t.Helper()
	subscribed := make(chan struct{}, 1)
	l.program(t, who, func(line string) {
		what, text, _ := strings.Cut(line, " ")
		switch what {
		case "s":
			subscribed <- struct{}{}
		case "r":
			l.seeAs(who, []byte(text))
		case "x":
			l.troubleSaid(who, text)
		default:
			l.fault("%s says %q", who, line)
		}
	}, args...)
	if strings.HasPrefix(args[2], "mqtt") {
		next(t, subscribed, who)
	}
}

// troubleSaid books what a program was told: "HOST:PORT ERROR", or "- ERROR".
func (l *load) troubleSaid(who, text string) {
	addr, err, _ := strings.Cut(text, " ")
	l.trouble(who, strings.TrimPrefix(addr, "-"), "%s", err)
}

// alsoSeen opens a view of every track whose name begins so.
func (l *load) alsoSeen(prefix, who string, once func(*track) bool) {
	l.mu.Lock()
	var tracks []*track
	for _, tr := range l.tracks {
		if strings.HasPrefix(tr.name, prefix) {
			tracks = append(tracks, tr)
		}
	}
	l.mu.Unlock()
	for _, tr := range tracks {
		tr.view(who, once(tr), false)
	}
}

func never(*track) bool { return false }

func (l *load) startPython(t *testing.T, python string) {
	t.Helper()
	script := must(filepath.Abs(filepath.Join(module, "testkit", "clients", "python", "load.py")))(t)
	call := func(kind, what string) []string {
		return []string{python, script, kind, what, strings.Join(l.nodes(), ",")}
	}

	conn := must(l.dialAMQP())(t)
	defer conn.Close()
	ch := must(conn.Channel())(t)
	must(ch.QueueDeclare(mirrorQueue, true, false, false, false, nil))(t)
	check(t, ch.QueueBind(mirrorQueue, "mirror", "jobs", false, nil))

	// What reads begins before what writes, so that it may be held against all of it.
	const reader, subscriber, consumer = "confluent-kafka", "paho-mqtt", "pika"
	l.read(t, subscriber, call("mqtt-subscriber", "2")...)
	kafka, mirrored := l.track("kafka-python-0"), l.track("amqp-python-0")
	kafka.view("the log", true, true)
	kafka.view("the group", false, false)
	mirrored.view(consumer, false, false)
	tracks := map[*track][]string{kafka: call("kafka-producer", "0"), mirrored: call("amqp-publisher", "mirror")}
	for qos := 1; qos <= 2; qos++ {
		tr := l.track("mqtt-python-qos%d-0", qos)
		tr.view("the log", qos == 2, true)
		tr.view("subscriber 5", qos == 2, true)
		tr.view("subscriber 3", false, true)
		tr.view(subscriber, qos == 2, true)
		tracks[tr] = call("mqtt-publisher", strconv.Itoa(qos))
	}
	l.alsoSeen("kafka-", reader, never)
	l.read(t, reader, call("kafka-consumer", "python")...)
	l.read(t, consumer, call("amqp-consumer", mirrorQueue)...)
	for tr, args := range tracks {
		l.feed(t, tr, args...)
	}
}

// ---- Kafka's own --------------------------------------------------------------------------

const verified = "verified" // the topic of Kafka's verifiable clients

// startJava has Kafka's verifiable producer publish, idempotently, and its verifiable consumer read. They
// tell of each message in a line of JSON; its value is "1.NUMBER".
func (l *load) startJava(t *testing.T, run string) {
	t.Helper()
	admin := l.kafkaClient(t)
	defer admin.Close()
	must(kadm.NewClient(admin).CreateTopics(patient(t), 1, 1, nil, verified))(t)
	settings := filepath.Join(t.TempDir(), "producer.properties")
	check(t, os.WriteFile(settings, []byte("enable.idempotence=true\nretries=2147483647\nretry.backoff.ms=20\nretry.backoff.max.ms=100\nreconnect.backoff.ms=20\nreconnect.backoff.max.ms=200\nlinger.ms=0\n"), 0o600))
	tr := l.track("kafka-java-0")
	log, consumer := tr.view("the log", true, true), tr.view("the verifiable consumer", false, false)

	c := l.kafkaClient(t, kgo.ConsumeTopics(verified), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	l.readers.Go(func() {
		defer c.Close()
		for l.living.Err() == nil {
			c.PollRecords(l.living, window).EachRecord(func(r *kgo.Record) {
				if n, err := strconv.Atoi(strings.TrimPrefix(string(r.Value), "1.")); err == nil {
					log.see(n)
				}
			})
		}
	})
	told := func(what string, do func(n int)) func(line string) {
		return func(line string) {
			var event struct{ Name, Value, Message string }
			if json.Unmarshal([]byte(line), &event) != nil {
				return
			}
			switch n, err := strconv.Atoi(strings.TrimPrefix(event.Value, "1.")); {
			case event.Name == what && err == nil:
				do(n)
			case event.Name == "producer_send_error":
				l.fault("Kafka's producer gave up %s: %s", event.Value, event.Message)
			}
		}
	}
	bootstrap := strings.Join(l.nodes(), ",")
	l.program(t, "Kafka's consumer", told("record_data", consumer.see), run, "org.apache.kafka.tools.VerifiableConsumer",
		"--bootstrap-server", bootstrap, "--topic", verified, "--group-id", "java", "--verbose")
	p := l.program(t, "Kafka's producer", told("producer_send_success", func(n int) {
		l.mu.Lock()
		tr.sent = max(tr.sent, n+1)
		l.mu.Unlock()
		tr.ack(n)
	}), run, "org.apache.kafka.tools.VerifiableProducer",
		"--bootstrap-server", bootstrap, "--topic", verified, "--throughput", strconv.Itoa(int(time.Second/l.every)), "--value-prefix", "1", "--command-config", settings)
	l.producers.Go(func() {
		<-l.sending.Done()
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it ends once all is answered
		l.over(p)
	})
}

// ---- Mosquitto's ------------------------------------------------------------------------

// mosquittoSub is mosquitto_sub with a session that is kept. It knows one node: when that is gone, it is
// ended, and another one comes back to its session at another node. It subscribes at QoS 1: which
// messages of QoS 2 it has told that it has, and not written yet, it would not know any more.
type mosquittoSub struct {
	l    *load
	path string

	mu   sync.Mutex
	addr string // where it is
	cmd  *exec.Cmd
}

func (l *load) startMosquitto(t *testing.T) *mosquittoSub {
	t.Helper()
	s := &mosquittoSub{l: l, path: must(exec.LookPath("mosquitto_sub"))(t)}
	pub := must(exec.LookPath("mosquitto_pub"))(t)
	tr := l.track("mqtt-mosquitto-0")
	for _, who := range []string{"the log", "subscriber 5", "subscriber 3", "mosquitto_sub"} {
		tr.view(who, false, false)
	}
	if os.Getenv("RMQ_PYTHON") != "" {
		tr.view("paho-mqtt", false, false)
	}
	// It says nothing when it has subscribed, so its session does before it starts.
	sub := exec.CommandContext(patient(t), s.path, append(s.args(l.addrs[0]), "-E")...)
	if out, err := sub.CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_sub: %v\n%s", err, out)
	}
	l.readers.Go(s.run)
	l.producers.Go(func() { l.publishMosquitto(pub, tr) })
	return s
}

func (s *mosquittoSub) args(addr string) []string {
	host, port, _ := strings.Cut(addr, ":")
	return []string{"-h", host, "-p", port, "-V", "5", "-i", "mosquitto_sub", "-c", "-x", "36000", "-q", "1", "-t", "load/mqtt-mosquitto-0", "-F", "%p"}
}

// run keeps one running.
func (s *mosquittoSub) run() {
	for l := s.l; l.living.Err() == nil; {
		s.mu.Lock()
		s.addr = l.seeds()[0]
		cmd := exec.CommandContext(l.living, s.path, s.args(s.addr)...)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		s.cmd = cmd
		addr := s.addr
		s.mu.Unlock()
		if err != nil {
			l.fault("mosquitto_sub: %v", err)
			return
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			l.seeAs("mosquitto_sub", lines.Bytes())
		}
		if err := cmd.Wait(); l.living.Err() == nil { // it was ended, or could not connect
			l.trouble("mosquitto_sub", addr, "%v", err)
		}
		select {
		case <-time.After(10 * retryOf):
		case <-l.living.Done():
		}
	}
}

// leave ends it if it is at that node, which is gone: what it has acknowledged there it has written.
func (s *mosquittoSub) leave(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil && s.addr == addr {
		_ = s.cmd.Process.Kill()
	}
}

// publishMosquitto publishes each message by a mosquitto_pub of its own, which ends well once it has
// PUBCOMP. One that does not is not repeated: the message may be there or not.
func (l *load) publishMosquitto(path string, tr *track) {
	addrs := l.seeds()
	for next := l.pace(); next(); {
		n, body := tr.body()
		host, port, _ := strings.Cut(addrs[0], ":")
		ctx, cancel := context.WithTimeout(l.living, answerMax)
		err := exec.CommandContext(ctx, path, "-h", host, "-p", port, "-V", "5", "-q", "2", "-t", "load/"+tr.name, "-m", body).Run()
		cancel()
		if err == nil {
			tr.ack(n)
			continue
		}
		if l.living.Err() == nil {
			l.trouble("mosquitto_pub", addrs[0], "%v", err)
		}
		addrs = slices.Concat(addrs[1:], addrs[:1])
	}
}
