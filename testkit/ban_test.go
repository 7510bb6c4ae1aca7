package testkit_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/testkit"
)

// five connects a client of MQTT 5, and tells what the server says when it ends the connection.
func five(t *testing.T, b *testkit.Broker, id, user string) (c *paho.Client, ended <-chan *paho.Disconnect, ack *paho.Connack, err error) {
	t.Helper()
	nc, err := net.Dial("tcp", strings.TrimPrefix(b.MQTT(), "mqtt://"))
	check(t, err)
	told := make(chan *paho.Disconnect, 1)
	c = paho.NewClient(paho.ClientConfig{Conn: nc, OnServerDisconnect: func(d *paho.Disconnect) { told <- d }})
	t.Cleanup(func() { _ = nc.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ack, err = c.Connect(ctx, &paho.Connect{ClientID: id, KeepAlive: 60, CleanStart: true, UsernameFlag: user != "", Username: user})
	return c, told, ack, err
}

// patient waits for what is to come.
func patient[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: nothing came", what)
	}
	return v
}

// A ban that one node was told of keeps its subject out of every protocol on another, ends what it has
// there, and lets others be.
func TestBans(t *testing.T) {
	t.Parallel()
	c := testkit.Cluster(t, 3)
	k, b := c.Node(1).Kernel(), c.Node(3)
	ctx := t.Context()
	put := func(ban acl.Ban) { t.Helper(); check(t, k.PutBan(ctx, ban)) }

	// By client id.
	_, ended, _, err := five(t, b, "dev1", "")
	check(t, err)
	_, others, _, err := five(t, b, "dev2", "")
	check(t, err)
	put(acl.Ban{Client: "dev1", Reason: "too loud"})
	if d := patient(t, ended, "the end of a banned client"); d.ReasonCode != byte(mqttwire.AdministrativeAction) || !strings.Contains(d.Properties.ReasonString, "too loud") {
		t.Errorf("ended with %#x, %q", d.ReasonCode, d.Properties.ReasonString)
	}
	if _, _, ack, err := five(t, b, "dev1", ""); err == nil || ack == nil || ack.ReasonCode != byte(mqttwire.Banned) {
		t.Errorf("a banned client is told %+v, %v", ack, err)
	}
	was, err := k.DeleteBan(ctx, acl.Ban{Client: "dev1"})
	check(t, err)
	if _, _, _, err := five(t, b, "dev1", ""); err != nil || !was {
		t.Errorf("no longer banned, and: %v", err)
	}

	// By user, over AMQP and MQTT.
	conn := must(amqp.Dial(strings.Replace(b.AMQP(), "amqp://", "amqp://ann:x@", 1)))(t)
	defer conn.Close()
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	_, annEnded, _, err := five(t, b, "dev3", "ann")
	check(t, err)
	put(acl.Ban{User: "ann"})
	if e := patient(t, closed, "the end of a banned user"); e == nil || e.Code != amqp.ConnectionForced || !strings.Contains(e.Reason, "banned") {
		t.Errorf("AMQP ended with %v", e)
	}
	if d := patient(t, annEnded, "the end of a banned user"); d.ReasonCode != byte(mqttwire.AdministrativeAction) {
		t.Errorf("ended with %#x", d.ReasonCode)
	}
	if _, err := amqp.Dial(strings.Replace(b.AMQP(), "amqp://", "amqp://ann:x@", 1)); !errors.Is(err, amqp.ErrCredentials) {
		t.Errorf("a banned user over AMQP: %v", err)
	}

	// By address, over Kafka; and for a time.
	kafka := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.AllowAutoTopicCreation(), kgo.RequestRetries(0), kgo.RetryTimeout(time.Millisecond)))(t)
	defer kafka.Close()
	check(t, kafka.Ping(ctx))
	put(acl.Ban{Host: "127.0.0.0/8", Until: time.Now().Add(time.Hour)})
	if err := kafka.Ping(ctx); err == nil {
		t.Error("a banned address was answered over Kafka")
	}
	if d := patient(t, others, "the end of a banned address"); d.ReasonCode != byte(mqttwire.AdministrativeAction) {
		t.Errorf("ended with %#x", d.ReasonCode)
	}
	put(acl.Ban{Host: "127.0.0.0/8", Until: time.Now().Add(-time.Hour)})
	check(t, kafka.Ping(ctx))
	if _, _, _, err := five(t, b, "dev4", ""); err != nil {
		t.Errorf("after the ban: %v", err)
	}
}

// A client that comes and goes too often is banned on every node, for a while.
func TestFlapping(t *testing.T) {
	t.Parallel()
	c := testkit.Cluster(t, 3, testkit.Virtual())
	b := c.Node(2)
	check(t, c.Node(1).Kernel().ChangeOptions(t.Context(), map[string]string{
		"mqtt.flapping.connections": "3", "mqtt.flapping.window": "1h", "mqtt.flapping.ban": "10m",
	}, nil))
	comeAndGo := func(id string) {
		t.Helper()
		cl, _, _, err := five(t, b, id, "")
		check(t, err)
		check(t, cl.Disconnect(&paho.Disconnect{}))
		<-cl.Done()
		b.Want(t).Session(id).Gone()
	}
	comeAndGo("dev1")
	comeAndGo("dev2")
	comeAndGo("dev1")
	if got := b.Kernel().Bans(); len(got) != 0 {
		t.Fatalf("banned too soon: %v", got)
	}
	comeAndGo("dev1")
	b.Want(t).That("the client to be banned", func() bool { return len(b.Kernel().Bans()) == 1 })
	ban := b.Kernel().Bans()[0]
	if ban.Client != "dev1" || ban.By != acl.ByFlapping || ban.Until.Sub(ban.Since) != 10*time.Minute {
		t.Errorf("the ban is %+v", ban)
	}
	c.Node(3).Want(t).That("the client to be banned", func() bool { return len(c.Node(3).Kernel().Bans()) == 1 })
	if _, _, ack, err := five(t, c.Node(3), "dev1", ""); err == nil || ack == nil || ack.ReasonCode != byte(mqttwire.Banned) {
		t.Errorf("a client that flaps is told %+v, %v", ack, err)
	}
	comeAndGo("dev2")
	b.Clock.Advance(10 * time.Minute)
	if _, _, _, err := five(t, c.Node(3), "dev1", ""); err != nil {
		t.Errorf("after the ban: %v", err)
	}
}
