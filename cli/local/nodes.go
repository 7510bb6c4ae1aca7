package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/cli/env"
)

const (
	nodesMax = 32      // nodes that one `rmq up` starts, and a cluster has
	portStep = 10      // between the ports of a node and the next one's
	tokenMax = 4 << 10 // bytes of a token's file
)

// clustered is a Broker of many nodes.
type clustered interface {
	Broker
	// Nodes are all of them, by id.
	Nodes() []env.RunNode
	// Control is the socket on which it is told what to do with them; "": there is none.
	Control() string
	// Watch has changed called after every change of Nodes, one at a time.
	Watch(changed func())
}

// plan makes the configurations of the nodes that `rmq up -n` starts here: those that the data
// directory has, or as many as are asked for.
func (u *up) plan(c Config) ([]Config, error) {
	ids, _ := nodeDirs(c.DataDir)
	if len(ids) == 0 {
		for i := range u.nodes {
			ids = append(ids, uint64(i+1))
		}
	}
	var all []Config
	peers := make(map[uint64]string)
	for _, id := range ids {
		n, err := c.ofNode(id)
		if err != nil {
			return nil, err
		}
		n.Cluster = &Cluster{Self: id, Peers: peers, Rack: u.rack}
		peers[id] = ""
		all = append(all, n)
	}
	return all, nil
}

// ofNode is the configuration of one node: the first has what was asked for, each other one ports
// that are portStep higher than those of the one before.
func (c Config) ofNode(id uint64) (Config, error) {
	ports := c.ports()
	for _, port := range append(ports[:], &c.Port) {
		if *port > 0 {
			*port += int(id-1) * portStep
		}
		if *port > 65535 {
			return c, env.Failf(env.Usage, "node %d would listen on port %d, and 65535 is the last", id, *port)
		}
	}
	if c.DataDir != "" {
		c.DataDir = filepath.Join(c.DataDir, nodeDir(id))
	}
	var err error
	c.Edge, err = c.Edge.ofNode(id)
	return c, err
}

func nodeDir(id uint64) string { return "node-" + strconv.FormatUint(id, 10) }

// removedDir is what the directory of a node that was removed is called: it is kept.
const removedDir = ".removed"

// nodeDirs are the nodes whose data a directory has, by id, and what else it has.
func nodeDirs(dir string) (ids []uint64, other string) {
	names, err := os.ReadDir(dir)
	if dir == "" || err != nil {
		return nil, "" // nothing is there; or whoever opens it tells why not
	}
	for _, e := range names {
		digits, ok := strings.CutPrefix(e.Name(), "node-")
		if ok && e.IsDir() {
			if id, err := strconv.ParseUint(digits, 10, 64); err == nil && id > 0 {
				ids = append(ids, id)
				continue
			}
			if strings.Contains(digits, removedDir) {
				continue
			}
		}
		other = e.Name()
	}
	slices.Sort(ids)
	return ids, other
}

// fits tells whether a data directory is of as many nodes as are to be started: what one node
// has alone cannot become what many agree upon, and their number changes while they run.
func (u *up) fits(dir string) error {
	if dir == "" || u.node != 0 || u.join != "" {
		return nil
	}
	ids, other := nodeDirs(dir)
	nodes := len(ids)
	f := &env.Failure{Exit: env.Conflict}
	switch {
	case u.nodes == 1 && nodes > 1 && other == "":
		f.What = fmt.Sprintf("%s holds the data of %d nodes", dir, nodes)
		f.Hint = fmt.Sprintf("start them: rmq up -n %d%s   or use another directory: rmq up --data DIR", nodes, nameFlag(u.name))
	case u.nodes > 1 && other != "":
		f.What = fmt.Sprintf("%s holds %s, which is not of a cluster: a broker that was alone cannot become many nodes", dir, other)
		f.Hint = fmt.Sprintf("use another directory: rmq up -n %d --data DIR", u.nodes)
	case u.nodes > 1 && nodes > 0 && nodes != u.nodes:
		f.What = fmt.Sprintf("%s holds the data of %d nodes", dir, nodes)
		f.Hint = fmt.Sprintf("start as many: rmq up -n %d%s   and then add nodes, or remove some: rmq node add, rmq node remove ID", nodes, nameFlag(u.name))
	default:
		return nil
	}
	return f
}

