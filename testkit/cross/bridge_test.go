package cross

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/storagetest"
	"github.com/robustmq/rmq/broker/vfs"
	"github.com/robustmq/rmq/testkit"
)

// api is the administration of a node.
func (e *env) api() *adminapi.Client {
	e.t.Helper()
	return must(adminapi.NewClient(e.HTTP(), http.DefaultClient))(e.t)
}

// bridge adds a bridge, by way of any node.
func (e *env) bridge(name, url string, routes ...setting.Route) adminapi.Bridge {
	e.t.Helper()
	return must(e.at(2).api().AddBridge(e.ctx, adminapi.BridgeSpec{Name: name, Bridge: setting.Bridge{URL: url, Routes: routes}}))(e.t)
}

// bridged waits until a bridge is in a state, as every node tells it.
func (e *env) bridged(name, state string) (last adminapi.Bridge) {
	e.t.Helper()
	for node := 1; node <= *nodesFlag; node++ {
		last = e.bridgeIs(node, name, state, func(b adminapi.Bridge) bool { return b.State == state })
	}
	return last
}

func (e *env) bridgeIs(node int, name, what string, is func(adminapi.Bridge) bool) (b adminapi.Bridge) {
	e.t.Helper()
	at := e.at(node)
	at.Want(e.t).That(fmt.Sprintf("bridge %s %s", name, what), func() bool {
		var err error
		b, err = at.api().Bridge(e.ctx, name)
		return err == nil && is(b)
	})
	return b
}

func both(filter string, qos uint8) setting.Route {
	return setting.Route{Direction: setting.Both, Filter: filter, QoS: qos}
}

// What is published on one broker is published on the other, under its name there, with its quality of
// service, RETAIN, and, in MQTT 5, its properties.
func TestBridge(t *testing.T) {
	for _, tt := range []struct{ protocol, scheme string }{{"5", "mqtt"}, {"3.1.1", "mqtt"}, {"5", "ws"}} {
		t.Run(tt.protocol+" "+tt.scheme, func(t *testing.T) {
			here, there := start(t), start(t)
			url := there.MQTT()
			if tt.scheme == "ws" {
				url = there.WebSocket()
			}
			must(here.api().AddBridge(here.ctx, adminapi.BridgeSpec{Name: "up", Bridge: setting.Bridge{
				URL: url, Protocol: tt.protocol, Routes: []setting.Route{
					{Direction: setting.Out, Filter: "temp/#", QoS: 2, Local: "dev/", Remote: "site1/"},
					{Direction: setting.In, Filter: "cmd/#", QoS: 2, Local: "cloud/"},
					both("twin/#", 2),
					{Direction: setting.Out, Filter: "", QoS: 1, Local: "one", Remote: "other/name"},
				},
			}}))(t)
			here.bridged("up", adminapi.BridgeConnected)
			far, near := there.sub("site1/#", "other/#"), here.sub("cloud/#", "twin/#")
			for qos := range byte(3) {
				p := &paho.Publish{Topic: "dev/temp/a", QoS: qos, Payload: fmt.Append(nil, "out ", qos), Retain: qos == 1, Properties: &paho.PublishProperties{
					ContentType: "text/plain", CorrelationData: []byte{1, 0}, ResponseTopic: "answers", User: paho.UserProperties{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}},
				}}
				here.publishMQTT(p)
				got := far.next()
				if got.Topic != "site1/temp/a" || got.QoS != qos || string(got.Payload) != string(p.Payload) {
					t.Errorf("QoS %d: got %s at QoS %d: %q", qos, got.Topic, got.QoS, got.Payload)
				}
				if got.Retain != (qos == 1) {
					t.Errorf("QoS %d: RETAIN is %v", qos, got.Retain)
				}
				props := got.Properties
				if tt.protocol == "5" && (props.ContentType != "text/plain" || string(props.CorrelationData) != "\x01\x00" || props.ResponseTopic != "answers" ||
					len(props.User) != 3 || props.User[0].Key != "b" || props.User[1].Value != "2") {
					t.Errorf("QoS %d: properties %+v", qos, props)
				}
				p.Topic, p.Payload = "cmd/x", fmt.Append(nil, "in ", qos)
				there.publishMQTT(p)
				got = near.next()
				if got.Topic != "cloud/cmd/x" || got.QoS != qos || string(got.Payload) != string(p.Payload) {
					t.Errorf("QoS %d: got %s at QoS %d: %q", qos, got.Topic, got.QoS, got.Payload)
				}
				if got.Retain != (qos == 1) {
					t.Errorf("QoS %d: RETAIN is %v", qos, got.Retain)
				}
				if tt.protocol == "5" && (got.Properties.ContentType != "text/plain" || len(got.Properties.User) < 2 || got.Properties.User[0].Key != "b" || got.Properties.User[1].Value != "2") {
					t.Errorf("QoS %d: properties %+v", qos, got.Properties)
				}
			}
			for _, e := range []*env{here, there} { // and nothing comes back: the second would be behind it
				e.publishMQTT(&paho.Publish{Topic: "twin/x", QoS: 1, Payload: []byte("v")})
				if got := near.next(); got.Topic != "twin/x" {
					t.Errorf("got %s", got.Topic)
				}
			}
			there.publishMQTT(&paho.Publish{Topic: "cmd/end", QoS: 2, Payload: []byte("v")})
			if got := near.next(); got.Topic != "cloud/cmd/end" {
				t.Errorf("%s came twice", got.Topic)
			}
			here.publishMQTT(&paho.Publish{Topic: "one", QoS: 1, Payload: []byte("v")})
			if got := far.next(); got.Topic != "other/name" {
				t.Errorf("a topic of another name came as %s", got.Topic)
			}
			far.behind(here, "dev/temp/end", "site1/temp/end")
			near.behind(there, "cmd/last", "cloud/cmd/last")
		})
	}
}

