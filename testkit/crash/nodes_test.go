package crash

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

var (
	nodesFor   = flag.Duration("for", 20*time.Second, "how long tests of a cluster go on")
	nodesEvery = flag.Duration("kill-every", 10*time.Second, "between two kills of a node")
	nodesPace  = flag.Duration("pace", 20*time.Millisecond, "between two messages of one track")
	nodesGap   = flag.Duration("gap", 0, "how long a producer may be without an acknowledgement at most; 0: it is only told")
)

const nodeCount = 3

// cluster is `rmq up -n 3`: a parent, and three processes that serve.
type cluster struct {
	*process
	run   string   // the file that says what runs
	addrs []string // of each node, by id from 1 on
}

// runNode is what the tests want to know of a node.
type runNode struct {
	ID       int    `json:"id"`
	PID      int    `json:"pid"`
	State    string `json:"state"`
	Restarts int    `json:"restarts"`
}

// upNodes starts a cluster whose ports are its own also while nobody listens on them.
func upNodes(t *testing.T) *cluster {
	t.Helper()
	port := fixedPort(t)
	p := launch(t, "-n", strconv.Itoa(nodeCount), "--port", strconv.Itoa(port), "--data", filepath.Join(t.TempDir(), "data"))
	c := &cluster{process: p, run: filepath.Join(p.cmd.Dir, "rmq", "default.json")}
	for i := range nodeCount {
		c.addrs = append(c.addrs, net.JoinHostPort("127.0.0.1", strconv.Itoa(port+10*i)))
	}
	check(t, p.ready())
	t.Cleanup(c.end)
	return c
}

// end has the parent end its nodes.
func (c *cluster) end() {
	c.once.Do(func() {
		_ = c.cmd.Process.Signal(os.Interrupt)
		late := time.AfterFunc(readyMax, func() { _ = c.cmd.Process.Kill() })
		defer late.Stop()
		if err := c.cmd.Wait(); err != nil {
			c.t.Errorf("rmq up -n: %v\n%s", err, &c.errs)
		}
	})
}

// node reads what the parent says of a node.
func (c *cluster) node(id int) (runNode, error) {
	b, err := os.ReadFile(c.run)
	if err != nil {
		return runNode{}, err
	}
	var run struct {
		Nodes []runNode `json:"nodes"`
	}
	if err := json.Unmarshal(b, &run); err != nil {
		return runNode{}, err
	}
	for _, n := range run.Nodes {
		if n.ID == id {
			return n, nil
		}
	}
	return runNode{}, fmt.Errorf("there is no node %d", id)
}