// member makes the cluster of flags that one node alone is started with, and of its data directory.
func (u *up) member(dir string) (*Cluster, error) {
	stored := false
	if dir != "" && u.nodes == 1 {
		_, err := os.Stat(filepath.Join(dir, memberFile))
		stored = err == nil
	}
	one := u.node != 0 || u.join != "" || stored
	switch {
	case u.forsake && (!stored || u.join != ""):
		return nil, &env.Failure{Exit: env.Usage, What: "only a node that has data can go on without the others", Hint: "name its data directory: rmq up --data DIR --force-new-cluster"}
	case !one && u.nodes == 1 && (u.peers != "" || u.tokenFile != "" || u.secret != ""):
		return nil, &env.Failure{Exit: env.Usage, What: "--peers, --token and --token-file are for one node of many", Hint: "say which one this is: --node 1   or which cluster it joins: --join HOST:PORT"}
	case !one && (u.listen != "" || u.nodes == 1 && u.rack != ""):
		return nil, &env.Failure{Exit: env.Usage, What: "--node-listen and --rack are for a node of a cluster", Hint: "say which cluster it joins: --join HOST:PORT"}
	case !one:
		return nil, nil
	case u.nodes > 1:
		return nil, &env.Failure{Exit: env.Usage, What: "--node and --join start one node, and --nodes all of them", Hint: "leave one of them out"}
	case u.join != "" && (u.node != 0 || u.peers != ""):
		return nil, &env.Failure{Exit: env.Usage, What: "the cluster that --join names tells the node its id, and where the others are", Hint: "leave --node and --peers out"}
	case u.join != "" && dir == "":
		return nil, &env.Failure{Exit: env.Usage, What: "a node in memory would come back without what it keeps: it cannot join", Hint: "leave --memory out"}
	}
	c := &Cluster{Self: u.node, Join: u.join, Listen: u.listen, Rack: u.rack, Forsake: u.forsake}
	for flag, addr := range map[string]string{"join": u.join, "node-listen": u.listen} {
		host, port, err := net.SplitHostPort(addr)
		if addr != "" && (err != nil || port == "" || port == "0" && flag == "join") {
			return nil, &env.Failure{Exit: env.Usage, What: fmt.Sprintf("--%s: %q is not HOST:PORT", flag, addr), Hint: "write it as 10.0.0.1:7100"}
		}
		if ip := net.ParseIP(host); addr != "" && (host == "" || ip != nil && ip.IsUnspecified()) {
			return nil, &env.Failure{Exit: env.Usage, What: fmt.Sprintf("--%s: other nodes cannot find %q", flag, addr), Hint: "name the host, or one of its addresses"}
		}
	}
	var err error
	if u.peers != "" || u.node != 0 && !stored {
		if c.Peers, err = parsePeers(u.peers); err != nil {
			return nil, err
		}
		if u.node != 0 && c.Peers[u.node] == "" {
			return nil, env.Failf(env.Usage, "--peers does not say where node %d listens for the others", u.node)
		}
	}
	c.Token, err = u.token()
	return c, err
}

