package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/cli/env"
)

// A parent is told what to do with its nodes on a socket that only its user reaches: the
// directory is. So signals are sent by who started the process and knows that it is the same
// one still.
//
//	POST /nodes/{id}/{kill, pause, resume or restart} → env.RunNode, once it is done
//	POST /nodes/{id}/remove, of a node that has left its cluster → env.RunNode, once it has ended
//	POST /nodes?rack=… → env.RunNode, once it is up

// socketMax is how long the path of a socket may be on every system, in bytes.
const socketMax = 100

// control is that socket.
type control struct {
	path   string
	dir    string // made for it; "": none
	server *http.Server
	served chan struct{}
}

func listenControl(dir, name string, p *parent) (*control, error) {
	c := &control{path: filepath.Join(dir, name+".sock"), served: make(chan struct{})}
	if len(c.path) > socketMax {
		var err error
		if c.dir, err = os.MkdirTemp("", "rmq-"); err != nil { // for its owner alone
			return nil, err
		}
		c.path = filepath.Join(c.dir, "control.sock")
	}
	// One that was left behind is in the way. The broker of that name, if it runs, was found by
	// its run file before.
	if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", c.path)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /nodes/{id}/{verb}", func(w http.ResponseWriter, r *http.Request) {
		n, err := p.do(r.Context(), r.PathValue("id"), r.PathValue("verb"))
		if err != nil {
			adminapi.WriteError(w, err)
			return
		}
		_ = json.NewEncoder(w).Encode(n) // who asked may have left
	})
	mux.HandleFunc("POST /nodes", func(w http.ResponseWriter, r *http.Request) {
		n, err := p.add(r.Context(), r.URL.Query().Get("rack"))
		if err != nil {
			adminapi.WriteError(w, env.Explain(p.u.explain(err, p.base)).Wire())
			return
		}
		_ = json.NewEncoder(w).Encode(n) // who asked may have left
	})
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: closeTimeout}
	go func() { // ends with close
		defer close(c.served)
		_ = c.server.Serve(l) // always ErrServerClosed
	}()
	return c, nil
}

func (c *control) close() error {
	err := c.server.Close()
	<-c.served
	if c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}

// do does what was asked of a node, and returns once that is so.
func (p *parent) do(ctx context.Context, id, verb string) (env.RunNode, error) {
	c, ids := p.child(id)
	if c == nil {
		return env.RunNode{}, fault.New(fault.NotFound, verb, "node "+id, "the nodes are %s", strings.Join(ids, ", "))
	}
	if verb == "remove" {
		return p.remove(ctx, c)
	}
	reached, err := c.begin(verb)
	if err != nil {
		return env.RunNode{}, err
	}
	for {
		p.mu.Lock()
		turn, state, ok := p.turn, c.state, reached()
		p.mu.Unlock()
		if ok {
			p.tell() // what is asked next finds it so
			return state, nil
		}
		select {
		case <-turn:
		case <-p.ctx.Done():
			return state, fault.New(fault.Unavailable, verb, "node "+id, "the cluster is ending")
		case <-ctx.Done():
			return state, context.Cause(ctx)
		}
	}
}

// child finds a node; ids are those that there are.
func (p *parent) child(id string) (found *child, ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.children {
		ids = append(ids, strconv.FormatUint(c.state.ID, 10))
		if ids[len(ids)-1] == id {
			found = c
		}
	}
	return found, ids
}

// begin does it, and returns what tells that it is done. That is called with p.mu held.
func (c *child) begin(verb string) (reached func() bool, err error) {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	process, state := c.process, c.state.State
	is := func(states ...string) bool {
		for _, s := range states {
			if c.state.State == s {
				return true
			}
		}
		return false
	}
	refuse := func(why string) (func() bool, error) {
		return nil, fault.New(fault.Conflict, verb, "node "+strconv.FormatUint(c.state.ID, 10), "%s", why)
	}
	if process == nil && verb != "restart" {
		return refuse("it does not run: it is " + state)
	}
	switch verb {
	case "kill":
		return func() bool { return c.process != process }, process.Kill()
	case "pause":
		if state == env.NodePaused {
			return refuse("it is paused already")
		}
		if err := env.Pause(process); err != nil {
			return nil, err
		}
		c.before = state
		c.enterLocked(env.NodePaused)
		return func() bool { return true }, nil
	case "resume":
		if state != env.NodePaused {
			return refuse("it is not paused")
		}
		if err := env.Resume(process); err != nil {
			return nil, err
		}
		c.enterLocked(c.before)
		return func() bool { return true }, nil
	case "restart":
		if process == nil {
			select {
			case c.again <- struct{}{}:
			default: // it is on its way
			}
		} else {
			c.restart = true
			c.endLocked()
		}
		return func() bool { return c.process != nil && c.process != process && is(env.NodeUp) }, nil
	}
	return nil, fault.New(fault.Invalid, verb, "", "it is none of kill, pause, resume, restart, remove")
}

// answers tells whether somebody listens on a socket.
func answers(path string) bool {
	c, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was said
	return true
}

// tellParent asks a parent to do something with a node.
func tellParent(ctx context.Context, run env.Run, id, verb string) (env.RunNode, error) {
	return callParent(ctx, run, "/nodes/"+id+"/"+verb)
}

// addToParent asks a parent for one more node.
func addToParent(ctx context.Context, run env.Run, rack string) (env.RunNode, error) {
	return callParent(ctx, run, "/nodes?"+url.Values{"rack": {rack}}.Encode())
}

// callParent asks a parent for something, over its socket.
func callParent(ctx context.Context, run env.Run, path string) (env.RunNode, error) {
	var n env.RunNode
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", run.Control)
	}}}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://parent"+path, nil)
	if err != nil {
		return n, err
	}
	resp, err := c.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		return n, &env.Failure{Exit: env.Unreachable, What: "rmq up of " + run.Name + " does not answer on " + run.Control, Hint: "see whether it runs: rmq status --all", Err: err}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var e adminapi.Envelope
		if err := json.NewDecoder(resp.Body).Decode(&e); err == nil && e.Error != nil {
			return n, e.Error
		}
		return n, env.Failf(env.Failed, "rmq up answered %s", resp.Status)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return n, err
	}
	return n, json.Unmarshal(b.Bytes(), &n)
}
