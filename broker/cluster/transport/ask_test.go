package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/fault"
)

// Who has the token, and no more, asks whichever node is there.
func TestAsk(t *testing.T) {
	certs := map[uint64]tls.Certificate{1: certificate(t, "node-1"), 2: certificate(t, "node-2")}
	for name, change := range map[string]func(*TCPConfig){"plain": func(*TCPConfig) {}, "TLS": mutual(certs, 1)} {
		t.Run(name, func(t *testing.T) {
			one := startNode(t, 1, change)
			addr := one.Addr().String()
			cfg := TCPConfig{Cluster: "test", Token: testToken}
			change(&cfg)
			ctx, cancel := context.WithTimeout(t.Context(), waitMax)
			defer cancel()

			if _, err := Ask(ctx, cfg, addr, []byte("hello?")); !fault.Is(err, fault.Denied) {
				t.Errorf("of a node that answers nothing: %v", err)
			}
			one.Answer(func(_ context.Context, q []byte) []byte { return append([]byte("you said "), q...) })
			long := strings.Repeat("x", askMax-100)
			for _, q := range []string{"", "hello?", long} {
				if got, err := Ask(ctx, cfg, addr, []byte(q)); err != nil || string(got) != "you said "+q {
					t.Errorf("asked %d bytes: %d bytes, %v", len(q), len(got), err)
				}
			}
			if _, err := Ask(ctx, cfg, addr, make([]byte, askMax+1)); !fault.Is(err, fault.TooLarge) {
				t.Errorf("too much: %v", err)
			}
			for kind, spoil := range map[fault.Kind]func(*TCPConfig){
				fault.Unauthorized: func(c *TCPConfig) { c.Token = "another" },
				fault.Conflict:     func(c *TCPConfig) { c.Cluster = "another" },
			} {
				other := cfg
				spoil(&other)
				if _, err := Ask(ctx, other, addr, []byte("hello?")); !fault.Is(err, kind) {
					t.Errorf("want %v: %v", kind, err)
				}
			}
			if n := len(*one.peers.Load()); n != 0 {
				t.Errorf("%d peers", n)
			}
			until(t, "no connection is counted any more", func() bool {
				one.mu.Lock()
				defer one.mu.Unlock()
				return one.strangers == 0
			})
		})
	}
}

// Who asks may leave; and one that answers too much answers nothing.
func TestAskEnds(t *testing.T) {
	one := startNode(t, 1, nil)
	asked := make(chan struct{})
	left := errors.New("it has left")
	ctx, cancel := context.WithCancelCause(t.Context())
	one.Answer(func(ctx context.Context, q []byte) []byte {
		close(asked)
		return make([]byte, askMax+1)
	})
	cfg := TCPConfig{Cluster: "test", Token: testToken}
	if _, err := Ask(ctx, cfg, one.Addr().String(), nil); err == nil {
		t.Error("it was answered")
	}
	<-asked
	held := make(chan struct{})
	one.Answer(func(ctx context.Context, q []byte) []byte {
		cancel(left)
		<-held
		return nil
	})
	if _, err := Ask(ctx, cfg, one.Addr().String(), nil); !errors.Is(err, left) {
		t.Error(err)
	}
	close(held)
}
