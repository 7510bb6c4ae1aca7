// Package sendraw holds `rmq send-raw`: bytes that no client should send, to any broker, and whether
// it takes them as it should.
package sendraw

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/fixtures"
	"github.com/robustmq/rmq/testkit/hostile"
)

const (
	schemaResults = "rmq.sendraw/1"
	schemaList    = "rmq.sendrawlist/1"
	page          = "docs/FIXTURES.md"
)

type sendRaw struct {
	e       *env.Env
	tls     env.TLS
	list    bool
	timeout env.Duration
}

// protocols and where they are listened for; true: over TLS.
var schemes = map[string]struct {
	protocol, port string
	tls            bool
}{
	"mqtt": {"mqtt", "1883", false}, "mqtts": {"mqtt", "8883", true}, "kafka": {"kafka", "9092", false}, "kafkas": {"kafka", "9093", true},
	"amqp": {"amqp", "5672", false}, "amqps": {"amqp", "5671", true},
}

// Command returns `rmq send-raw`.
func Command(e *env.Env) *cobra.Command {
	s := &sendRaw{e: e, timeout: env.Duration(5 * time.Second)}
	cmd := &cobra.Command{
		Use:   "send-raw TARGET [ID|FILE...]",
		Short: "Send a broker what no client should send, and see how it takes it",
		Long: "Send a broker what no client should send, and see how it takes it: any broker, over its public port.\n\n" +
			"TARGET is mqtt, kafka or amqp at the broker that --name or --url means, or mqtt://host:port, kafka://host:port,\n" +
			"amqp://host:port, and over TLS mqtts://, kafkas://, amqps://. ID is a built-in exchange (--list); without one all of the\n" +
			"protocol are had, each on a connection of its own. FILE holds an exchange in the same form; one that ends in .bin\n" +
			"is sent as it is, and the broker is expected to end the connection.\n\n" +
			"The exit code is 9 when a reaction is another than is expected; then all that was said is shown.",
		Example: "  rmq send-raw --list\n  rmq send-raw mqtt mqtt/qos-three\n  rmq send-raw amqp://10.0.0.1:5672 -o json\n  rmq send-raw kafka ./mine.wire --timeout 2s",
		Args: func(cmd *cobra.Command, args []string) error {
			if s.list {
				return env.Between(nil, "PROTOCOL")(cmd, args)
			}
			return env.AtLeast("TARGET")(cmd, args)
		},
		ValidArgsFunction: complete,
		RunE:              func(cmd *cobra.Command, args []string) error { return s.run(cmd, args) },
	}
	f := cmd.Flags()
	f.BoolVar(&s.list, "list", false, "send nothing: list the built-in exchanges")
	f.Var(&s.timeout, "timeout", "how long to wait for a reaction")
	s.tls.Flags(f)
	e.BrokerFlags(f)
	return cmd
}

func complete(_ *cobra.Command, args []string, typed string) (out []string, _ cobra.ShellCompDirective) {
	of := []string{"mqtt", "kafka", "amqp"}
	if len(args) > 0 {
		scheme, _, _ := strings.Cut(args[0], ":")
		of = fixtures.HostileIDs(schemes[scheme].protocol)
	}
	for _, s := range of {
		if strings.HasPrefix(s, typed) {
			out = append(out, s)
		}
	}
	return out, cobra.ShellCompDirectiveDefault // files too
}

func (s *sendRaw) run(cmd *cobra.Command, args []string) error {
	if s.list {
		protocol := ""
		if len(args) == 1 {
			protocol = args[0]
		}
		return s.showList(protocol)
	}
	protocol, dial, err := s.target(cmd, args[0])
	if err != nil {
		return err
	}
	var all []*fixtures.Hostile
	names := args[1:]
	if len(names) == 0 {
		names = fixtures.HostileIDs(protocol)
	}
	for _, name := range names {
		h, err := s.open(protocol, name)
		if err != nil {
			return err
		}
		all = append(all, h)
	}
	var results []hostile.Result
	for _, h := range all {
		r, err := hostile.Run(cmd.Context(), dial, h, time.Duration(s.timeout))
		if err != nil {
			if cmd.Context().Err() != nil {
				return context.Cause(cmd.Context())
			}
			return &env.Failure{Exit: env.Unreachable, What: fmt.Sprintf("connect to %s: %v", args[0], cause(err)), Hint: "check the address; a protocol alone is of the broker that rmq up started: rmq send-raw " + protocol, Err: err}
		}
		results = append(results, r)
	}
	return s.report(args[0], results)
}

func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Err
	}
	return err
}

// target reads where to send, and makes the way there.
func (s *sendRaw) target(cmd *cobra.Command, arg string) (protocol string, dial hostile.Dial, err error) {
	scheme, rest, hasHost := strings.Cut(arg, "://")
	row, ok := schemes[scheme]
	if !ok || row.tls && !hasHost {
		f := env.Failf(env.Usage, "%q is no target: mqtt, kafka or amqp, or one of them with a host", arg)
		f.Hint = "rmq send-raw mqtt://host:1883"
		return "", nil, f
	}
	address := rest
	if !hasHost {
		urls, err := s.e.URLs(cmd.Context())
		if err != nil {
			return "", nil, err
		}
		u, err := url.Parse(map[string]string{"mqtt": urls.MQTT, "kafka": urls.Kafka, "amqp": urls.AMQP}[row.protocol])
		if err != nil || u.Host == "" {
			return "", nil, env.Failf(env.Unreachable, "the broker does not listen for %s", row.protocol)
		}
		address = u.Host
	} else if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), row.port)
	}
	d := &net.Dialer{Timeout: time.Duration(s.timeout)}
	if !row.tls {
		return row.protocol, func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }, nil
	}
	config, err := s.tls.Config()
	if err != nil {
		return "", nil, err
	}
	return row.protocol, func(ctx context.Context) (net.Conn, error) {
		return (&tls.Dialer{NetDialer: d, Config: config}).DialContext(ctx, "tcp", address)
	}, nil
}

