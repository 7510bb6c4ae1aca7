package local

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// nodeEnv tells this program that it is a node of a parent. It has a pipe as its standard
// output, for its word (detach.go), and one as its standard input, on which nothing comes:
// when that ends, so does the node, in order. So no node outlives its parent, however that ends.
const nodeEnv = "RMQ_NODE_OF"

// Bounds of starting a node again that has died.
const (
	restartMin   = 500 * time.Millisecond // doubling
	restartMax   = 30 * time.Second
	restartCalm  = time.Minute // a life that lasted so long begins with restartMin again
	childLineMax = 64 << 10    // bytes of one line of a node's log; longer ones are broken
)

// restartWait is how long to wait before the start after so many deaths in a row.
func restartWait(deaths int) time.Duration {
	return min(restartMin<<min(deaths-1, 16), restartMax)
}

// parent runs the nodes of a cluster, each in a process of its own, and starts again those
// that die. It serves no clients.
//
// Ownership: mu guards children, their states and configurations, changed, turn and ending. telling
// is held while changed runs, so that what was told last is newest; adding while a node is added, so
// that each has a number of its own. Lock order: adding → telling → mu.
type parent struct {
	u       *up
	base    Config // of the first node, without a cluster
	log     io.Writer
	token   string // path of its file
	control *control
	done    chan struct{} // closed when every node was asked to end over its API

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	keeping sync.WaitGroup

	adding   sync.Mutex
	telling  sync.Mutex
	mu       sync.Mutex
	children []*child // by id
	changed  func()
	turn     chan struct{} // closed at the next change of a state
	ending   bool
}

// child is one node.
type child struct {
	p     *parent
	added bool          // the cluster has taken it in since it began
	again chan struct{} // capacity 1: start now what waits or is stopped

	// Guarded by p.mu.
	config  Config // its ports are fixed once it was up
	state   env.RunNode
	process *os.Process // nil: none runs
	stdin   io.Closer
	before  string // the state to come back to when it is resumed
	restart bool   // its end was asked for, and it starts again at once
	asked   bool   // its end was asked for over its API
	removed bool   // its end was asked for, and it starts no more
}

