package hostile_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/fixtures"
	"github.com/robustmq/rmq/testkit"
	"github.com/robustmq/rmq/testkit/hostile"
)

// Our own broker takes every hostile exchange as it should, and goes on as if nothing had been.
func TestBroker(t *testing.T) {
	b := testkit.Run(t)
	places := map[string]string{"mqtt": b.MQTT(), "kafka": b.Kafka(), "amqp": b.AMQP()}
	ids := fixtures.HostileIDs("")
	if len(ids) < 40 {
		t.Fatalf("only %d exchanges", len(ids))
	}
	for _, id := range ids {
		h, err := fixtures.OpenHostile(id)
		if err != nil {
			t.Error(err)
			continue
		}
		if h.About == "" {
			t.Errorf("%s does not say what it is", id)
		}
		r, err := hostile.Run(t.Context(), dialer(t, places[h.Protocol]), h, time.Minute)
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if !r.OK {
			t.Errorf("%s (%s): got %s, want %s\n%v", id, h.About, r.Got, strings.Join(r.Want, " | "), r.Events)
		}
	}
	for protocol, text := range map[string]string{ // one that behaves, of each
		"mqtt":  "send 10 vlen( len16(\"MQTT\") 05 02 003c 00 len16(\"good\") )\nexpect CONNACK 0x00\n",
		"kafka": "send len32( i16(18) i16(0) i32(1) len16(\"x\") )\nexpect = ........ 00000001 0000\n",
		"amqp":  "send \"AMQP\" 00 00 09 01\nexpect connection.start\n",
	} {
		h, err := fixtures.ParseHostile(protocol+"/good", protocol, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := hostile.Run(t.Context(), dialer(t, places[protocol]), h, time.Minute); err != nil || !r.OK {
			t.Errorf("%s after all that: %v %+v", protocol, err, r)
		}
	}
}

func dialer(t *testing.T, raw string) hostile.Dial {
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", u.Host)
	}
}

// A broker that takes what it should not is told of.
func TestVerdict(t *testing.T) {
	tests := []struct {
		name, answer string // what the broker says before it ends the connection
		expect       string
		ok           bool
		got          string
	}{
		{"the end that was expected", "", "close", true, "close"},
		{"the end that was not", "", "PINGRESP", false, "close"},
		{"the right frame", "\xd0\x00", "PINGRESP", true, "pingresp"},
		{"another frame", "\xd0\x00", "DISCONNECT 0x81", false, "pingresp"},
		{"another code", "\xe0\x01\x82", "DISCONNECT 0x81", false, "disconnect 0x82"},
		{"a word before the end", "\xe0\x01\x82", "DISCONNECT 0x81 | close", true, "close"},
		{"bytes", "\x20\x03\x00\x84\x00", "= 20 .. 00 84", true, "connack 0x84"},
		{"half a frame", "\x20\x03\x00", "CONNACK", false, "bytes"},
	}
	for _, tt := range tests {
		h, err := fixtures.ParseHostile("x", "mqtt", []byte("send 00\nexpect "+tt.expect))
		if err != nil {
			t.Fatal(err)
		}
		r, err := hostile.Run(t.Context(), func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { // ends with the conversation
				_, _ = theirs.Read(make([]byte, 1))
				_, _ = theirs.Write([]byte(tt.answer))
				_ = theirs.Close()
			}()
			return ours, nil
		}, h, time.Minute)
		if err != nil || r.OK != tt.ok || r.Got != tt.got {
			t.Errorf("%s: %v %v %s, want %v %s", tt.name, err, r.OK, r.Got, tt.ok, tt.got)
		}
	}
}

func TestMistakes(t *testing.T) {
	for src, want := range map[string]string{
		"sned 00\nexpect close":                  `x:1: no line begins with "sned"`,
		"send 0\nexpect close":                   `x:1: "0" is neither hexadecimal bytes nor a "text"`,
		"send len16( 00\nexpect close":           "x:1: len16( has no )",
		"send len24(00)\nexpect close":           "x:1: there is no len24( ): vlen, len8, len16, len32, i8, i16, i32, i64, times",
		"send \"a\nexpect close":                 `x:1: a text that does not end, or has a bad escape: "a`,
		"send times(999999999 00)\nexpect close": "x:1: 999999999 times 1 bytes is more than 67108864",
		"send 00":                                "x: it does not end with what is expected",
		"send 00\nexpect":                        "x:2: nothing is expected: close, a name, or = and bytes",
		"send 00 )\nexpect close":                "x:1: a ) that closes nothing",
	} {
		_, err := fixtures.ParseHostile("x", "mqtt", []byte(src))
		if e, ok := errors.AsType[*fixtures.Error](err); !ok || e.Error() != want {
			t.Errorf("%q: %v, want %s", src, err, want)
		}
	}
	h, err := fixtures.ParseHostile("x", "mqtt", []byte("send 01 \"a#\" # a comment\n  vlen( times(3 02) )\nexpect CONNACK 0x81 | = 20 .. | close"))
	if err != nil || !bytes.Equal(h.Steps[0].Send, []byte{1, 'a', '#', 3, 2, 2, 2}) || len(h.Steps[1].Expect) != 3 {
		t.Errorf("%+v %v", h, err)
	}
}

func FuzzParseHostile(f *testing.F) {
	f.Add([]byte("send 00 vlen( \"a\" times(2 len32( i16(-1) ) ) )\nexpect CONNACK 0x81 | = 20 .. | close"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if h, err := fixtures.ParseHostile("x", "mqtt", src); err == nil && len(h.Steps) == 0 {
			t.Fatal("nothing, and no error")
		}
	})
}