// binMax bounds a file of bytes.
const binMax = 64 << 20

// open reads an exchange: a built-in one, with or without its protocol, or a file.
func (s *sendRaw) open(protocol, name string) (*fixtures.Hostile, error) {
	id := name
	if !strings.Contains(id, "/") {
		id = protocol + "/" + id
	}
	isFile := strings.HasSuffix(name, ".bin") || strings.HasSuffix(name, ".wire")
	if !isFile {
		h, err := fixtures.OpenHostile(id)
		if none, ok := errors.AsType[*fixtures.UnknownError](err); ok {
			f := &env.Failure{Exit: env.NotFound, What: fmt.Sprintf("no exchange is named %q", name), Hint: "see what there is: rmq send-raw --list", Err: err}
			if none.Near != "" {
				f.Hint = "did you mean " + none.Near + "?"
			}
			return nil, f
		}
		if err == nil && h.Protocol != protocol {
			return nil, env.Failf(env.Usage, "%s is for %s, and the target speaks %s", name, h.Protocol, protocol)
		}
		return h, err
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.e.Dir, path)
	}
	st, err := os.Stat(path)
	if err == nil && st.Size() > binMax {
		return nil, env.Failf(env.Usage, "%s is larger than %v", name, env.Bytes(binMax))
	}
	var src []byte
	if err == nil {
		src, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, env.Failf(env.NotFound, "%s: %v", name, errors.Unwrap(err))
	}
	if strings.HasSuffix(name, ".bin") {
		return &fixtures.Hostile{ID: name, Protocol: protocol, Steps: []fixtures.Step{{Send: src}, {Expect: []fixtures.Reaction{{Close: true}}}}}, nil
	}
	h, err := fixtures.ParseHostile(name, protocol, src)
	if bad, ok := errors.AsType[*fixtures.Error](err); ok {
		return nil, &env.Failure{Exit: env.Usage, What: bad.Error(), Hint: bad.Hint, Err: err}
	}
	return h, err
}

func (s *sendRaw) showList(protocol string) error {
	if protocol != "" && !slices.Contains([]string{"mqtt", "kafka", "amqp"}, protocol) {
		return env.Failf(env.Usage, "%q is none of mqtt, kafka, amqp", protocol)
	}
	type row struct {
		ID    string `json:"id"`
		About string `json:"about"`
		Spec  string `json:"spec,omitempty"`
	}
	rows := []row{}
	t := env.Table{Head: []string{"EXCHANGE", "STATEMENT", "ABOUT"}}
	for _, id := range fixtures.HostileIDs(protocol) {
		h, err := fixtures.OpenHostile(id)
		if err != nil {
			return err
		}
		rows = append(rows, row{id, h.About, h.Spec})
		t.Rows = append(t.Rows, []any{id, h.Spec, h.About})
	}
	return s.e.Print(env.View{Schema: schemaList, Data: rows, Tables: []env.Table{t}})
}

// report prints how the broker has taken it, and is the verdict.
func (s *sendRaw) report(target string, results []hostile.Result) error {
	failed := 0
	t := env.Table{Head: []string{"VERDICT", "EXCHANGE", "WANT", "GOT"}}
	for i := range results {
		r := &results[i]
		verdict := "ok"
		if !r.OK {
			verdict = "differs"
			failed++
		}
		if s.e.Format() == env.FormatTable && (!r.OK || len(results) == 1) {
			if err := s.tell(r); err != nil {
				return err
			}
		}
		t.Rows = append(t.Rows, []any{verdict, r.ID, strings.Join(r.Want, " | "), r.Got})
	}
	data := struct {
		Target  string           `json:"target"`
		OK      bool             `json:"ok"`
		Results []hostile.Result `json:"results"`
	}{target, failed == 0, results}
	if err := s.e.Print(env.View{Schema: schemaResults, Data: data, Tables: []env.Table{t}}); err != nil {
		return err
	}
	if failed == 0 {
		s.e.Say("%d of %d are taken as they should be at %s", len(results), len(results), env.Clean(target))
		return nil
	}
	f := &env.Failure{Exit: env.Negative, What: fmt.Sprintf("%d of %d are not taken as they should be at %s", failed, len(results), target), See: page}
	for _, r := range results {
		if !r.OK {
			f.Hint = fmt.Sprintf("all that was said: rmq send-raw %s %s -o table", env.Quote(target), env.Quote(r.ID))
			break
		}
	}
	return f
}

// tell shows a conversation: ">" was sent, "<" came.
func (s *sendRaw) tell(r *hostile.Result) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s  %s\n", r.ID, env.Clean(r.About))
	for i := range r.Events {
		e := &r.Events[i]
		arrow, name := "<", e.String()
		if e.Sent {
			arrow, name = ">", fmt.Sprintf("%d bytes", e.Size)
		}
		fmt.Fprintf(&b, "  %s %s  %s\n", arrow, name, env.Clean(e.Text))
		raw, err := hex.DecodeString(e.Hex)
		if err != nil {
			return err
		}
		for line := range strings.Lines(hex.Dump(raw)) {
			b.WriteString("      " + line)
		}
		if e.Size > len(raw) {
			fmt.Fprintf(&b, "      … %d bytes more\n", e.Size-len(raw))
		}
	}
	fmt.Fprintf(&b, "  want %s\n  got  %s\n\n", strings.Join(r.Want, " | "), env.Clean(r.Got))
	_, err := s.e.Out.Write(b.Bytes())
	return err
}