// Messages for a broker that is away wait, also while this one is away, and none is lost or comes twice;
// what the other broker has meanwhile waits there.
func TestBridgeWaits(t *testing.T) {
	if *nodesFlag > 1 {
		t.Skip("a cluster is not restarted here")
	}
	here, there := start(t, testkit.DataDir(t.TempDir())), start(t, testkit.DataDir(t.TempDir()))
	here.bridge("up", there.MQTT(), both("a/#", 2))
	here.bridged("up", adminapi.BridgeConnected)
	taker := func(e *env) *mqttClient {
		c := e.mqtt(func(c *paho.Connect) {
			forever := uint32(0xFFFFFFFF)
			c.ClientID, c.CleanStart, c.Properties = "taker", false, &paho.ConnectProperties{SessionExpiryInterval: &forever}
		})
		must(c.Subscribe(e.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "a/#", QoS: 2}}}))(t)
		return c
	}
	far := taker(there)
	check(t, far.Disconnect(&paho.Disconnect{}))
	check(t, there.Close())
	here.bridged("up", adminapi.BridgeAway)
	const n = 20
	send := func(e *env, from int) {
		pub := e.mqtt()
		for i := range n {
			must(pub.Publish(e.ctx, &paho.Publish{Topic: fmt.Sprintf("a/%d", from+i), QoS: byte(1 + i%2), Payload: []byte("v")}))(t)
		}
		check(t, pub.Disconnect(&paho.Disconnect{}))
	}
	send(here, 0)
	here.Restart()
	send(here, n)
	if b := must(here.api().Bridge(here.ctx, "up"))(t); b.Queued != 2*n {
		t.Errorf("%d messages wait, %d were sent", b.Queued, 2*n)
	}
	check(t, here.Close())
	there.Restart()
	send(there, 2*n)
	far = taker(there)
	here.Restart()
	for i := range n {
		if p := far.next(); p.Topic != fmt.Sprintf("a/%d", 2*n+i) { // its own
			t.Fatalf("got %s", p.Topic)
		}
	}
	near := here.sub("a/#")
	here.bridged("up", adminapi.BridgeConnected)
	for i := range 2 * n {
		if p := far.next(); p.Topic != fmt.Sprintf("a/%d", i) || int(p.QoS) != 1+i%2 {
			t.Fatalf("message %d is %s at QoS %d", i, p.Topic, p.QoS)
		}
	}
	here.bridgeIs(1, "up", "with nothing to send", func(b adminapi.Bridge) bool { return b.Queued == 0 })
	send(there, 3*n)
	for i := 0; i < n; i++ { // and none of its own that come back
		if p := far.next(); p.Topic != fmt.Sprintf("a/%d", 3*n+i) {
			t.Fatalf("got %s", p.Topic)
		}
	}
	last := ""
	for last != fmt.Sprintf("a/%d", 4*n-1) {
		last = near.next().Topic
	}
	near.behind(there, "a/end", "a/end")
}

