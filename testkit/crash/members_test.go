package crash

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// byHand is a cluster whose nodes are started each by itself, as on many machines: three that it
// begins with, and a place for one more. A node that joins takes the place that is free.
type byHand struct {
	t     *testing.T
	token string   // file
	addrs []string // of each place, where clients find the node there
	peers []string // and where other nodes find it
	nodes []*process
	ids   []uint64 // of the node at each place; 0: the place is free
}

// upByHand starts the nodes that a cluster begins with.
func upByHand(t *testing.T) *byHand {
	t.Helper()
	c := &byHand{t: t, token: filepath.Join(t.TempDir(), "token")}
	check(t, os.WriteFile(c.token, []byte("what nodes know"), 0o600))
	for range nodeCount + 1 {
		c.addrs = append(c.addrs, net.JoinHostPort("127.0.0.1", strconv.Itoa(fixedPort(t))))
		c.peers = append(c.peers, net.JoinHostPort("127.0.0.1", strconv.Itoa(fixedPort(t))))
	}
	c.nodes, c.ids = make([]*process, nodeCount+1), make([]uint64, nodeCount+1)
	var began []string
	for i := range nodeCount {
		began = append(began, fmt.Sprintf("%d=%s", i+1, c.peers[i]))
	}
	for i := range nodeCount {
		c.launch(i, "--node", strconv.Itoa(i+1), "--peers", strings.Join(began, ","))
		c.ids[i] = uint64(i + 1)
	}
	for i := range nodeCount {
		check(t, c.nodes[i].ready())
	}
	return c
}

func (c *byHand) launch(place int, args ...string) {
	c.t.Helper()
	_, port, _ := net.SplitHostPort(c.addrs[place])
	c.nodes[place] = launch(c.t, append(args, "--token-file", c.token, "--port", port, "--data", filepath.Join(c.t.TempDir(), "data"))...)
}

// join has one more node come, and returns its place once it serves.
func (c *byHand) join() (place int) {
	c.t.Helper()
	place, asked := slices.Index(c.ids, 0), c.other(0)
	c.launch(place, "--join", c.peers[asked], "--node-listen", c.peers[place])
	check(c.t, c.nodes[place].ready())
	for _, n := range c.list(place) {
		if n.Self {
			c.ids[place] = n.ID
		}
	}
	return place
}

// other is a place with a node, not that one.
func (c *byHand) other(id uint64) int {
	return slices.IndexFunc(c.ids, func(n uint64) bool { return n != 0 && n != id })
}

// rmq runs a command of the terminal against the node at a place.
func (c *byHand) rmq(ctx context.Context, place int, args ...string) []byte {
	c.t.Helper()
	cmd := exec.CommandContext(ctx, c.nodes[place].cmd.Path, append(args, "--url", "http://"+c.addrs[place], "-o", "json")...)
	cmd.Env, cmd.Dir = c.nodes[place].cmd.Env, c.nodes[place].cmd.Dir
	var errs said
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("rmq %s: %v\n%s", strings.Join(args, " "), err, &errs)
	}
	return out
}

// list is `rmq node list`.
func (c *byHand) list(place int) []adminapi.Node {
	c.t.Helper()
	var all struct{ Data []adminapi.Node }
	check(c.t, json.Unmarshal(c.rmq(patient(c.t), place, "node", "list"), &all))
	return all.Data
}

// until waits until the nodes, as they are listed, are as they are to be.
func (c *byHand) until(what string, ok func([]adminapi.Node) bool) []adminapi.Node {
	c.t.Helper()
	ctx := patient(c.t)
	tick := time.NewTicker(10 * retryOf)
	defer tick.Stop()
	for {
		nodes := c.list(c.other(0))
		if ok(nodes) {
			return nodes
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("%s: not so. The nodes are %+v", what, nodes)
		}
	}
}

// even tells whether every shard has its voters and its leader, each node has as many as another,
// and nothing is to move.
func even(nodes []adminapi.Node) bool {
	votes, leaders := make(map[uint32]int), make(map[uint32]int)
	var count, leads []int
	for _, n := range nodes {
		if n.State != adminapi.NodeUp || len(n.Gains)+len(n.Loses) > 0 {
			return false
		}
		count, leads = append(count, len(n.Votes)), append(leads, len(n.Leads))
		for _, s := range n.Votes {
			votes[s]++
		}
		for _, s := range n.Leads {
			leaders[s]++
		}
	}
	for s, n := range votes {
		if n != nodeCount || leaders[s] != 1 {
			return false
		}
	}
	spread := func(ns []int) int { return slices.Max(ns) - slices.Min(ns) }
	return len(votes) > 1 && spread(count) <= 1 && spread(leads) <= 1
}

