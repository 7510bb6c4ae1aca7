package scale

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/edge"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// What a connection with nothing to say may hold over TLS and over QUIC, as idleMax.
const (
	idleTLSMax  = 20 << 10
	idleQUICMax = 64 << 10
)

// clientsEnv makes a process of this test the clients, whose memory is not to be measured:
// "tls" or "quic", an address, how many.
const clientsEnv = "RMQ_SCALE_CLIENTS"

// TestClients is that process. It says so once all are subscribed, and keeps them until its
// standard input ends.
func TestClients(t *testing.T) {
	f := strings.Fields(os.Getenv(clientsEnv))
	if len(f) != 3 {
		t.Skip("it is for TestIdleSecureConnections")
	}
	n, err := strconv.Atoi(f[2])
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"mqtt"}}
	held := make([]io.ReadWriter, 0, n) // or they would be closed once they are garbage
	for i := range n {
		var c io.ReadWriter
		if f[0] == "quic" {
			conn, err := quic.DialAddr(t.Context(), f[1], config, &quic.Config{MaxIdleTimeout: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.CloseWithError(0, "") }()
			if c, err = conn.OpenStream(); err != nil {
				t.Fatal(err)
			}
		} else if c, err = tls.Dial("tcp", f[1], config); err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		connect := mqttwire.Connect{Version: mqttwire.V5, CleanStart: true, KeepAlive: 600, ClientID: []byte(fmt.Sprintf("device-%06d", i))}
		subscribe := mqttwire.Subscribe{PacketID: 1, Filters: []mqttwire.Filter{{Filter: []byte(fmt.Sprintf("devices/%06d/command", i)), QoS: 1}}}
		for _, send := range [][]byte{connect.Append(nil), subscribe.Append(nil, mqttwire.V5), mqttwire.AppendPingreq(nil)} {
			var b [256]byte
			if _, err := c.Write(send); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(b[:]); err != nil {
				t.Fatal(err)
			}
		}
	}
	fmt.Println("ready") //nolint:forbidigo // to the process that has started this one
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(held)
}

// An MQTT client that is connected over TLS or QUIC, subscribed and silent, costs what is written
// in docs/protocol/mqtt.md.
func TestIdleSecureConnections(t *testing.T) {
	for network, most := range map[string]int{"tls": idleTLSMax, "quic": idleQUICMax} {
		t.Run(network, func(t *testing.T) {
			b, err := broker.Open(context.Background(), broker.Config{
				Ports: broker.AnyPorts(), TLS: &edge.TLSFiles{Pairs: []edge.Pair{pair(t)}},
				Listeners: []edge.Spec{{Proto: edge.MQTT, Network: edge.QUIC, Address: "127.0.0.1:0"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Close(context.Background()) }()
			address := strings.TrimPrefix(b.URLs().MQTTS, "mqtts://")
			if network == "quic" {
				address = quicAddress(t, b)
			}
			n := *connections / 4 // a handshake takes its time
			join := func() (leave func()) {
				cmd := exec.Command(os.Args[0], "-test.run=^TestClients$", "-test.timeout=10m")
				cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", clientsEnv, network, address, n))
				in, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				said := bufio.NewScanner(out)
				if !said.Scan() || said.Text() != "ready" {
					t.Fatalf("the clients say %q", said.Text())
				}
				return func() {
					if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
						t.Error(err)
					}
					kerneltest.Until(t, "the broker has noticed", func() bool { return len(b.Kernel().Sessions("/")) == 0 })
				}
			}
			join()() // what is made once is there
			heap0, stacks0 := held()
			leave := join()
			heap1, stacks1 := held()
			t.Logf("%d idle connections over %s: %d bytes of heap and %d of stack each", n, network, (heap1-heap0)/int64(n), (stacks1-stacks0)/int64(n))
			if got := (heap1 - heap0 + stacks1 - stacks0) / int64(n); got > int64(most) {
				t.Errorf("a connection holds %d bytes, at most %d", got, most)
			}
			leave()
		})
	}
}

// quicAddress asks where a broker listens for QUIC.
func quicAddress(t *testing.T, b *broker.Broker) string {
	t.Helper()
	c, err := adminapi.NewClient(b.URLs().HTTP, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range s.Listeners {
		if at, ok := strings.CutPrefix(l.URL, "mqtt+quic://"); ok {
			return at
		}
	}
	t.Fatal("it does not listen for QUIC")
	return ""
}

// pair makes a certificate for this machine.
func pair(t *testing.T) edge.Pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "broker.pem")
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(path, both, 0o600); err != nil {
		t.Fatal(err)
	}
	return edge.Pair{Certificate: path, Key: path}
}