// A power cut takes none of the messages that wait.
func TestBridgePowerCut(t *testing.T) {
	if *nodesFlag > 1 {
		t.Skip("one disk")
	}
	on := func(disk *vfs.Mem) testkit.Option {
		return testkit.Configure(func(c *broker.Config) {
			c.Engine = must(filelog.Open("data", filelog.Options{FS: disk, Checkpoints: func(path string) (filelog.CheckpointStore, error) {
				return storagetest.OpenCheckpoints(disk, path), nil
			}}))(t)
		})
	}
	there := start(t, testkit.DataDir(t.TempDir()))
	disk := vfs.NewMem()
	here := start(t, on(disk))
	here.bridge("up", there.MQTT(), both("a/#", 2))
	here.bridged("up", adminapi.BridgeConnected)
	check(t, there.Close())
	here.bridged("up", adminapi.BridgeAway)
	const n = 20
	pub := here.mqtt()
	for i := range n {
		must(pub.Publish(here.ctx, &paho.Publish{Topic: fmt.Sprintf("a/%d", i), QoS: byte(1 + i%2), Payload: []byte("v")}))(t)
	}
	disk = disk.CrashClone(1)
	check(t, here.Close())
	start(t, on(disk))
	there.Restart()
	far := there.sub("a/#")
	for i := range n {
		if p := far.next(); p.Topic != fmt.Sprintf("a/%d", i) {
			t.Fatalf("message %d is %s", i, p.Topic)
		}
	}
}

// Brokers with bridges in a ring, of two or more, have each message once. Where two bridges do the same, it
// comes by each, and no more.
func TestBridgeLoop(t *testing.T) {
	for _, tt := range []struct {
		n         int
		direction setting.Direction
		twice     bool // on other brokers than where it was published
	}{{2, setting.Out, false}, {3, setting.Out, false}, {3, setting.In, false}, {2, setting.Both, true}} {
		n := tt.n
		t.Run(fmt.Sprint(n, tt.direction), func(t *testing.T) {
			var all []*env
			var clients []*mqttClient
			for range n {
				all = append(all, start(t))
			}
			for i, e := range all {
				e.bridge("next", all[(i+1)%n].MQTT(), setting.Route{Direction: tt.direction, Filter: "a/#", QoS: 1})
				clients = append(clients, e.sub("a/#"))
			}
			for _, e := range all {
				e.bridged("next", adminapi.BridgeConnected)
			}
			// The last of one broker goes the same ways as the first, behind it.
			for _, text := range []string{"first", "second", "last"} {
				for i, e := range all {
					e.publishMQTT(&paho.Publish{Topic: fmt.Sprintf("a/%d", i), QoS: 1, Payload: []byte(text)})
				}
			}
			for i, c := range clients {
				var want, got []string
				for j := range n {
					for _, text := range []string{"first", "last", "second"} {
						want = append(want, fmt.Sprintf("a/%d %s", j, text))
						if tt.twice && j != i {
							want = append(want, want[len(want)-1])
						}
					}
				}
				for range want {
					p := c.next()
					got = append(got, p.Topic+" "+string(p.Payload))
				}
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("broker %d has %q", i, got)
				}
			}
			for _, e := range all { // all that is under way has come back, and the end goes the same ways behind it
				e.bridgeIs(1, "next", "at rest", func(b adminapi.Bridge) bool { return b.Queued == 0 })
			}
			for _, e := range all {
				e.publishMQTT(&paho.Publish{Topic: "a/end", QoS: 1})
			}
			for i, c := range clients {
				ends := n
				if tt.twice {
					ends += n - 1
				}
				for range ends {
					if p := c.next(); p.Topic != "a/end" {
						t.Errorf("broker %d has %s a second time", i, p.Topic)
					}
				}
			}
		})
	}
}

// Retained messages that were there before the bridge are told to the other broker, once.
func TestBridgeRetained(t *testing.T) {
	here, there := start(t), start(t)
	here.publishMQTT(&paho.Publish{Topic: "a/1", QoS: 1, Retain: true, Payload: []byte("here")})
	there.publishMQTT(&paho.Publish{Topic: "b/1", QoS: 1, Retain: true, Payload: []byte("there")})
	here.bridge("up", there.MQTT(), setting.Route{Direction: setting.Out, Filter: "a/#", QoS: 1}, setting.Route{Direction: setting.In, Filter: "b/#", QoS: 1})
	there.Want(t).Retained("a/1", 1)
	here.Want(t).Retained("b/1", 1)
	here.publishMQTT(&paho.Publish{Topic: "a/1", QoS: 1, Retain: true}) // is cleared there too
	there.Want(t).That("no retained message", func() bool { return len(there.Retained("a/1")) == 0 })
}

