package tui

import (
	"context"
	"fmt"

	tea "charm.land/bubbletea/v2"
)

// What keys do to the nodes of a cluster that runs on this machine: what rmq node does. A key asks
// first, and does it when it is pressed once more.

// nodeVerbs are those keys' verbs, as Options.Tell has them.
var nodeVerbs = map[verb]string{killNode: "kill", pauseNode: "pause", resumeNode: "resume", restartNode: "restart"}

// asked is what a key was pressed for the first time.
type asked struct {
	verb verb
	of   string // the node, or the rule
}

// forTell is who asked when a node was told something.
type forTell struct{}

// tells tells whether there is a node to be told something.
func (m *Model) tells() bool {
	if m.opt.Tell == nil || m.at != nodesAt {
		return false
	}
	node, _ := m.screen().copied()
	return node != ""
}

// tellNode tells the node that is looked at, if it was asked before.
func (m *Model) tellNode(v verb, before asked) tea.Cmd {
	node, _ := m.screen().copied()
	now := asked{v, node}
	if before != now {
		m.asked = now
		m.note = fmt.Sprintf("%s once more: %s node %s", shownOf(v), nodeVerbs[v], node)
		return nil
	}
	return m.feed.Do(forTell{}, func(ctx context.Context) (any, error) { return m.opt.Tell(ctx, node, nodeVerbs[v]) })
}

// shownOf is what the key of a verb is called.
func shownOf(v verb) string {
	for i := range keymap {
		if keymap[i].verb == v {
			return keymap[i].shown
		}
	}
	return ""
}