// await waits until a node is up in another life than it was. The parent waits the longer before
// it starts one the more often that one has died of late: it is told not to.
func (c *cluster) await(ctx context.Context, before runNode) {
	c.t.Helper()
	tick := time.NewTicker(retryOf)
	defer tick.Stop()
	asked := false
	for {
		n, err := c.node(before.ID)
		switch {
		case err != nil || n.PID == before.PID:
		case n.State == "up":
			return
		case n.State == "waiting" && !asked:
			asked = true
			cmd := exec.CommandContext(ctx, c.cmd.Path, "node", "restart", strconv.Itoa(n.ID))
			cmd.Env, cmd.Dir = c.cmd.Env, c.cmd.Dir
			if out, err := cmd.CombinedOutput(); err != nil {
				c.t.Fatalf("rmq node restart: %v\n%s", err, out)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("node %d is not up again\n%s", before.ID, &c.errs)
		}
	}
}

// event is what was done to a node, and how long it took until all was done that comes with it.
type event struct {
	what string
	at   time.Time
	took time.Duration
}

// A cluster of three processes under the traffic of all protocols has one of them killed again and
// again, and the parent start it. Nothing that was acknowledged is lost, comes twice where that is
// promised, or goes back, and who is served by a node that dies goes on with another one.
func TestNodeKills(t *testing.T) {
	random := chance(t)
	c := upNodes(t)
	l := pacedLoad(t, *nodesPace, c.addrs, "")
	others := l.startOthers(t)
	l.awaitAcks(patient(t), t, 10)
	began := time.Now()
	var losses []event
	next := time.NewTicker(*nodesEvery)
	defer next.Stop()
	for last := 0; time.Since(began) < *nodesFor; <-next.C {
		id := 1 + random.IntN(nodeCount)
		if id == last { // another one, so that each has its turn soon
			id = 1 + id%nodeCount
		}
		last = id
		n, err := c.node(id)
		check(t, err)
		lost := event{what: fmt.Sprintf("node %d is killed, and back", id), at: time.Now()}
		check(t, syscall.Kill(n.PID, syscall.SIGKILL))
		others.moved(c.addrs[id-1])
		c.await(patient(t), n)
		lost.took = time.Since(lost.at)
		losses = append(losses, lost)
		l.check(patient(t), t)
		if l.faulty() {
			break
		}
	}
	took := l.conclude(t, began)
	l.report(t)
	t.Logf("%d nodes killed in %v, one every %v\n%s\nacknowledged: %s", len(losses), took.Round(time.Second), *nodesEvery, l.outages(t, losses), l.summary())
}

// client is who publishes a track: what its name says but for the last word.
func (t *track) client() string {
	name, _, _ := cutLast(t.name, "-")
	return name
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// outages tells, by client, what it was told and what came of it, and how long its longest gap
// was around each event; and of each event the longest of all.
func (l *load) outages(t *testing.T, events []event) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	clients := make(map[string][]*track)
	for _, tr := range l.tracks {
		if !strings.Contains(tr.name, "-marks-") && !strings.HasPrefix(tr.name, "dead-") { // those have no pace
			clients[tr.client()] = append(clients[tr.client()], tr)
		}
	}
	around := func(tracks []*track, i int) (longest time.Duration) {
		for _, tr := range tracks {
			for _, g := range tr.gaps {
				if g.to.After(events[i].at) && (i == len(events)-1 || !g.to.After(events[i+1].at)) {
					longest = max(longest, g.long())
				}
			}
		}
		return longest
	}
	worst, who := make([]time.Duration, len(events)), make([]string, len(events))
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "client\tsent\tacknowledged\tlost\ttwice\tout of order\tgap: median\tworst\t")
	for _, name := range slices.Sorted(maps.Keys(clients)) {
		sent, acks, lost, twice, disorder := 0, 0, 0, 0, 0
		for _, tr := range clients[name] {
			sent, acks = sent+tr.sent, acks+tr.acks
			lost, twice, disorder = lost+l.lost[tr], twice+l.twice[tr], disorder+l.disorder[tr]
		}
		var gaps []time.Duration
		for i := range events {
			g := around(clients[name], i)
			gaps = append(gaps, g)
			if g > worst[i] {
				worst[i], who[i] = g, name
			}
		}
		slices.Sort(gaps)
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t\n", name, sent, acks, lost, twice, disorder, gapText(gaps[len(gaps)/2]), gapText(gaps[len(gaps)-1]))
	}
	check(t, w.Flush())
	b.WriteString("the longest gap of any client, by event:")
	for i, e := range events {
		fmt.Fprintf(&b, "\n  %v: %s, %v: %s %s", e.at.Sub(events[0].at).Round(time.Second), e.what, e.took.Round(time.Millisecond), gapText(worst[i]), who[i])
		if *nodesGap > 0 && worst[i] > *nodesGap {
			t.Errorf("%s had no acknowledgement for %v after %s", who[i], worst[i].Round(time.Millisecond), e.what)
		}
	}
	return b.String()
}

func gapText(d time.Duration) string {
	if d < gapLeast {
		return fmt.Sprintf("< %v", gapLeast)
	}
	return cmp.Or(d.Round(time.Millisecond), d).String()
}
