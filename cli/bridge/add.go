package bridge

import (
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/cli/env"
)

// passwordMax bounds what is read from standard input.
const passwordMax = 64 << 10

func newAdd(e *env.Env) *cobra.Command {
	var spec adminapi.BridgeSpec
	var change env.Change
	var secure env.TLS
	var routes []string
	var stdin, ifAbsent bool
	var keepAlive env.Duration
	spec.Protocol = setting.Protocols()[0]
	cmd := &cobra.Command{
		Use:   "add BRIDGE URL",
		Short: "Add a bridge to another MQTT broker",
		Long: "Add a bridge to another MQTT broker.\n\nURL is mqtt://, mqtts://, ws:// or wss:// with a host, and with a user where the other broker wants one:\n" +
			"mqtt://ann@mqtt.example.com. The password is read from standard input with --password-stdin; it never stands on the\n" +
			"command line, and is never shown.\n\n" +
			"A route says what goes over the bridge, in the words of a topic line of Mosquitto's:\n\n" +
			"  FILTER [in|out|both [QOS [LOCAL [REMOTE]]]]\n\n" +
			"What matches LOCAL followed by FILTER here is under REMOTE in place of LOCAL there; \"\" is empty. out is what goes to\n" +
			"the other broker, in what comes from it. Without more, a route leads out at QoS 1.\n\n" +
			"What goes out at QoS 1 and 2 waits while the other broker is away, as in an MQTT session, also when this broker\n" +
			"restarts. In a cluster, one node runs a bridge, and another one when that fails. Certificates are kept with the bridge:\n" +
			"the files are needed no more.",
		Example: "  rmq bridge add cloud mqtts://mqtt.example.com --route 'sensors/# out 1 \"\" site1/' --route 'commands/# in 2'\n" +
			"  rmq bridge add twin mqtt://ann@192.0.2.7 --route '# both 1' --protocol 3.1.1 --password-stdin < secret.txt",
		Args: env.Exactly("BRIDGE", "URL"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			spec.Name = args[0]
			if spec.URL, spec.Bridge.User, err = target(args[1]); err != nil {
				return err
			}
			if spec.Routes = nil; len(routes) == 0 {
				return &env.Failure{Exit: env.Usage, What: "a bridge needs routes", Hint: "for everything, both ways: --route '# both'"}
			}
			for _, text := range routes {
				r, err := route(text)
				if err != nil {
					return err
				}
				spec.Routes = append(spec.Routes, r)
			}
			if spec.CACert, spec.Cert, spec.CertKey, spec.Insecure, err = secure.PEM(); err != nil {
				return err
			}
			if stdin {
				b, err := io.ReadAll(io.LimitReader(e.In, passwordMax))
				if err != nil {
					return err
				}
				spec.Password = strings.TrimRight(string(b), "\r\n")
			}
			if s := time.Duration(keepAlive) / time.Second; s > 65535 {
				return env.Failf(env.Usage, "--keep-alive %v: 18 hours at most", time.Duration(keepAlive))
			} else if spec.KeepAlive = uint16(s); spec.KeepAlive < setting.KeepAliveLeast {
				return env.Failf(env.Usage, "--keep-alive %v: %d seconds at least", time.Duration(keepAlive), setting.KeepAliveLeast)
			}
			if err := check(spec); err != nil {
				return env.Failf(env.Usage, "%v", err)
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			if change.DryRun {
				e.Say("would add bridge %s to %s", env.Clean(spec.Name), env.Clean(spec.URL))
				return e.PrintMachine(view(e, adminapi.Bridge{Name: spec.Name, Bridge: spec.Shown()}))
			}
			b, err := c.AddBridge(cmd.Context(), spec)
			if ifAbsent && env.Exists(err) {
				b, err = c.Bridge(cmd.Context(), spec.Name)
			}
			if err != nil {
				return env.HintExists(err, "rmq bridge show "+env.Quote(spec.Name))
			}
			return e.PrintMachine(view(e, b))
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&routes, "route", nil, "what goes over the bridge: FILTER [in|out|both [QOS [LOCAL [REMOTE]]]]; repeatable")
	f.Var(&env.Choice{Value: &spec.Protocol, Of: setting.Protocols()}, "protocol", "version of MQTT")
	f.StringVar(&spec.ClientID, "client-id", "", "client id at the other broker (default: one that is made up)")
	keepAlive = env.Duration(time.Minute)
	f.Var(&keepAlive, "keep-alive", "silence after which either side asks whether the other is there")
	f.BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	f.BoolVar(&ifAbsent, "if-not-exists", false, "one that exists is no failure")
	secure.Flags(f)
	change.Flags(f, false)
	e.BrokerFlags(f)
	return cmd
}

// check tells what is wrong with a bridge, before anybody is asked.
func check(spec adminapi.BridgeSpec) error {
	if spec.ClientID == "" {
		spec.ClientID = spec.Name // one will be made up
	}
	_, err := setting.New(adminapi.DefaultNamespace, setting.KindBridge, spec.Name, spec.Bridge)
	return err
}

// target takes the user out of a URL.
func target(text string) (plain, user string, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", "", env.Failf(env.Usage, "that is no URL such as mqtt://mqtt.example.com") // it may hold a password
	}
	if _, given := u.User.Password(); given {
		return "", "", &env.Failure{Exit: env.Usage, What: "a password does not stand on the command line", Hint: "give it on standard input with --password-stdin"}
	}
	user = u.User.Username()
	u.User = nil
	return u.String(), user, nil
}

// route reads a route.
func route(text string) (r setting.Route, err error) {
	words := strings.Fields(text)
	if len(words) == 0 || len(words) > 5 {
		return r, env.Failf(env.Usage, "--route %s: FILTER [in|out|both [QOS [LOCAL [REMOTE]]]]", env.Quote(text))
	}
	r.Direction, r.QoS = defaultDirection, defaultQoS
	for i, w := range words {
		if w == `""` {
			w = ""
		}
		switch i {
		case 0:
			r.Filter = w
		case 1:
			r.Direction = setting.Direction(w)
		case 2:
			if len(w) != 1 || w[0] < '0' || w[0] > '2' {
				return r, env.Failf(env.Usage, "--route %s: %s is no QoS: 0, 1 or 2", env.Quote(text), env.Quote(w))
			}
			r.QoS = w[0] - '0'
		case 3:
			r.Local = w
		case 4:
			r.Remote = w
		}
	}
	return r, nil
}
