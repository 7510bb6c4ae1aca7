package cross

import (
	"fmt"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"github.com/robustmq/rmq/broker/setting"
)

// at is the same broker, with MQTT clients on a node of another number, from 1 on and round.
func (e *env) at(node int) *env {
	if e.nodes == nil {
		return e
	}
	c := *e
	c.Broker = e.nodes.Node(1 + (node-1)%*nodesFlag)
	return &c
}

func (e *env) set(kind setting.Kind, name string, value any) {
	e.t.Helper()
	check(e.t, e.Kernel().PutSetting(e.ctx, must(setting.New("/", kind, name, value))(e.t)))
}

// All messages of one publisher go to one member, in order, whichever nodes they are on; another
// member has them when that one leaves.
func TestShareByPublisher(t *testing.T) {
	e := start(t)
	e.set(setting.KindShare, "workers", setting.Share{Strategy: "hash-client"})
	var members []*mqttClient
	for i := range 3 {
		members = append(members, e.at(i+1).sub("$share/workers/jobs/#"))
	}
	pub := e.at(2).mqtt(func(c *paho.Connect) { c.ClientID = "press" })
	const n = 20
	for i := range n {
		must(pub.Publish(e.ctx, &paho.Publish{Topic: fmt.Sprint("jobs/", i), QoS: 1, Payload: fmt.Append(nil, i)}))(t)
	}
	first := func() (mine int, p *paho.Publish) {
		select {
		case p = <-members[0].got:
		case p = <-members[1].got:
			mine = 1
		case p = <-members[2].got:
			mine = 2
		case <-e.ctx.Done():
			t.Fatal("nothing came")
		}
		return mine, p
	}
	one, p := first()
	for i := range n {
		if i > 0 {
			p = members[one].next()
		}
		if string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("member %d got %s in place of %d", one, p.Payload, i)
		}
	}
	check(t, members[one].Disconnect(&paho.Disconnect{}))
	must(pub.Publish(e.ctx, &paho.Publish{Topic: "jobs/last", QoS: 1, Payload: []byte("last")}))(t)
	if other, p := first(); other == one || string(p.Payload) != "last" {
		t.Errorf("member %d got %s, when %d had left", other, p.Payload, one)
	}
}