// openMember opens one node of a cluster. It waits for a majority, which may never come: then
// whoever ends us need not wait for it, as nothing was acknowledged.
func (u *up) openMember(ctx context.Context, c Config) (Broker, error) {
	type opened struct {
		b   Broker
		err error
	}
	result := make(chan opened, 1)
	go func() { // ends with Open, or with the process
		b, err := u.open(ctx, c)
		result <- opened{b, err}
	}()
	slow := time.NewTimer(slowOpen)
	defer slow.Stop()
	for {
		select {
		case r := <-result:
			return r.b, r.err
		case <-slow.C:
			if c.Cluster.Join != "" {
				u.e.Say("the node is joining: it gets a replica of everything")
			} else {
				u.e.Say("the node waits for a majority of its cluster")
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// slowOpen is how long a node may take to be up before it says what it waits for.
const slowOpen = 2 * time.Second

// ofParent is a node that a parent has started. err is why it cannot start at all.
func (u *up) ofParent(ctx context.Context, c Config, err error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the parent, or when that says so; or with the process
		_, _ = io.Copy(io.Discard, u.e.In)
		cancel()
	}()
	var b Broker
	if err == nil {
		c.Log = u.logger(u.e.Err)
		if b, err = u.openAll(ctx, c, u.e.Err); err != nil {
			err = u.explain(err, c)
		}
	}
	if toldErr := u.sayWord(b, err); toldErr != nil {
		return toldErr
	}
	if err != nil {
		u.e.Err = io.Discard // the parent tells
		return err
	}
	return u.serve(ctx, b, c)
}

// parsePeers reads "1=host:port,2=host:port".
func parsePeers(s string) (map[uint64]string, error) {
	fail := func(format string, args ...any) (map[uint64]string, error) {
		f := env.Failf(env.Usage, "--peers: "+format, args...)
		f.Hint = "name every node, this one too: --peers 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT"
		return nil, f
	}
	peers := make(map[uint64]string)
	for part := range strings.SplitSeq(s, ",") {
		id, addr, _ := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil || n == 0 {
			return fail("%q is not ID=HOST:PORT, with an id from 1 on", part)
		}
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" || port == "0" {
			return fail("%q is not HOST:PORT", addr)
		}
		if peers[n] != "" {
			return fail("node %d is named twice", n)
		}
		peers[n] = addr
	}
	if len(peers) < 2 {
		return fail("a cluster has two nodes or more")
	}
	return peers, nil
}

// token reads the secret by which nodes know each other. A file that others can read is none.
func (u *up) token() (string, error) {
	switch {
	case u.secret != "" && u.tokenFile != "":
		return "", &env.Failure{Exit: env.Usage, What: "--token and --token-file are two ways to say the same", Hint: "leave one of them out"}
	case u.secret != "":
		return u.secret, nil
	case u.tokenFile == "":
		return "", &env.Failure{
			Exit: env.Usage, What: "a node of a cluster needs --token-file: a file with a secret that every one of its nodes is given",
			Hint: "make one, and copy it to each machine: (umask 077; openssl rand -hex 32 > rmq.token)",
		}
	}
	path := u.tokenFile
	if !filepath.IsAbs(path) {
		path = filepath.Join(u.e.Dir, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", &env.Failure{Exit: env.Usage, What: fmt.Sprintf("--token-file: %v", err), Err: err}
	}
	if open := info.Mode().Perm() & 0o077; open != 0 && os.PathSeparator == '/' {
		return "", &env.Failure{Exit: env.Auth, What: fmt.Sprintf("%s is a secret, and others than its owner may read or write it", path), Hint: "chmod 600 " + env.Quote(path)}
	}
	if info.Size() > tokenMax {
		return "", env.Failf(env.Usage, "%s has %d bytes: no token has more than %d", path, info.Size(), tokenMax)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", env.Failf(env.Usage, "%s is empty: every node of a cluster is given the same secret", path)
	}
	return token, nil
}

// ---- all nodes in this process

// together is a cluster in one process: its nodes share nothing but a network in memory.
type together struct {
	nodes   []Broker
	configs []Config
	started time.Time
	done    chan struct{}
	ask     sync.Once
}

// openTogether opens all nodes at once, as each waits for a majority.
func (u *up) openTogether(ctx context.Context, configs []Config) (*together, error) {
	t := &together{nodes: make([]Broker, len(configs)), configs: configs, started: time.Now().UTC(), done: make(chan struct{})}
	hub := transport.NewHub()
	type opened struct {
		i   int
		b   Broker
		err error
	}
	results := make(chan opened, len(configs))
	for i, c := range configs {
		c.Cluster.Hub = hub
		c.Log = c.Log.With("node", c.Cluster.Self)
		go func() { // ends with Open
			b, err := u.open(ctx, c)
			results <- opened{i, b, err}
		}()
	}
	for range configs {
		r := <-results
		if r.err != nil {
			// The others may wait for this one for ever; they end with the process, and have
			// acknowledged nothing.
			return nil, u.explain(fmt.Errorf("node %d: %w", r.i+1, r.err), configs[r.i])
		}
		t.nodes[r.i] = r.b
	}
	for _, b := range t.nodes {
		go func() { // ends with the node's end, or with the process
			<-b.Done()
			t.ask.Do(func() { close(t.done) })
		}()
	}
	return t, nil
}

func (t *together) URLs() adminapi.URLs   { return t.nodes[0].URLs() }
func (t *together) Done() <-chan struct{} { return t.done }
func (t *together) Control() string       { return "" }
func (t *together) Watch(func())          {} // they are all up until all end

// Reload has every node read its files again.
func (t *together) Reload() (err error) {
	for _, b := range t.nodes {
		if r, ok := b.(interface{ Reload() error }); ok {
			err = errors.Join(err, r.Reload())
		}
	}
	return err
}

func (t *together) Nodes() (all []env.RunNode) {
	for i, b := range t.nodes {
		all = append(all, env.RunNode{
			ID: uint64(i + 1), PID: os.Getpid(), State: env.NodeUp, Since: t.started, URLs: b.URLs(), DataDir: t.configs[i].DataDir,
		})
	}
	return all
}

func (t *together) Err() error {
	var errs []error
	for _, b := range t.nodes {
		errs = append(errs, b.Err())
	}
	return errors.Join(errs...)
}

// Close ends the last node first, so that the one whose addresses clients were given ends last.
func (t *together) Close(ctx context.Context) error {
	var errs []error
	for _, b := range slices.Backward(t.nodes) {
		errs = append(errs, b.Close(ctx))
	}
	return errors.Join(errs...)
}
