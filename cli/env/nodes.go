package env

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/robustmq/rmq/broker/adminapi"
)

// NodeClient reaches one node of a cluster.
type NodeClient struct {
	Node uint64
	*adminapi.Client
}

// EveryNode returns a client of each node that is up, for what each knows of itself alone: the one that
// is asked, and those that it tells of. Warnings name those that cannot be asked.
func (e *Env) EveryNode(ctx context.Context) (all []NodeClient, warnings []string, err error) {
	c, err := e.Admin()
	if err != nil {
		return nil, nil, err
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, nil, err
	}
	return e.everyNode(c, nodes)
}

func (e *Env) everyNode(c *adminapi.Client, nodes []adminapi.Node) (all []NodeClient, warnings []string, err error) {
	for _, n := range nodes {
		switch {
		case n.Self:
			all = append(all, NodeClient{n.ID, c})
			continue
		case !n.Up:
			warnings = append(warnings, fmt.Sprintf("node %d is down, and was not asked", n.ID))
			continue
		}
		other, err := e.AdminOf(c, &n)
		switch {
		case err != nil:
			return nil, nil, err
		case other == nil && overTLS(c):
			warnings = append(warnings, fmt.Sprintf("node %d serves no HTTP over TLS, and was not asked", n.ID))
		case other == nil:
			warnings = append(warnings, fmt.Sprintf("node %d serves no HTTP, and was not asked", n.ID))
		default:
			all = append(all, NodeClient{n.ID, other})
		}
	}
	if len(all) == 0 { // it is the only one
		all = append(all, NodeClient{0, c})
	}
	return all, warnings, nil
}

// AdminOf returns a client of a node that c has told of. Where c is asked over TLS that node is too, for
// it gets the same password. nil: the node serves nothing that may be asked.
func (e *Env) AdminOf(c *adminapi.Client, n *adminapi.Node) (*adminapi.Client, error) {
	at := n.URLs.HTTPS
	if !overTLS(c) {
		at = cmp.Or(n.URLs.HTTP, at)
	}
	if at == "" {
		return nil, nil
	}
	host := ""
	if u, err := url.Parse(c.Base()); err == nil {
		host = u.Hostname()
	}
	return e.adminAt(reachable(at, host), apiTimeout)
}

func overTLS(c *adminapi.Client) bool { return strings.HasPrefix(c.Base(), "https://") }

// AskEvery asks each of some nodes, all at once, and returns the answers in their order. A node that does
// not answer is a warning, if any other does.
func AskEvery[T any](ctx context.Context, nodes []NodeClient, ask func(context.Context, NodeClient) (T, error)) (answers []T, warnings []string, err error) {
	got, errs := make([]T, len(nodes)), make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { got[i], errs[i] = ask(ctx, n) })
	}
	all.Wait()
	for i, n := range nodes {
		if errs[i] == nil {
			answers = append(answers, got[i])
			continue
		}
		if err == nil {
			err = errs[i]
		}
		warnings = append(warnings, fmt.Sprintf("node %d has not answered: %v", n.Node, errs[i]))
	}
	if len(answers) > 0 {
		return answers, warnings, nil
	}
	return nil, nil, err
}
