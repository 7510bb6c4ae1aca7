package admin

import (
	"errors"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
)

func TestMayDoWithout(t *testing.T) {
	up, down := kernel.Node{State: kernel.NodeUp}, kernel.Node{State: kernel.NodeUp, Down: true}
	drained, joining := kernel.Node{State: kernel.NodeDraining}, kernel.Node{State: kernel.NodeJoining}
	for _, tt := range []struct {
		name   string
		nodes  []kernel.Node // of ids 1, 2, …
		id     uint64
		force  bool
		refuse string // ""; it is not
		hint   string
	}{
		{"one of four", []kernel.Node{up, up, up, up}, 2, false, "", ""},
		{"one of three", []kernel.Node{up, up, up}, 2, false, "nodes [1 3] would be left, and none of these may be lost", "rmq node add"},
		{"one of three, forced", []kernel.Node{up, up, up}, 2, true, "", ""},
		{"the one of three that is down", []kernel.Node{up, down, up}, 2, true, "", ""},
		{"one of three beside one that is down", []kernel.Node{up, up, down}, 2, true, "nodes [1 3] would be left, and of these [3] cannot be heard", ""},
		{"one of four beside one that is down", []kernel.Node{up, up, up, down}, 2, false, "", ""},
		{"one of four beside two that are down", []kernel.Node{up, up, down, down}, 2, true, "of these [3 4] cannot be heard", ""},
		{"one of two", []kernel.Node{up, up}, 2, false, "", ""},
		{"the last", []kernel.Node{up}, 1, true, "no other node keeps what it keeps", ""},
		{"the last that is not drained", []kernel.Node{drained, up, joining}, 2, true, "no other node keeps what it keeps", ""},
		{"one that is drained", []kernel.Node{drained, up, up, up}, 1, false, "", ""},
		{"one that joins", []kernel.Node{up, joining}, 2, false, "", ""},
	} {
		replicas := 0
		for i := range tt.nodes {
			tt.nodes[i].ID = uint64(i + 1)
			if tt.nodes[i].State == kernel.NodeUp {
				replicas = min(replicas+1, 3)
			}
		}
		err := mayDoWithout(tt.nodes, tt.id, replicas, tt.force)
		var e *adminapi.Error
		if err != nil {
			e = adminapi.ErrorOf(err)
		}
		switch {
		case tt.refuse == "" && err == nil:
		case tt.refuse == "" || err == nil:
			t.Errorf("%s: %v, want %q", tt.name, err, tt.refuse)
		case e.Code != adminapi.Code(fault.Conflict) || !strings.Contains(e.Message, tt.refuse) || !strings.Contains(e.Hint, tt.hint) || tt.hint == "" && e.Hint != "":
			t.Errorf("%s: %+v, want %q, hint %q", tt.name, errors.Unwrap(err), tt.refuse, tt.hint)
		}
	}
}
