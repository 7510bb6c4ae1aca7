package local

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/cli/env"
)

// edgeFlags are the flags of what is between clients and the protocols: TLS, and listeners of
// their own kind.
type edgeFlags struct {
	auto        string // "auto": a certificate is made
	certs, keys []string
	ca          string
	client, min string
	listeners   []string
	made        string // file of who signed what was made
}

// Edge is the same in a Config.
type Edge struct {
	// Certs and Keys are files, as many of each; without any, no TLS is spoken.
	Certs, Keys []string
	CA          string   // file; "": clients are asked for no certificate
	Client      string   // none, optional or required
	Min         string   // 1.2 or 1.3
	Listeners   []string // URLs
	Signed      string   // file of who signed what --tls auto has made; "": nothing was made
}

func (f *edgeFlags) add(fs *pflag.FlagSet) {
	fs.Var(&env.Choice{Value: &f.auto, Of: []string{"auto"}}, "tls", "auto: speak TLS with a certificate that is made here, for this machine and --listen")
	fs.StringArrayVar(&f.certs, "tls-cert", nil, "file with a certificate, and what leads to its authority, in PEM: opens the TLS ports; repeatable, a client gets the one of the host it asks for, or the first")
	fs.StringArrayVar(&f.keys, "tls-key", nil, "file with the key of a --tls-cert; repeatable, in the same order (default: it is in the file of the certificate)")
	fs.StringVar(&f.ca, "tls-ca", "", "file with the certificates of who signs those of clients")
	f.client, f.min = "", "1.2"
	fs.Var(&env.Choice{Value: &f.client, Of: []string{"none", "optional", "required"}}, "tls-client-cert", "whether clients over TLS show a certificate (default: required with --tls-ca, else none)")
	fs.Var(&env.Choice{Value: &f.min, Of: []string{"1.2", "1.3"}}, "tls-min", "lowest version of TLS that is spoken")
	fs.StringArrayVar(&f.listeners, "listener", nil, "listen there too: mqtts://0.0.0.0:8883?client-cert=required, unix:///run/rmq.sock, mqtt+quic://0.0.0.0:14567…; repeatable")
	for _, name := range []string{"tls-cert", "tls-key", "tls-ca"} {
		_ = fs.SetAnnotation(name, env.PathAnnotation, []string{"true"}) // fails for unknown flags only
	}
}

// make makes the certificate of --tls auto, and names it as if it had been given.
func (f *edgeFlags) make(u *up) error {
	if f.auto == "" || len(f.certs) > 0 {
		return nil // what is given, as to a node's process, is what is shown
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil && name != "localhost" {
		hosts = append(hosts, name)
	}
	if ip := net.ParseIP(u.host); u.host != "" && (ip == nil || !ip.IsUnspecified() && !ip.IsLoopback()) {
		hosts = append(hosts, u.host)
	}
	cert, ca, err := autoCert(filepath.Join(u.e.StateDir(), "tls"), u.name, hosts, u.e.Now())
	if err != nil {
		return env.Failf(env.Failed, "--tls auto: %v", err)
	}
	f.certs, f.made = []string{cert}, ca
	return nil
}

// config makes them part of a configuration; nil: there is nothing of it. Paths are absolute then.
func (f *edgeFlags) config(dir string) (*Edge, error) {
	absolute := func(paths []string) (out []string) {
		for _, p := range paths {
			if p == "" {
				continue // of a parent that has none
			}
			if !filepath.IsAbs(p) {
				p = filepath.Join(dir, p)
			}
			out = append(out, p)
		}
		return out
	}
	e := &Edge{Certs: absolute(f.certs), Keys: absolute(f.keys), Client: f.client, Min: f.min, Signed: f.made}
	for _, l := range f.listeners {
		if l != "" {
			e.Listeners = append(e.Listeners, l)
		}
	}
	if ca := absolute([]string{f.ca}); len(ca) > 0 {
		e.CA = ca[0]
	}
	if len(e.Keys) == 0 {
		e.Keys = e.Certs
	}
	usage := func(hint, text string, args ...any) error {
		return &env.Failure{Exit: env.Usage, What: fmt.Sprintf(text, args...), Hint: hint}
	}
	switch {
	case len(e.Certs) != len(e.Keys):
		return nil, usage("give each --tls-cert its --tls-key, in the same order", "there are %d of --tls-cert and %d of --tls-key", len(e.Certs), len(e.Keys))
	case len(e.Certs) == 0 && (e.CA != "" || e.Client != "" && e.Client != "none"):
		return nil, usage("name a certificate of the broker's own: --tls-cert FILE --tls-key FILE", "clients can show a certificate over TLS only, and the broker has none")
	case e.CA == "" && (e.Client == "optional" || e.Client == "required"):
		return nil, usage("name who signs them: --tls-ca FILE", "--tls-client-cert %s needs to know whose certificates to take", e.Client)
	case e.Client == "" && e.CA != "":
		e.Client = "required"
	case e.Client == "":
		e.Client = "none"
	}
	if len(e.Certs) == 0 && len(e.Listeners) == 0 {
		return nil, nil
	}
	return e, nil
}

// secure tells whether TLS is spoken.
func (e *Edge) secure() bool { return e != nil && len(e.Certs) > 0 }

// args are the flags that say the same to a node's process: also what there is none of, for a file of
// settings may have it.
func (e *Edge) args() []string {
	if e == nil {
		e = &Edge{Client: "none", Min: "1.2"}
	}
	args := []string{"--tls-ca", e.CA, "--tls-client-cert", e.Client, "--tls-min", e.Min}
	for _, list := range []struct {
		flag   string
		values []string
	}{{"tls-cert", e.Certs}, {"tls-key", e.Keys}, {"listener", e.Listeners}} {
		if len(list.values) == 0 {
			list.values = []string{""}
		}
		for _, v := range list.values {
			args = append(args, "--"+list.flag, v)
		}
	}
	return args
}

// ofNode is what a node has of listeners of which the first has those asked for: ports that are
// portStep higher from node to node, and sockets with the node's id at the end.
func (e *Edge) ofNode(id uint64) (*Edge, error) {
	if e == nil || id == 1 {
		return e, nil
	}
	n := *e
	n.Listeners = slices.Clone(e.Listeners)
	for i, l := range n.Listeners {
		place, options, has := strings.Cut(l, "?")
		scheme, at, _ := strings.Cut(place, "://")
		if scheme == "unix" {
			at += "." + strconv.FormatUint(id, 10)
		} else if host, port, err := net.SplitHostPort(at); err == nil { // or whoever opens it tells
			number, _ := strconv.Atoi(port)
			if number > 0 {
				number += int(id-1) * portStep
			}
			if number > 65535 {
				return nil, env.Failf(env.Usage, "node %d would listen on port %d, and 65535 is the last", id, number)
			}
			at = net.JoinHostPort(host, strconv.Itoa(number))
		}
		if n.Listeners[i] = scheme + "://" + at; has {
			n.Listeners[i] += "?" + options
		}
	}
	return &n, nil
}

// hangups tells of each SIGHUP, which asks a service to read its files again; nil in a terminal,
// whose end it tells: there it ends the broker as ever.
func (u *up) hangups() <-chan os.Signal {
	if u.e.InTTY || u.e.ErrTTY {
		return nil
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP) // for as long as the process
	return again
}

// reload has a broker read its files again.
func (u *up) reload(b Broker) {
	r, ok := b.(interface{ Reload() error })
	if !ok {
		return
	}
	if err := r.Reload(); err != nil {
		u.e.Say("what was read before stays in use: %v", err)
	}
}