// openApart starts all nodes, and returns once each is up.
func (u *up) openApart(ctx context.Context, base Config, configs []Config, log io.Writer) (_ *parent, err error) {
	p := &parent{u: u, base: base, log: log, done: make(chan struct{}), turn: make(chan struct{}), changed: func() {}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			err = errors.Join(err, p.Close(limit))
		}
	}()
	if err := os.MkdirAll(u.e.RunDir(), 0o700); err != nil {
		return nil, err
	}
	if p.token, err = makeToken(u.e.RunDir()); err != nil {
		return nil, err
	}
	if err := freeAddresses(configs[0].Cluster.Peers); err != nil {
		return nil, err
	}
	if p.control, err = listenControl(u.e.RunDir(), u.name, p); err != nil {
		return nil, err
	}
	for _, c := range configs {
		p.children = append(p.children, p.newChild(c))
	}
	first := make(chan error, len(configs)) // one of each
	for _, c := range p.children {
		p.keeping.Go(func() { c.keep(first) })
	}
	for range configs {
		select {
		case err := <-first:
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return p, nil
}

func (p *parent) newChild(c Config) *child {
	return &child{
		p: p, config: c, again: make(chan struct{}, 1),
		state: env.RunNode{ID: c.Cluster.Self, State: env.NodeStarting, Since: time.Now().UTC(), DataDir: c.DataDir},
	}
}

// makeToken leaves a new secret in a file that only its owner reads.
func makeToken(dir string) (path string, err error) {
	f, err := os.CreateTemp(dir, ".token-*") // for its owner alone
	if err != nil {
		return "", err
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	_, err = f.WriteString(hex.EncodeToString(secret) + "\n")
	return f.Name(), errors.Join(err, f.Close())
}

// freeAddresses finds a free port of this machine for each node to be reached by the others.
// Somebody else may take one before the node does, which then says so.
func freeAddresses(peers map[uint64]string) error {
	for id := range peers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer func() { _ = l.Close() }() // all are held until each has another one
		peers[id] = l.Addr().String()
	}
	return nil
}

// ---- what a Broker says

// URLs are those of the first node that is up.
func (p *parent) URLs() adminapi.URLs {
	nodes := p.Nodes()
	i := max(0, slices.IndexFunc(nodes, func(n env.RunNode) bool { return n.State == env.NodeUp }))
	return nodes[i].URLs
}

func (p *parent) Done() <-chan struct{} { return p.done }
func (p *parent) Err() error            { return nil }
func (p *parent) Control() string       { return p.control.path }

func (p *parent) Nodes() (all []env.RunNode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.children {
		all = append(all, c.state)
	}
	return all
}

func (p *parent) Watch(changed func()) {
	p.mu.Lock()
	p.changed = changed
	p.mu.Unlock()
	p.tell()
}

// tell has everybody know of a change.
func (p *parent) tell() {
	p.telling.Lock()
	defer p.telling.Unlock()
	p.mu.Lock()
	changed, turn := p.changed, p.turn
	p.turn = make(chan struct{})
	p.mu.Unlock()
	changed()
	close(turn)
}

// Reload has every node read its files again; what cannot be used each tells in its log.
func (p *parent) Reload() (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.children {
		if c.process != nil && c.state.State == env.NodeUp {
			err = errors.Join(err, c.process.Signal(syscall.SIGHUP))
		}
	}
	return err
}

// Close ends all nodes, and kills those that have not ended with ctx.
func (p *parent) Close(ctx context.Context) error {
	p.mu.Lock()
	p.ending = true
	for _, c := range p.children {
		c.endLocked()
	}
	p.mu.Unlock()
	p.cancel()
	ended := make(chan struct{})
	go func() { // ends with the children
		p.keeping.Wait()
		close(ended)
	}()
	var err error
	select {
	case <-ended:
	case <-ctx.Done():
		err = env.Failf(env.TimedOut, "not every node has ended in time: they were killed; nothing acknowledged is lost")
		p.mu.Lock()
		for _, c := range p.children {
			if c.process != nil {
				err = errors.Join(err, c.process.Kill())
			}
		}
		p.mu.Unlock()
		<-ended
	}
	if p.control != nil {
		err = errors.Join(err, p.control.close())
	}
	if p.token != "" {
		err = errors.Join(err, os.Remove(p.token))
	}
	return err
}

// ---- one node

// endLocked asks a node to end in order. Caller holds p.mu.
func (c *child) endLocked() {
	if c.process == nil {
		return
	}
	if c.state.State == env.NodePaused {
		_ = env.Resume(c.process) // it has ended, then
		c.enterLocked(c.before)
	}
	_ = c.stdin.Close() // it may have closed with the process
}

func (c *child) enterLocked(state string) {
	c.state.State, c.state.Since = state, time.Now().UTC()
}

// keep runs the node life after life, until the cluster ends, or the node is removed. first is told
// how the first start went; one that went wrong is the last, but of a node that was added: the cluster
// has it.
func (c *child) keep(first chan<- error) {
	for deaths, lives := 0, 0; ; lives++ {
		begun := time.Now()
		life := c.live(func(pid int) {
			if lives == 0 {
				first <- nil
				return
			}
			c.p.u.e.Say("node %d is up again (process %d)", c.state.ID, pid)
		})
		if lives == 0 && !life.up {
			first <- life.failure(c.state.ID)
			if !c.added {
				return
			}
		}
		if time.Since(begun) >= restartCalm {
			deaths = 0
		}
		deaths++
		wait, goOn := c.after(life, deaths)
		if !goOn {
			return
		}
		if wait == 0 {
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.again:
			if c.isRemoved() {
				timer.Stop()
				return
			}
		case <-c.p.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

func (c *child) isRemoved() bool {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	return c.removed
}

// never is longer than any cluster runs.
const never = 1 << 62

// after decides what follows the end of a life: how long to wait for the next one.
func (c *child) after(l life, deaths int) (wait time.Duration, goOn bool) {
	p := c.p
	p.mu.Lock()
	asked := l.up && l.err == nil && !c.restart && !p.ending
	switch {
	case p.ending || c.removed:
		c.enterLocked(env.NodeStopped)
		p.mu.Unlock()
		p.tell()
		return 0, false
	case c.restart:
		c.restart = false
		c.state.Restarts++
	case asked || !p.u.restart:
		c.asked, wait = asked, never
		c.enterLocked(env.NodeStopped)
	default:
		wait = restartWait(deaths)
		c.state.Restarts++
		c.enterLocked(env.NodeWaiting)
	}
	id, all := c.state.ID, true
	for _, other := range p.children {
		all = all && other.asked
	}
	p.mu.Unlock()
	p.tell()
	switch {
	case all:
		close(p.done)
		return 0, false
	case asked:
		p.u.e.Say("node %d (process %d) was asked to end, and has; to start it: rmq node restart %d%s", id, l.pid, id, nameFlag(p.u.name))
	case wait == never:
		p.u.e.Say("node %d (process %d) has died: %s; to start it again: rmq node restart %d%s", id, l.pid, l.how(), id, nameFlag(p.u.name))
	case wait > 0:
		p.u.e.Say("node %d (process %d) has died: %s; it is started again in %v", id, l.pid, l.how(), wait)
	}
	return wait, true
}

// life is how one process of a node has fared.
type life struct {
	pid  int
	up   bool
	word word  // when it did not come up; zero: it said nothing
	err  error // what it ended with
}

func (l *life) how() string {
	switch {
	case l.word.What != "":
		return l.word.What
	case l.err != nil:
		return l.err.Error()
	}
	return "it ended"
}

// failure is why the node did not come up.
func (l *life) failure(id uint64) error {
	if l.word.What == "" {
		return env.Failf(env.Failed, "node %d ended before it was up: %s", id, l.how())
	}
	return &env.Failure{Exit: l.word.Exit, What: fmt.Sprintf("node %d: %s", id, l.word.What), Hint: l.word.Hint}
}

// live runs one process of the node, and returns when it has ended.
func (c *child) live(up func(pid int)) (l life) {
	cmd, out, err := c.spawn()
	if err != nil {
		return life{err: err}
	}
	l.pid = cmd.Process.Pid
	var w word
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &w)
	}
	switch {
	case err != nil: // it ended first; with what, Wait tells
	case !w.Ready:
		l.word = w
	default:
		l.up = true
		c.p.mu.Lock()
		c.state.URLs = w.URLs
		c.config.keepPorts(w.URLs)
		if c.state.State == env.NodePaused {
			c.before = env.NodeUp
		} else {
			c.enterLocked(env.NodeUp)
		}
		c.p.mu.Unlock()
		c.p.tell()
		up(l.pid)
	}
	l.err = cmd.Wait()
	c.p.mu.Lock()
	c.process, c.stdin, c.state.PID, c.state.Last = nil, nil, 0, l.how()
	c.p.mu.Unlock()
	return l
}

func (c *child) spawn() (*exec.Cmd, io.Reader, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	c.p.mu.Lock()
	args := c.p.u.nodeArgs(&c.config, c.p.token)
	c.p.mu.Unlock()
	cmd := exec.Command(exe, args...)
	cmd.Args[0] = c.p.u.e.Args[0]
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, childEnv+"=") })
	cmd.Env = append(cmd.Env, nodeEnv+"="+strconv.Itoa(os.Getpid()))
	cmd.Stderr = &prefixed{to: c.p.log, prefix: fmt.Sprintf("node %d: ", c.state.ID)}
	cmd.SysProcAttr = ownSession() // Ctrl-C is the parent's to tell
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	c.p.mu.Lock()
	defer c.p.tell()
	defer c.p.mu.Unlock()
	if c.p.ending || c.removed {
		return nil, nil, context.Canceled
	}
	select {
	case <-c.again: // what was asked for is done
	default:
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	c.process, c.stdin, c.state.PID, c.asked = cmd.Process, in, cmd.Process.Pid, false
	c.enterLocked(env.NodeStarting)
	return cmd, out, nil
}