// An operator stops a bridge for a while, and for good.
func TestBridgePause(t *testing.T) {
	here, there := start(t), start(t)
	here.bridge("up", there.MQTT(), both("a/#", 1))
	far := there.sub("a/#")
	here.bridged("up", adminapi.BridgeConnected)
	state := here.sub("$SYS/broker/connection/+/state")
	sees := func(want string) {
		t.Helper()
		if p := state.next(); p.Topic != "$SYS/broker/connection/up/state" || string(p.Payload) != want {
			t.Errorf("%s is %q, not %s", p.Topic, p.Payload, want)
		}
	}
	sees("1")
	must(here.api().PauseBridge(here.ctx, "up", true))(t)
	here.bridged("up", adminapi.BridgePaused)
	sees("0")
	client := "" // at the other broker
	there.Want(t).That("a session without its client", func() bool {
		for _, s := range there.Kernel().Sessions("/") {
			if strings.HasPrefix(s.ClientID, "rmq-up-") && !s.Connected {
				client = s.ClientID
			}
		}
		return client != ""
	})
	here.publishMQTT(&paho.Publish{Topic: "a/1", QoS: 1, Payload: []byte("v")})
	here.bridgeIs(1, "up", "with a message that waits", func(b adminapi.Bridge) bool { return b.Queued == 1 })
	must(here.at(3).api().PauseBridge(here.ctx, "up", false))(t)
	far.next()
	here.bridged("up", adminapi.BridgeConnected)
	sees("1")

	// Another broker's bridge tells its state here, and nobody that of ours.
	for name, want := range map[string]byte{"up": 0x90, "theirs": 0} {
		r, err := here.mqtt().Publish(here.ctx, &paho.Publish{Topic: "$SYS/broker/connection/" + name + "/state", QoS: 1, Payload: []byte("1")})
		if r == nil || r.ReasonCode != want {
			t.Errorf("the state of %s published by a client: %+v, %v", name, r, err)
		}
	}
	if p := state.next(); p.Topic != "$SYS/broker/connection/theirs/state" {
		t.Errorf("got %s", p.Topic)
	}

	check(t, here.at(3).api().RemoveBridge(here.ctx, "up"))
	there.Want(t).That("no session of the bridge", func() bool { return !there.Session(client).Exists() })
	if here.Session("$bridge/up").Exists() {
		t.Error("its session is still there")
	}
	if err := here.api().RemoveBridge(here.ctx, "up"); !adminKind(err, fault.NotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

func adminKind(err error, k fault.Kind) bool {
	a, ok := err.(*adminapi.Error)
	return ok && a.Code == adminapi.Code(k)
}

// What cannot be is refused, and what the other broker refuses is told.
func TestBridgeRefused(t *testing.T) {
	here, there := start(t), start(t, testkit.User("ann", "secret"))
	add := func(name string, change func(*setting.Bridge)) error {
		b := setting.Bridge{URL: there.MQTT(), Routes: []setting.Route{both("a/#", 1)}}
		change(&b)
		_, err := here.api().AddBridge(here.ctx, adminapi.BridgeSpec{Name: name, Bridge: b})
		return err
	}
	route := func(r setting.Route) func(*setting.Bridge) {
		return func(b *setting.Bridge) { b.Routes = []setting.Route{r} }
	}
	for name, change := range map[string]func(*setting.Bridge){
		"filter":      route(both("a/#/b", 1)),
		"prefix":      route(setting.Route{Direction: setting.Out, Filter: "a", Local: "+/"}),
		"direction":   route(setting.Route{Direction: "up", Filter: "a"}),
		"qos":         route(both("a", 3)),
		"sys":         route(setting.Route{Direction: setting.In, Filter: "$SYS/#"}),
		"share":       route(setting.Route{Direction: setting.Out, Filter: "$share/g/a"}),
		"nothing":     func(b *setting.Bridge) { b.Routes = nil },
		"twice":       func(b *setting.Bridge) { b.Routes = append(b.Routes, b.Routes[0]) },
		"scheme":      func(b *setting.Bridge) { b.URL = "kafka://127.0.0.1:1" },
		"host":        func(b *setting.Bridge) { b.URL = "mqtt://" },
		"password":    func(b *setting.Bridge) { b.URL = "mqtt://ann:secret@127.0.0.1:1" },
		"certificate": func(b *setting.Bridge) { b.URL, b.CACert = "mqtts://127.0.0.1:1", "no PEM" },
		"plain":       func(b *setting.Bridge) { b.Insecure = true },
		"protocol":    func(b *setting.Bridge) { b.Protocol = "4" },
		"keep-alive":  func(b *setting.Bridge) { b.KeepAlive = 1 },
		"na/me":       func(*setting.Bridge) {},
	} {
		err := add(name, change)
		if !adminKind(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s tells the password: %v", name, err)
		}
	}
	check(t, add("up", func(*setting.Bridge) {}))
	if err := add("up", func(*setting.Bridge) {}); !adminKind(err, fault.Exists) {
		t.Errorf("a name that is taken: %v", err)
	}
	check(t, add("nobody", func(b *setting.Bridge) { b.URL = "mqtt://nobody.invalid" }))
	check(t, add("wrong", func(b *setting.Bridge) { b.User, b.Password = "ann", "guess" }))
	check(t, add("old", func(b *setting.Bridge) { b.Protocol, b.User, b.Password = "3.1.1", "ann", "guess" }))
	for name, want := range map[string]string{
		"up": "bad user name or password", "nobody": "nobody.invalid", "wrong": "bad user name or password", "old": "user name or password",
	} {
		b := here.bridgeIs(1, name, "that fails", func(b adminapi.Bridge) bool { return b.Error != "" })
		if !strings.Contains(b.Error, want) || b.State != adminapi.BridgeAway {
			t.Errorf("%s: %s, %s", name, b.State, b.Error)
		}
		if b.Password != "" {
			t.Errorf("%s shows its password", name)
		}
	}
	if _, err := here.api().Settings(here.ctx, "", setting.KindBridge); !adminKind(err, fault.Unsupported) {
		t.Errorf("bridges as settings: %v", err)
	}
	check(t, add("right", func(b *setting.Bridge) { b.User, b.Password = "ann", "secret" }))
	here.bridged("right", adminapi.BridgeConnected)
	r := must(http.Get(here.HTTP() + "/metrics"))(t)
	defer r.Body.Close()
	text := string(must(io.ReadAll(r.Body))(t))
	for _, line := range []string{`rmq_bridge_connected{bridge="right"} 1`, `rmq_bridge_connected{bridge="wrong"} 0`, `rmq_bridge_messages_queued{bridge="right"} 0`} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no metric %s", line)
		}
	}
	// A client of MQTT does not get at what waits.
	link := must(net.Dial("tcp", strings.TrimPrefix(here.MQTT(), "mqtt://")))(t)
	ack, err := paho.NewClient(paho.ClientConfig{Conn: link, PacketTimeout: patience}).Connect(here.ctx, &paho.Connect{ClientID: "$bridge/up", KeepAlive: 60})
	if err == nil || ack == nil || ack.ReasonCode != 0x85 {
		t.Errorf("a client with the identifier of a bridge's session: %+v, %v", ack, err)
	}
}

