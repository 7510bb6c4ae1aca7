package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/cli/env"
)

// A parent's nodes come and go. One that comes is taken in by the cluster first, which gives it its
// id; its data directory says so from then on, and it is started as all others are.

// add starts one more node, and returns once it is up.
func (p *parent) add(ctx context.Context, rack string) (n env.RunNode, err error) {
	p.adding.Lock()
	defer p.adding.Unlock()
	refuse := func(format string, args ...any) (env.RunNode, error) {
		return n, fault.New(fault.Conflict, "add", "node", format, args...)
	}
	if p.base.DataDir == "" {
		return refuse("this cluster is in memory: a node of it would come back without what it keeps")
	}
	p.mu.Lock()
	nodes := maps.Clone(p.children[0].config.Cluster.Peers)
	var ask []string
	for _, c := range p.children {
		if c.state.State == env.NodeUp {
			ask = append(ask, c.config.Cluster.Peers[c.state.ID])
		}
	}
	p.mu.Unlock()
	if len(ask) == 0 {
		return refuse("no node is up that could take it in")
	}
	token, err := os.ReadFile(p.token)
	if err != nil {
		return n, err
	}
	free := map[uint64]string{0: ""}
	if err := freeAddresses(free); err != nil {
		return n, err
	}
	id, all, keep, err := addTo(ctx, ask[0], strings.TrimSpace(string(token)), p.base.TLS, free[0], rack)
	if err != nil {
		return n, err
	}
	for other, at := range all {
		if nodes[other] == "" || other == id {
			nodes[other] = at
		}
	}
	config, err := p.base.ofNode(id)
	if err != nil {
		return n, err
	}
	config.Cluster = &Cluster{Self: id, Peers: nodes, Rack: rack}
	if err := keep(config.DataDir); err != nil {
		return n, err
	}
	c := p.newChild(config)
	c.added = true
	p.mu.Lock()
	if p.ending {
		p.mu.Unlock()
		return refuse("the cluster is ending")
	}
	p.children = append(p.children, c)
	p.knowLocked(nodes)
	p.keeping.Add(1)
	p.mu.Unlock()
	first := make(chan error, 1)
	go func() { // ends with the node, or with the cluster
		defer p.keeping.Done()
		c.keep(first)
	}()
	select {
	case err = <-first:
	case <-ctx.Done(): // it goes on
		err = context.Cause(ctx)
	case <-p.ctx.Done():
		err = fault.New(fault.Unavailable, "add", "node", "the cluster is ending")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.state, err
}

// knowLocked has all nodes start with these addresses from now on. Caller holds p.mu.
func (p *parent) knowLocked(nodes map[uint64]string) {
	for _, c := range p.children {
		cluster := *c.config.Cluster
		cluster.Peers = nodes
		c.config.Cluster = &cluster
	}
}

// remove ends a node's process for good, and gives its data directory a name under which the cluster
// is not started with it again.
func (p *parent) remove(ctx context.Context, c *child) (env.RunNode, error) {
	p.adding.Lock()
	defer p.adding.Unlock()
	p.mu.Lock()
	c.removed = true
	c.endLocked()
	p.mu.Unlock()
	select {
	case c.again <- struct{}{}: // it may be waiting for its next start
	default:
	}
	for {
		p.mu.Lock()
		turn, runs := p.turn, c.process != nil
		p.mu.Unlock()
		if !runs {
			break
		}
		select {
		case <-turn:
		case <-ctx.Done():
			return env.RunNode{}, context.Cause(ctx)
		}
	}
	p.mu.Lock()
	state, nodes := c.state, maps.Clone(c.config.Cluster.Peers)
	delete(nodes, state.ID)
	p.children = slices.DeleteFunc(p.children, func(other *child) bool { return other == c })
	p.knowLocked(nodes)
	p.mu.Unlock()
	state.State = env.NodeStopped
	var err error
	if state.DataDir != "" {
		state.DataDir, err = putAside(state.DataDir)
	}
	p.tell()
	return state, err
}

// putAside renames the directory of a node that was removed.
func putAside(dir string) (string, error) {
	to := dir + removedDir
	for i := 2; ; i++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
		to = fmt.Sprintf("%s%s-%d", dir, removedDir, i)
	}
	if err := os.Rename(dir, to); err != nil {
		return dir, err
	}
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return to, err
	}
	return to, errors.Join(parent.Sync(), parent.Close())
}