// remove takes the node at a place out of the cluster, and has its process end by itself.
func (c *byHand) remove(place int) {
	c.t.Helper()
	id := c.ids[place]
	c.rmq(patient(c.t), c.other(id), "node", "remove", strconv.FormatUint(id, 10), "--yes")
	p := c.nodes[place]
	p.once.Do(func() { // it ends by itself
		late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
		defer late.Stop()
		if err := p.cmd.Wait(); err != nil {
			c.t.Errorf("node %d was removed and ends with %v\n%s", id, err, &p.errs)
		}
	})
	if !strings.Contains(p.errs.String(), "removed from the cluster") {
		c.t.Errorf("node %d does not say that it was removed:\n%s", id, &p.errs)
	}
	c.nodes[place], c.ids[place] = nil, 0
}

// calm holds it against the broker that a client was told of anything.
func (l *load) calm(t *testing.T, when string) {
	t.Helper()
	all := l.takeTroubles()
	for _, tr := range all[:min(len(all), 10)] {
		t.Errorf("%s: %s was told at %s: %s", when, tr.who, cmp.Or(tr.addr, "some node"), tr.err)
	}
	if len(all) > 10 {
		t.Errorf("%s: and %d times more", when, len(all)-10)
	}
}

// Under the traffic of all protocols a node joins a cluster of three and gets its share, and one of
// those that were there is drained and removed, the leader of log 0 where that is one; and so again for as
// long as the flag says. Nothing that was acknowledged is lost, and the libraries of clients tell these of
// nothing, but who was connected to the node that ended that it has.
func TestNodesComeAndGo(t *testing.T) {
	random := chance(t)
	c := upByHand(t)
	l := pacedLoad(t, *nodesPace, c.addrs, c.addrs[nodeCount])
	l.startOthers(t)
	l.awaitAcks(patient(t), t, 10)
	l.calm(t, "at first")
	began := time.Now()
	rounds := 0
	var steps []event
	for ; rounds == 0 || time.Since(began) < *nodesFor; rounds++ {
		at := time.Now()
		step := func(what string) {
			steps = append(steps, event{what, at, time.Since(at)})
			at = time.Now()
		}
		came := c.join()
		l.vacate("")
		step(fmt.Sprintf("node %d joins", c.ids[came]))
		nodes := c.until("each node has its share", even)
		step(fmt.Sprintf("node %d gets its share", c.ids[came]))
		l.awaitAcks(patient(t), t, 10)
		l.check(patient(t), t)
		l.calm(t, "a node has come")

		at = time.Now()
		leads := func(n adminapi.Node) bool { return slices.Contains(n.Leads, 0) }
		goes := nodes[slices.IndexFunc(nodes, leads)].ID
		if goes == c.ids[came] { // another one, then
			rest := slices.DeleteFunc(slices.Clone(c.ids), func(id uint64) bool { return id == goes })
			goes = rest[random.IntN(len(rest))]
		}
		place := slices.Index(c.ids, goes)
		c.rmq(patient(t), c.other(goes), "node", "drain", strconv.FormatUint(goes, 10))
		step(fmt.Sprintf("node %d is drained", goes))
		nodes = c.list(c.other(goes))
		if n := nodes[slices.IndexFunc(nodes, func(n adminapi.Node) bool { return n.ID == goes })]; len(n.Votes)+len(n.Leads) > 0 {
			t.Errorf("node %d is drained: %+v", goes, n)
		}
		l.awaitAcks(patient(t), t, 10)
		l.check(patient(t), t)
		l.calm(t, "a node is drained")

		at = time.Now()
		l.vacate(c.addrs[place])
		c.remove(place)
		step(fmt.Sprintf("node %d is removed, and ends", goes))
		l.awaitAcks(patient(t), t, 10)
		l.check(patient(t), t)
		l.calm(t, "a node was removed")
		if l.faulty() || t.Failed() {
			break
		}
	}
	took := l.conclude(t, began)
	l.report(t)
	t.Logf("%d nodes came and as many went in %v:\n%s\nacknowledged: %s", rounds, took.Round(time.Second), l.outages(t, steps), l.summary())
}