// One node of a cluster runs a bridge; another does when that one fails, and nothing is lost or comes twice.
func TestBridgeTakeover(t *testing.T) {
	there := start(t)
	nodes := testkit.Cluster(t, 3)
	here := &env{t: t, ctx: there.ctx, Broker: nodes.Node(1)}
	here.bridge("up", there.MQTT(), both("a/#", 2))
	b := here.bridgeIs(1, "up", "connected", func(b adminapi.Bridge) bool { return b.State == adminapi.BridgeConnected })
	far := there.sub("a/#")
	first := int(b.Node)
	next, other := first%3+1, (first+1)%3+1
	at := func(node int) *env { return &env{t: t, ctx: there.ctx, Broker: nodes.Node(node)} }
	const n = 30
	pub := at(next).mqtt()
	for i := range n {
		if i == n/3 {
			nodes.Stop(first)
		}
		must(pub.Publish(here.ctx, &paho.Publish{Topic: "a/x", QoS: 2, Payload: fmt.Append(nil, i)}))(t)
	}
	for i := range n {
		if p := far.next(); string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, p.Payload)
		}
	}
	at(other).bridgeIs(1, "up", "connected elsewhere", func(b adminapi.Bridge) bool { return b.State == adminapi.BridgeConnected && int(b.Node) != first })
	near := at(other).sub("a/#")
	there.publishMQTT(&paho.Publish{Topic: "a/back", QoS: 2, Payload: []byte("v")})
	if p := near.next(); p.Topic != "a/back" {
		t.Errorf("got %s", p.Topic)
	}
	far.next() // its own
	far.behind(at(other), "a/end", "a/end")
	nodes.Start(first)
}
