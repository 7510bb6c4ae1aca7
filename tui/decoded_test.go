package tui

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/decode"
)

func (d *driver) emit(topic string, value string) {
	d.fake.Emit(adminapi.LiveEvent{Message: &adminapi.Message{
		Protocol: "mqtt", Address: topic, Topic: topic, Time: time.Now(), Value: []byte(value), Size: len(value),
	}})
	d.wait(300 * time.Millisecond)
}

// What a value is, is found out; the list, a message in full, how two differ and plots are of what was decoded.
func TestValuesAreDecoded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		d := drive(t, fake, Options{}, 120, 30)
		d.keys("9")
		d.emit("plant/temp", "\xa1\x64temp\x15")
		d.emit("plant/temp", "\xa1\x64temp\x17")
		d.emit("spBv1.0/plant/NDATA/edge", "\x08\x01\x12\x0a\x0a\x04temp\x20\x03\x50\x15")
		d.sees(`{"temp":21}`, `{"temp":23}`, `{"timestamp":"1970`)
		d.keys("enter")
		d.sees("sparkplug", "metrics", `"name": "temp"`, `"value": 21`)
		d.keys("esc", "k", "enter")
		d.sees("cbor, 7 B", `"temp": 23`)
		d.keys("d")
		d.sees("cbor, by path", ".temp", "+2")
		d.keys("esc", "x", "x")
		d.sees("hex, 7 B", "a1 64 74 65 6d 70 17")
		d.keys("x", "j", "v")
		d.sees(".temp of plant/temp, 2 messages")
	})
}

// A value that is not what it says it is stays as it is, with the reason.
func TestValueThatIsSomethingElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		d := drive(t, fake, Options{}, 120, 30)
		d.keys("9")
		d.fake.Emit(adminapi.LiveEvent{Message: &adminapi.Message{
			Protocol: "kafka", Address: "orders", Topic: "orders", Value: []byte("\xa2\x01"), Size: 2, Properties: map[string]string{"content-type": "application/cbor"},
		}})
		d.wait(300 * time.Millisecond)
		d.keys("enter")
		d.sees("hex, 2 B; cbor: it ends too early", "a2 01")
	})
}

// registry answers as a schema registry does, once it is let.
type registry chan struct{}

func (r registry) RoundTrip(req *http.Request) (*http.Response, error) {
	<-r
	body := `{"schema":"{\"type\":\"record\",\"name\":\"T\",\"fields\":[{\"name\":\"temp\",\"type\":\"int\"}]}"}`
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

// While a registry takes its time the screens go on, with the value as it is.
func TestRegistryIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		slow := make(registry)
		d := drive(t, fake, Options{Decode: decode.Options{Registry: "http://registry:8081", HTTP: &http.Client{Transport: slow}}}, 120, 30)
		d.keys("9")
		d.emit("plant/temp", "\x00\x00\x00\x00\x01\x2a")
		d.keys("enter")
		d.sees("hex, 6 B")
		close(slow)
		d.wait(time.Second)
		d.keys("esc", "enter")
		d.sees("by schema 1 of the registry, 6 B", `"temp": 21`)
	})
}
