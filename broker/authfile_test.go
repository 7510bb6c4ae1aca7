package broker

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/clock"
)

// Who knows clients is read again, by itself and when it is asked for; what cannot be used changes nothing.
func TestAuthAgain(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const hash = "$6$GfDN0pR51gRkgnt8$kaAR69HzWRUjWcefMa9m3e6RiX521NCEvTOdzaBM2VxFVyU989PQZdev2GDs6CDKWT6DWgQfxYiN9F+1bv0+Fg=="
	one, two := file("one", "ann:"+hash+"\n"), file("two", "bob:"+hash+"\n")
	cfg, failure := auth.Config{File: &auth.FileConfig{Path: one}}, error(nil)
	b, err := Open(t.Context(), Config{Ports: AnyPorts(), Auth: cfg})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	link := clock.NewVirtual(time.UnixMilli(0))
	b.authFile = followAuth(func() (auth.Config, error) { return cfg, failure }, cfg, b.Auth(), link, slog.New(slog.DiscardHandler))
	in := func(user string) bool {
		_, err := b.Auth().Authenticate(auth.Login{User: user, Password: "hunter2", Protocol: "mqtt", Remote: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}})
		return err == nil
	}
	if !in("ann") || in("bob") {
		t.Fatal("the first file does not count")
	}
	cfg = auth.Config{File: &auth.FileConfig{Path: two}}
	if err := b.Reload(); err != nil || in("ann") || !in("bob") {
		t.Errorf("the second file does not count: %v", err)
	}
	cfg = auth.Config{File: &auth.FileConfig{Path: filepath.Join(dir, "none")}}
	if err := b.Reload(); err == nil || !in("bob") || len(b.warnings()) != 1 || !strings.Contains(b.warnings()[0], "none") {
		t.Errorf("a file that is not there: %v, %q", err, b.warnings())
	}
	failure = errors.New("half written")
	if err := b.Reload(); err == nil || !in("bob") || !strings.Contains(b.warnings()[0], "half written") {
		t.Errorf("a configuration that cannot be read: %v, %q", err, b.warnings())
	}

	// By itself.
	failure, cfg = nil, auth.Config{File: &auth.FileConfig{Path: one}}
	link.Advance(authEvery - 1)
	if in("ann") {
		t.Error("it was read too soon")
	}
	link.Advance(1)
	if !in("ann") || in("bob") {
		t.Error("it was not read again")
	}
	if len(b.warnings()) != 0 {
		t.Errorf("all is well again: %q", b.warnings())
	}
}