// nodeArgs are the arguments of a node's process. What a file of settings may hold for all is
// said here for each, and the token is not: others see arguments.
func (u *up) nodeArgs(c *Config, token string) []string {
	var peers []string
	for _, id := range slices.Sorted(maps.Keys(c.Cluster.Peers)) {
		peers = append(peers, fmt.Sprintf("%d=%s", id, c.Cluster.Peers[id]))
	}
	args := []string{
		"up", "--node", strconv.FormatUint(c.Cluster.Self, 10), "--peers", strings.Join(peers, ","), "--token-file", token, "--rack", c.Cluster.Rack,
		"--join", "", "--token", "", "--node-listen", "",
		"--nodes", "1", "--in-process=false", "--detach=false", "--wait=false", "--any-port=false", "--json=false", "--output", env.FormatText, "--quiet",
		"--name", u.name, "--profile", c.Profile, "--listen", c.Host, "--log-level", u.logLevel, "--memory=" + strconv.FormatBool(c.DataDir == ""),
	}
	if c.DataDir != "" {
		args = append(args, "--data", c.DataDir)
	}
	args = append(args, u.tls.args()...)
	args = append(args, c.Edge.args()...)
	args = append(args, "--auth", c.Auth, "--first-user", c.FirstUser, "--kafka-advertise", c.KafkaAdvertise)
	if file := u.e.PasswordFile(); file != "" {
		args = append(args, "--password-file", file)
	}
	if c.Durability != "" {
		args = append(args, "--durability", c.Durability)
	}
	if c.Port != 0 {
		return append(args, "--port", strconv.Itoa(c.Port))
	}
	for i, port := range c.ports() {
		if !portFlags[i].tls || c.Edge.secure() {
			args = append(args, "--"+portFlags[i].name, strconv.Itoa(*port))
		}
	}
	return args
}

// keepPorts has the next life listen where this one does, so that clients find it.
func (c *Config) keepPorts(urls adminapi.URLs) {
	if c.Port != 0 {
		return
	}
	for i, url := range [len(portFlags)]string{
		urls.MQTT, urls.MQTTWS, urls.Kafka, urls.AMQP, urls.HTTP, urls.MQTTS, urls.MQTTWSS, urls.KafkaS, urls.AMQPS, urls.HTTPS,
	} {
		if n, err := strconv.Atoi(portOfURL(url)); err == nil {
			*c.ports()[i] = n
		}
	}
}

// prefixed writes lines with a prefix, each at once, so that those of several do not mix.
type prefixed struct {
	to     io.Writer
	prefix string
	line   bytes.Buffer
}

func (w *prefixed) Write(b []byte) (int, error) {
	for _, c := range b {
		if c != '\n' {
			w.line.WriteByte(c)
		}
		if c == '\n' || w.line.Len() >= childLineMax {
			if _, err := fmt.Fprintf(w.to, "%s%s\n", w.prefix, w.line.Bytes()); err != nil {
				return 0, err
			}
			w.line.Reset()
		}
	}
	return len(b), nil
}
