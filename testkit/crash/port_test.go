package crash

import (
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"testing"

	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Clients of every protocol are served on one port, at once.
func TestOnePort(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t) // a port that is free, and most likely stays so
	at := l.Addr().String()
	port := l.Addr().(*net.TCPAddr).Port
	check(t, l.Close())
	p := up(t, "--memory", "--port", strconv.Itoa(port))
	if want := (adminapi.URLs{MQTT: "mqtt://" + at, MQTTWS: "ws://" + at + "/mqtt", Kafka: "kafka://" + at, AMQP: "amqp://" + at, HTTP: "http://" + at}); p.urls != want {
		t.Errorf("clients connect to %+v", p.urls)
	}

	conn := must(amqp.Dial("amqp://" + at))(t)
	defer conn.Close()
	ch := must(conn.Channel())(t)
	must(ch.QueueDeclare("q", true, false, false, false, nil))(t)
	check(t, ch.QueueBind("q", "sensors.#", "amq.topic", false, nil))
	deliveries := must(ch.Consume("q", "", true, false, false, false, nil))(t)

	for _, server := range []string{"mqtt://" + at, "ws://" + at + "/mqtt"} {
		m := paho3.NewClient(paho3.NewClientOptions().AddBroker(server).SetAutoReconnect(false))
		wait(t, m.Connect())
		wait(t, m.Publish("sensors/dev1", 1, false, server))
		m.Disconnect(0)
		if d := next(t, deliveries, "AMQP"); string(d.Body) != server || d.RoutingKey != "sensors.dev1" {
			t.Errorf("AMQP got %q with %s", d.Body, d.RoutingKey)
		}
	}

	k := must(kgo.NewClient(kgo.SeedBrokers(at), kgo.ConsumeTopics("sensors"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))(t)
	defer k.Close()
	for left := 2; left > 0; {
		f := k.PollFetches(patient(t))
		check(t, f.Err())
		left -= f.NumRecords()
	}

	resp := must(http.Get("http://" + at + "/v1/status"))(t)
	defer resp.Body.Close()
	var status struct {
		Data adminapi.Status `json:"data"`
	}
	check(t, json.NewDecoder(resp.Body).Decode(&status))
	if !status.Data.Ready || status.Data.PID != p.cmd.Process.Pid {
		t.Errorf("status: %+v", status.Data)
	}
}
