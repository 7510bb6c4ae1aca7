package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
	"github.com/robustmq/rmq/fixtures"
)

// up is the flags of `rmq up`.
type up struct {
	e    *env.Env
	open Open

	name         string
	data         string
	memory       bool
	profile      string
	durability   string
	auth         string
	chaos        string
	first        string
	advertise    string
	clock        clockFlag
	snapshot     string
	host         string
	port         int
	ports        [len(portFlags)]int
	anyPort      bool
	detach, wait bool
	json         bool
	timeout      env.Duration
	logLevel     string
	seed         string   // a fixture to load
	set          []string // its parameters
	fixture      *fixtures.Fixture
	loaded       string // what was, in words

	nodes     int
	inProcess bool
	restart   bool
	// One node alone: of those that a cluster begins with, or one that joins it.
	node                uint64
	peers, join, listen string
	secret, tokenFile   string // the token, or where it is
	rack                string
	forsake             bool
	tls                 nodeTLS
	edge                edgeFlags
}

// portFlags are in the order of Config.ports.
var portFlags = [...]struct {
	name, protocol string
	number         int
	tls            bool
}{
	{"mqtt-port", "MQTT", 1883, false},
	{"ws-port", "MQTT over WebSocket", 8083, false},
	{"kafka-port", "Kafka", 9092, false},
	{"amqp-port", "AMQP", 5672, false},
	{"http-port", "HTTP", 15672, false},
	{"mqtts-port", "MQTT over TLS", 8883, true},
	{"wss-port", "MQTT over WebSocket and TLS", 8084, true},
	{"kafkas-port", "Kafka over TLS", 9093, true},
	{"amqps-port", "AMQP over TLS", 5671, true},
	{"https-port", "HTTP over TLS", 15671, true},
}

// closeTimeout is how long a broker may take to end in order.
const closeTimeout = 30 * time.Second

// NewUp returns `rmq up`.
func NewUp(e *env.Env, open Open) *cobra.Command {
	u := &up{e: e, open: open, profile: "dev", logLevel: "warn", timeout: env.Duration(time.Minute)}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a broker on this machine",
		Long: "Start a broker on this machine.\n\nIt runs until Ctrl-C, or, with --detach, until rmq down. Data is kept in a directory and synced before it is\n" +
			"acknowledged, unless --memory. A broker without users lets everyone on this machine in and nobody else.\n\n" +
			"With --nodes it is a cluster: each node is a process of its own that keeps everything, and what is acknowledged\n" +
			"is held by a majority. The first node takes the ports asked for, each other one ports 10 higher than the one\n" +
			"before, and keeps its data in node-ID below the broker's directory. A node that dies is started again.\n\n" +
			"With --tls auto, or --tls-cert, each protocol has a port for TLS too, and the one of --port takes both. Files of certificates,\n" +
			"of the authorities of clients, and --auth are read again seconds after they change, or at once on SIGHUP; connections go\n" +
			"on, and what cannot be used changes nothing and is told by rmq status.\n\n" +
			"A --listener is one more place to listen, as SCHEME://HOST:PORT or unix:///PATH, where the scheme is mqtt, mqtts,\n" +
			"ws, wss, kafka, kafkas, amqp, amqps, http, https, mqtt+quic, or any for all of them, and may have options behind a ?:\n" +
			"client-cert=none|optional|required, max-connections=N, max-rate=N (a second), tls=accepted|required (of any),\n" +
			"mode=0660 (of a socket), and proxy-protocol=NETWORK,… whose connections begin with a PROXY header, and no others.\n\n" +
			"On many machines each node is started by hand, with the same --peers and the same secret in --token-file. It is\n" +
			"up once a majority is. Another one joins the cluster with --join, which is where any of its nodes listens for others:\n" +
			"it is up once it has a replica of everything. A node keeps in its data directory which one it is and where the\n" +
			"others are: to start it again, its data and the token are enough.\n\n" +
			"When most nodes are gone for good, --force-new-cluster has one that is left go on without the others, with what its\n" +
			"own data has: what only they had is lost. Nodes join it then, with new data directories.\n\n" +
			"Nodes prove to each other that they have the token, and send what they have to say as it is. With --node-cert,\n" +
			"--node-key and --node-ca they speak TLS: each takes certificates of that authority only, for the address it dials.",
		Example: "  rmq up\n  rmq up --memory --any-port --detach --wait --json\n  rmq up --memory --clock virtual   # time moves with rmq clock advance\n  rmq up --data ./data --profile production\n" +
			"  rmq up --port 4000            # MQTT, Kafka, AMQP and HTTP on one port\n" +
			"  rmq up --tls-cert server.pem --tls-key server.key --tls-ca devices.pem\n" +
			"  rmq up --listener unix:///run/rmq.sock?mode=0660 --listener 'mqtt://127.0.0.1:1884?proxy-protocol=127.0.0.1'\n" +
			"  rmq up --memory --seed iot-fleet --set devices=1000\n" +
			"  rmq up --memory --snapshot before   # as a snapshot has it\n" +
			"  rmq up -n 3                   # three nodes\n" +
			"  rmq up --node 2 --peers 1=10.0.0.1:7100,2=10.0.0.2:7100,3=10.0.0.3:7100 --token-file rmq.token\n" +
			"  rmq up --join 10.0.0.1:7100 --token-file rmq.token",
		Args:        env.Exactly(),
		Annotations: map[string]string{env.EndsStopped: "true"},
		RunE:        func(cmd *cobra.Command, _ []string) error { return u.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&u.name, "name", env.DefaultName, "name of the broker, for several on one machine")
	f.StringVar(&u.data, "data", "", "directory for data (default: in the user's data directory, by name)")
	_ = f.SetAnnotation("data", env.PathAnnotation, []string{"true"}) // fails for unknown flags only
	f.BoolVar(&u.memory, "memory", false, "keep everything in memory; nothing outlives the broker")
	f.Var(&env.Choice{Value: &u.profile, Of: []string{"dev", "production"}}, "profile", "dev captures traffic into topics; production does not")
	env.DurabilityFlag(f, &u.durability, "of what is made and does not say its own; decided at the first start (default: sync)")
	f.StringVar(&u.auth, "auth", "", "file, in YAML or JSON, that names who knows clients besides the users of rmq user: certificates, tokens, a password file, a service")
	_ = f.SetAnnotation("auth", env.PathAnnotation, []string{"true"}) // fails for unknown flags only
	f.StringVar(&u.chaos, "chaos", "", "file with a plan of what goes wrong, as rmq chaos run takes it")
	_ = f.SetAnnotation("chaos", env.PathAnnotation, []string{"true"}) // fails for unknown flags only
	f.StringVar(&u.advertise, "kafka-advertise", "", "where clients of Kafka are told to connect, as host or host:port (default: where they have come)")
	f.StringVar(&u.first, "first-user", "", "while there are no users, make this one, an administrator; the password is taken from RMQ_PASSWORD or --password-file")
	u.e.PasswordFlag(f)
	f.Var(&u.clock, "clock", clockUsage)
	f.StringVar(&u.snapshot, "snapshot", "", "begin with what a snapshot holds, by its name or file, where there is no data yet; a virtual clock then shows when it was taken, unless --clock says")
	f.StringVar(&u.host, "listen", "127.0.0.1", "address to listen on; others than this machine's need users")
	f.IntVar(&u.port, "port", 0, "serve every protocol on this one port, alone")
	for i, p := range portFlags {
		usage := "port for " + p.protocol + "; 0 takes a free one, -1 serves none"
		if p.tls {
			usage = "with --tls-cert: " + usage
		}
		f.IntVar(&u.ports[i], p.name, p.number, usage)
	}
	u.edge.add(f)
	f.BoolVar(&u.anyPort, "any-port", false, "take free ports for those not given")
	f.BoolVarP(&u.detach, "detach", "d", false, "return once the broker is up, and leave it running")
	f.BoolVar(&u.wait, "wait", false, "with --detach: return once every port answers")
	f.BoolVar(&u.json, "json", false, "the same as -o json")
	f.IntVarP(&u.nodes, "nodes", "n", 1, "how many nodes to start on this machine")
	f.BoolVar(&u.inProcess, "in-process", false, "with --nodes: all of them in one process")
	f.BoolVar(&u.restart, "restart", true, "with --nodes: start a node again that has died")
	f.Uint64Var(&u.node, "node", 0, "start this one node of the cluster that --peers names")
	f.StringVar(&u.peers, "peers", "", "with --node: every node and where it listens for the others, as 1=host:port,2=host:port")
	f.StringVar(&u.tokenFile, "token-file", "", "of a node started by hand: file with the secret that every node of the cluster is given")
	_ = f.SetAnnotation("token-file", env.PathAnnotation, []string{"true"}) // fails for unknown flags only
	f.StringVar(&u.secret, "token", "", "the secret itself; others on this machine see arguments")
	f.StringVar(&u.join, "join", "", "become a node of the cluster of which one listens for others at this host:port")
	f.StringVar(&u.listen, "node-listen", "", "host:port where this node listens for the others (default: as it joined; at first any free port)")
	f.StringVar(&u.rack, "rack", "", "what fails together with the node: shards are kept in as many racks as can be")
	f.BoolVar(&u.forsake, "force-new-cluster", false, "of a node that has data: go on without the others, for they are gone for good; what only they had is lost")
	f.StringVar(&u.tls.cert, "node-cert", "", "file with the certificate, in PEM, that a node shows to the others: for TLS between nodes")
	f.StringVar(&u.tls.key, "node-key", "", "file with the key of --node-cert")
	f.StringVar(&u.tls.ca, "node-ca", "", "file with the certificates of who signs those of nodes")
	for _, name := range []string{"node-cert", "node-key", "node-ca"} {
		_ = f.SetAnnotation(name, env.PathAnnotation, []string{"true"}) // fails for unknown flags only
	}
	f.StringVar(&u.seed, "seed", "", "fixture to load once the broker is up: a name of rmq fixture list, or a file")
	f.StringArrayVar(&u.set, "set", nil, "with --seed: change a parameter of the fixture, as name=value; repeatable")
	f.Var(&u.timeout, "timeout", "with --detach: how long to wait for the broker to be up")
	f.Var(&env.Choice{Value: &u.logLevel, Of: []string{"debug", "info", "warn", "error"}}, "log-level", "least severity that is logged")
	return cmd
}

func (u *up) run(cmd *cobra.Command) error {
	if u.json {
		u.e.Output = env.FormatJSON
	}
	child := u.e.Getenv(childEnv) != ""
	config, err := u.config(cmd)
	if u.e.Getenv(nodeEnv) != "" {
		return u.ofParent(cmd.Context(), config, err)
	}
	if err == nil {
		err = u.free()
	}
	if err == nil && u.seed != "" {
		u.fixture, err = env.OpenFixture(u.seed, u.set, "")
	} else if err == nil && len(u.set) > 0 {
		err = &env.Failure{Exit: env.Usage, What: "--set changes a parameter of a fixture", Hint: "name one: --seed iot-fleet"}
	}
	switch {
	case child:
		return u.child(cmd.Context(), config, err)
	case err != nil:
		return err
	case u.detach:
		return u.start(cmd.Context())
	case u.wait:
		return &env.Failure{Exit: env.Usage, What: "--wait is for a broker that is left running", Hint: "add --detach"}
	}
	begun := time.Now()
	b, err := u.begin(cmd.Context(), config, u.e.Err)
	if err != nil {
		return err
	}
	took := time.Since(begun)
	if err := u.plant(cmd.Context()); err != nil {
		return errors.Join(err, u.end(b, config))
	}
	if err := u.greet(cmd.Context(), config, took); err != nil {
		// Nobody reads, so nobody will know where it listens.
		return errors.Join(err, u.end(b, config))
	}
	return u.serve(cmd.Context(), b, config)
}

// config makes a broker's configuration of the flags.
func (u *up) config(cmd *cobra.Command) (c Config, err error) {
	f := cmd.Flags()
	c = Config{Profile: u.profile, Host: u.host, Port: u.port, Durability: u.durability}
	if u.chaos != "" {
		if c.Chaos = u.chaos; !filepath.IsAbs(c.Chaos) {
			c.Chaos = filepath.Join(u.e.Dir, c.Chaos)
		}
	}
	if u.auth != "" {
		if c.Auth = u.auth; !filepath.IsAbs(c.Auth) {
			c.Auth = filepath.Join(u.e.Dir, c.Auth)
		}
	}
	if c.KafkaAdvertise = u.advertise; strings.ContainsAny(c.KafkaAdvertise, "/ ,") {
		return c, env.Failf(env.Usage, "--kafka-advertise %q is no host or host:port", c.KafkaAdvertise)
	}
	if _, _, err := net.SplitHostPort(c.KafkaAdvertise); err == nil && u.nodes > 1 {
		return c, &env.Failure{Exit: env.Usage, What: "--kafka-advertise " + c.KafkaAdvertise + ": nodes have ports of their own", Hint: "name the host alone"}
	}
	if c.FirstUser = u.first; c.FirstUser != "" {
		if c.FirstPassword, err = u.e.Password(); err != nil {
			return c, err
		}
		if c.FirstPassword == "" {
			return c, &env.Failure{Exit: env.Usage, What: "--first-user " + u.first + " has no password", Hint: "set RMQ_PASSWORD, or --password-file FILE"}
		}
		u.e.User = u.first // to load --seed, and to tell how the broker is
	}
	if err := env.CheckName(u.name); err != nil {
		return c, err
	}
	if u.memory && f.Changed("data") {
		return c, &env.Failure{Exit: env.Usage, What: "--memory keeps nothing in --data", Hint: "leave one of them out"}
	}
	if u.nodes < 1 || u.nodes > nodesMax {
		return c, env.Failf(env.Usage, "--nodes %d is none of 1 to %d", u.nodes, nodesMax)
	}
	if u.inProcess && u.nodes == 1 {
		return c, &env.Failure{Exit: env.Usage, What: "--in-process is for many nodes", Hint: "say how many: rmq up -n 3 --in-process"}
	}
	if c.TLS, err = u.tls.config(u.e.Dir); err != nil {
		return c, err
	}
	if c.Hands, err = u.hands(f.Changed("data")); err != nil {
		return c, err
	}
	if u.memory && u.durability != "" {
		return c, &env.Failure{Exit: env.Usage, What: "with --memory nothing has another durability", Hint: "leave --durability out"}
	}
	if !u.memory {
		if c.DataDir = u.data; c.DataDir == "" {
			c.DataDir = u.e.DataDir(u.name)
		}
		if !filepath.IsAbs(c.DataDir) {
			c.DataDir = filepath.Join(u.e.Dir, c.DataDir)
		}
		if err := u.fits(c.DataDir); err != nil {
			return c, err
		}
	}
	if c.Cluster, err = u.member(c.DataDir); err != nil {
		return c, err
	}
	if u.snapshot != "" {
		if c.Cluster != nil || u.nodes > 1 {
			return c, &env.Failure{Exit: env.Usage, What: "--snapshot is for a broker that is alone", Hint: "leave it out, or --nodes"}
		}
		s, err := wholeSnapshot(u.e, u.snapshot)
		if err != nil {
			return c, err
		}
		c.Snapshot = s.Path
		if c.Hands != nil && u.clock.at.IsZero() { // what was to expire a second later does so a second later
			u.clock.at = s.Taken
			c.Hands = u.clock.open()
		}
	}
	if c.TLS != nil && c.Cluster == nil && (u.nodes == 1 || u.inProcess) {
		return c, &env.Failure{Exit: env.Usage, What: "--node-cert is for nodes that reach each other over a network", Hint: "leave it out; for the ports of clients there is --tls-cert"}
	}
	if err = u.edge.make(u); err != nil {
		return c, err
	}
	if c.Edge, err = u.edge.config(u.e.Dir); err != nil {
		return c, err
	}
	for _, p := range portFlags {
		if p.tls && f.Changed(p.name) && !c.Edge.secure() {
			return c, &env.Failure{Exit: env.Usage, What: "--" + p.name + " needs a certificate to show", Hint: "name it: --tls-cert FILE --tls-key FILE   or have one made: --tls auto"}
		}
	}
	if f.Changed("port") {
		if u.port < 1 || u.port > 65535 {
			return c, env.Failf(env.Usage, "--port %d is not one of 1 to 65535", u.port)
		}
		for _, p := range portFlags {
			if f.Changed(p.name) {
				return c, &env.Failure{Exit: env.Usage, What: "--port serves every protocol on that port alone", Hint: "leave --" + p.name + " out"}
			}
		}
		return c, nil
	}
	for i, p := range portFlags {
		if u.ports[i] < -1 || u.ports[i] > 65535 {
			return c, env.Failf(env.Usage, "--%s %d is none of 0 to 65535", p.name, u.ports[i])
		}
		if u.anyPort && !f.Changed(p.name) {
			u.ports[i] = 0
		}
	}
	if u.ports[4] < 0 {
		return c, &env.Failure{Exit: env.Usage, What: "without HTTP no command could reach the broker", Hint: "leave --http-port out, or take a free one with --http-port 0"}
	}
	for i, port := range c.ports() {
		if !portFlags[i].tls || c.Edge.secure() {
			*port = u.ports[i]
		}
	}
	return c, nil
}

// free fails when a broker of that name runs already.
func (u *up) free() error {
	run, ok, err := u.e.ReadRun(u.name)
	if err != nil || !ok || !env.Alive(run.PID) || run.PID == os.Getpid() {
		return err
	}
	// A process of that number may be somebody else's by now.
	if !env.Listens(run.URLs.HTTP) && (run.Control == "" || !answers(run.Control)) {
		return nil
	}
	return u.taken(run)
}

func (u *up) taken(run env.Run) error {
	f := env.Failf(env.Conflict, "a broker named %s is running already (process %d, %s)", run.Name, run.PID, run.URLs.HTTP)
	f.Hint = "stop it: rmq down" + nameFlag(run.Name) + "   or start another: rmq up --name " + run.Name + "2 --any-port"
	return f
}

func nameFlag(name string) string {
	if name == env.DefaultName {
		return ""
	}
	return " --name " + name
}

// begin starts the broker and leaves its run file.
func (u *up) begin(ctx context.Context, c Config, log io.Writer) (Broker, error) {
	c.Log = u.logger(log)
	b, err := u.openAll(ctx, c, log)
	if err != nil {
		return nil, u.explain(err, c)
	}
	go giveBack(ctx)
	run := env.Run{Name: u.name, PID: os.Getpid(), Started: time.Now().UTC(), URLs: b.URLs(), DataDir: c.DataDir, Log: u.e.Getenv(childEnv)}
	many, isMany := b.(clustered)
	if isMany {
		run.Nodes, run.Control = many.Nodes(), many.Control()
	}
	if err := u.claim(run); err != nil {
		return nil, errors.Join(err, u.end(b, c))
	}
	if isMany {
		many.Watch(func() {
			run.URLs, run.Nodes = many.URLs(), many.Nodes()
			if err := u.e.UpdateRun(run); err != nil {
				u.e.Say("what other commands know of the nodes is old: %v", err)
			}
		})
	}
	return b, nil
}

func (u *up) logger(to io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(u.logLevel)) // one of four words that it knows
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: level}))
}

// openAll starts what the flags ask for: one broker, or a cluster.
func (u *up) openAll(ctx context.Context, c Config, log io.Writer) (Broker, error) {
	switch {
	case c.Cluster != nil:
		return u.openMember(ctx, c)
	case u.nodes == 1:
		return u.open(ctx, c)
	}
	configs, err := u.plan(c)
	if err != nil {
		return nil, err
	}
	if u.inProcess {
		b, err := u.openTogether(ctx, configs)
		if err != nil {
			return nil, err
		}
		return b, nil
	}
	b, err := u.openApart(ctx, c, configs, log)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// claim leaves the run file, unless another broker did since free looked.
func (u *up) claim(run env.Run) error {
	won, err := u.e.WriteRun(run)
	if err != nil || won {
		return err
	}
	other, _, err := u.e.ReadRun(u.name)
	if err != nil {
		return err
	}
	return u.taken(other)
}

// serve runs until the context or the broker says to end.
func (u *up) serve(ctx context.Context, b Broker, c Config) error {
	again := u.hangups()
	for {
		select {
		case <-again:
			u.reload(b)
		case <-ctx.Done():
			u.e.Say("stopping")
			return u.end(b, c)
		case <-b.Done():
			return u.end(b, c)
		}
	}
}

// end closes a broker, and tells what stopped it, if anything did.
func (u *up) end(b Broker, c Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := b.Err()
	if closeErr := b.Close(ctx); err == nil {
		err = closeErr
	}
	u.e.RemoveRun(u.name, os.Getpid())
	if err != nil {
		return u.explain(err, c)
	}
	return nil
}

// explain turns what can go wrong with a data directory into what to do about it. What goes wrong
// at the start has not touched the data.
func (u *up) explain(err error, c Config) error {
	f := &env.Failure{Err: err}
	elsewhere := "rmq up --data DIR"
	if u.name != env.DefaultName {
		elsewhere += " --name " + u.name
	}
	fe, _ := errors.AsType[*fault.Error](err)
	switch {
	case fe != nil && fe.Op == "listen" && fe.Kind == fault.Exists && strings.HasPrefix(fe.Target, "/"):
		f.Exit = env.Conflict
		f.What = fmt.Sprintf("%s: %v", fe.Target, fe.Err)
		f.Hint = "choose another: --listener unix:///PATH"
	case fe != nil && fe.Op == "listen" && fe.Kind == fault.Exists:
		flag, protocol := u.portOf(fe.Target, c)
		f.Exit = env.Conflict
		f.What = fmt.Sprintf("%s%s is taken", fe.Target, protocol)
		f.Hint = fmt.Sprintf("take free ports: rmq up --any-port   or choose one: rmq up --%s N", flag)
	case fe != nil && (fe.Op == "read authentication" || fe.Op == "configure"):
		f.Exit = env.Usage
		f.What = fmt.Sprintf("%s: %v", fe.Target, fe.Err)
		f.Hint = "see what the file of --auth may say: docs/SECURITY.md"
	case fe != nil && (fe.Op == "read listener" || fe.Op == "open" && fe.Target == "TLS" || fe.Op == "listen" && fe.Kind == fault.Invalid):
		f.Exit = env.Usage
		f.What = fmt.Sprintf("%s: %v", fe.Target, fe.Err)
		f.Hint = "see what there is: rmq up --help"
	case fe != nil && fe.Op == "listen" && fe.Kind == fault.Denied && u.host != "127.0.0.1":
		f.Exit = env.Auth
		f.What = fmt.Sprintf("%s: a broker without users listens on this machine only", fe.Target)
		f.Hint = "make one as it starts: RMQ_PASSWORD=… rmq up --first-user NAME --listen " + u.host + "   or start it without --listen, and then: rmq user create NAME"
	case fe != nil && fe.Op == "load" && fe.Kind == fault.Conflict:
		f.Exit = env.Conflict
		f.What = fmt.Sprintf("%s has data already, over which no snapshot is put", c.DataDir)
		f.Hint = "leave --snapshot out   or use another directory: " + elsewhere + " --snapshot " + env.Quote(u.snapshot) + "   or memory: rmq up --memory --snapshot " + env.Quote(u.snapshot)
	case fe != nil && fe.Op == "join":
		u.explainJoin(f, fe, elsewhere)
	case fe != nil && fe.Op == "forsake":
		f.Exit = env.Conflict
		f.What = fmt.Sprintf("%s: %v", fe.Target, fe.Err)
		f.Hint = "leave --force-new-cluster out, and they agree again once most are up"
	case fe != nil && fe.Op == "open" && fe.Kind == fault.Conflict && c.Cluster != nil && strings.HasPrefix(fe.Err.Error(), "it is of node"):
		f.Exit = env.Conflict
		f.What = fe.Error()
		f.Hint = "use another directory: " + elsewhere
		if !strings.Contains(f.What, "removed") {
			f.Hint = "leave --node out: the directory says which node it is   or " + f.Hint
		}
	case fe != nil && fe.Op == "open" && fe.Kind == fault.Conflict && u.durability != "":
		f.Exit = env.Conflict
		f.What = fmt.Sprintf("%s was begun with another durability: %v", c.DataDir, fe)
		f.Hint = "start it without --durability, and change it then: rmq namespace alter / --durability " + u.durability
	case errors.Is(err, storage.ErrInUse):
		f.Exit = env.Conflict
		f.What = fmt.Sprintf("%s is in use by another process", c.DataDir)
		if _, who, ok := strings.Cut(err.Error(), " is open in "); ok {
			f.What = fmt.Sprintf("%s is in use by %s", c.DataDir, who)
		}
		f.Hint = "give this one its own: rmq up --data DIR --name NAME --any-port"
		for _, r := range u.e.Runs() {
			if r.DataDir == c.DataDir {
				f.What = fmt.Sprintf("%s is in use by the broker named %s (process %d)", c.DataDir, r.Name, r.PID)
				f.Hint = "stop it: rmq down" + nameFlag(r.Name) + "   or " + f.Hint
			}
		}
	case errors.Is(err, storage.ErrVersion):
		f.Exit = env.Conflict
		f.What = err.Error()
		f.Hint = "start it with the release that wrote it, or use another directory: " + elsewhere
	case errors.Is(err, storage.ErrCorrupt):
		f.Exit = env.Failed
		f.What = err.Error()
		f.Hint = "nothing was changed; see what is damaged and what can be mended: rmq doctor " + env.Quote(c.DataDir) + "   to go on without it: " + elsewhere
	case errors.Is(err, storage.ErrMixed):
		f.Exit = env.Conflict
		f.What = err.Error()
		f.Hint = "nothing was changed; see which files belong together: rmq doctor " + env.Quote(c.DataDir) + "   and put back those of one copy, or use another directory: " + elsewhere
	case errors.Is(err, storage.ErrGone):
		f.Exit = env.Failed
		f.What = err.Error()
		f.Hint = "nothing was made in its place; see what is left: rmq doctor " + env.Quote(c.DataDir) + "   and put the rest back from a copy, or use another directory: " + elsewhere
	case errors.Is(err, filelog.ErrForeign):
		f.Exit = env.Usage
		f.What = err.Error()
		f.Hint = "use another directory: " + elsewhere
	case errors.Is(err, fs.ErrPermission):
		f.Exit = env.Auth
		f.What = err.Error()
		f.Hint = "let this user read and write it: chmod -R u+rwX " + env.Quote(c.DataDir) + "   or use another directory: " + elsewhere
		if owner := ownerOf(c.DataDir); owner != "" {
			f.Hint = "it is " + owner + "'s: sudo -u " + env.Quote(owner) + " rmq up --data " + env.Quote(c.DataDir) + "   or use another directory: " + elsewhere
		}
	case errors.Is(err, syscall.EROFS):
		f.Exit = env.Auth
		f.What = fmt.Sprintf("%s is on a file system that is mounted read-only", c.DataDir)
		f.Hint = "nothing was changed; use another directory: " + elsewhere
	case errors.Is(err, syscall.ENOTDIR):
		f.Exit = env.Usage
		f.What = fmt.Sprintf("%s is no directory", c.DataDir)
		f.Hint = elsewhere
	case errors.Is(err, syscall.ENOSPC):
		f.Exit = env.Failed
		f.What = fmt.Sprintf("no space is left for %s", c.DataDir)
		f.Hint = "free some, or use another directory: " + elsewhere
	default:
		return err
	}
	return f
}

// explainJoin says why a cluster took no node in.
func (u *up) explainJoin(f *env.Failure, fe *fault.Error, elsewhere string) {
	f.What = fmt.Sprintf("%s: %v", fe.Target, fe.Err)
	switch fe.Kind {
	case fault.Unavailable, fault.Timeout:
		f.Exit = env.Unreachable
		f.Hint = "--join names where a node listens for other nodes, not for clients: PEER of rmq node list -o json"
	case fault.Unauthorized:
		f.Exit = env.Auth
		f.Hint = "give it the token, and the certificates, that the cluster's nodes were started with"
	case fault.Conflict:
		f.Exit = env.Conflict
		f.Hint = "a node is of one cluster, for ever; use another directory: " + elsewhere
	case fault.Exists:
		f.Exit = env.Conflict
		f.Hint = "listen elsewhere: --node-listen HOST:PORT   or start the node that was there with its own data directory"
	case fault.Exhausted:
		f.Exit = env.Conflict
		f.Hint = "take one out first: rmq node remove ID"
	default:
		f.Exit = env.Failed
	}
}

// portOf finds the flag that chose an address, and the protocol it is for.
func (u *up) portOf(address string, c Config) (flag, protocol string) {
	if c.Port == 0 {
		for i, p := range portFlags {
			if strings.HasSuffix(address, ":"+strconv.Itoa(u.ports[i])) {
				return p.name, " for " + p.protocol
			}
		}
	}
	return "port", ""
}

// plant loads the fixture that --seed names into the broker that is up now.
func (u *up) plant(ctx context.Context) error {
	f := u.fixture
	if f == nil {
		return nil
	}
	run, err := u.running()
	if err != nil {
		return err
	}
	u.e.URL = run.URLs.HTTP
	defer func() { u.e.URL = "" }()
	admin, err := u.e.Admin()
	if err != nil {
		return err
	}
	base := link.Target{User: u.e.User}
	if base.User != "" {
		if base.Password, err = u.e.Password(); err != nil {
			return err
		}
	}
	s, err := link.LoadFixture(ctx, f, admin, run.URLs, base, link.Options{}, u.e.Progress(f.Name, f.Messages()))
	if err != nil {
		return fmt.Errorf("fixture %s: %w", f.Name, err)
	}
	u.loaded = s.Name + ": " + s.String()
	if u.e.Format() != env.FormatTable { // the card says it else
		u.e.Say("loaded %s", u.loaded)
	}
	return nil
}

// ---- the card

// greet prints where the broker listens, and what to type next.
func (u *up) greet(ctx context.Context, c Config, took time.Duration) error {
	run, err := u.running()
	if err != nil {
		return err
	}
	if f := u.e.Format(); f != env.FormatTable {
		return u.report(ctx, run)
	}
	_, err = io.WriteString(u.e.Out, card(u.e, run, c, u.loaded, took, "Ctrl-C"))
	return err
}

// report prints the broker's own status, for machines.
func (u *up) report(ctx context.Context, run env.Run) error {
	u.e.Name, u.e.URL = u.name, run.URLs.HTTP
	c, err := u.e.Admin()
	if err != nil {
		return err
	}
	s, err := c.Status(ctx)
	if f := env.Explain(err); f != nil && f.Exit == env.Auth {
		// It is up, and has users: what it tells of itself only them is left out.
		s, err = adminapi.Status{Ready: true, URLs: run.URLs, PID: run.PID, Started: run.Started, DataDir: run.DataDir, Version: u.e.Version}, nil
	}
	if err != nil {
		return err
	}
	return u.e.Print(statusView(u.e, u.name, s, run))
}

// spaced writes those that there are, apart.
func spaced(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(s string) bool { return s == "" }), "   ")
}

func card(e *env.Env, run env.Run, c Config, loaded string, took time.Duration, stop string) string {
	var b strings.Builder
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-7s  %s\n", name, text)
		}
	}
	places := func(urls adminapi.URLs) {
		row("mqtt", spaced(urls.MQTT, urls.MQTTWS, urls.MQTTS, urls.MQTTWSS))
		row("kafka", spaced(strings.TrimPrefix(urls.Kafka, "kafka://"), urls.KafkaS))
		row("amqp", spaced(urls.AMQP, urls.AMQPS))
		row("http", spaced(urls.HTTP, urls.HTTPS))
	}
	if len(run.Nodes) == 0 {
		fmt.Fprintf(&b, "rmq %s is up (%d ms)\n\n", e.Version, took.Milliseconds())
		places(run.URLs)
	} else {
		fmt.Fprintf(&b, "rmq %s is up: %d nodes (%d ms)\n", e.Version, len(run.Nodes), took.Milliseconds())
		for _, n := range run.Nodes {
			fmt.Fprintf(&b, "\n  node %d\n", n.ID)
			places(n.URLs)
		}
	}
	b.WriteByte('\n')
	if c.DataDir == "" {
		row("data", "in memory: nothing outlives the broker")
	} else {
		row("data", env.Clean(c.DataDir))
	}
	if c.Edge != nil {
		row("cacert", env.Clean(c.Edge.Signed))
	}
	row("profile", c.Profile)
	if c.Hands != nil {
		row("clock", "virtual: rmq clock advance 24h")
	}
	row("loaded", loaded)
	row("try", "rmq produce mqtt:sensors/dev1/temp 21.5")
	row("", "rmq consume kafka:sensors --from start -n 1")
	row("watch", "rmq tui")
	row("env", `eval "$(rmq env)"`)
	if run.Control != "" {
		row("nodes", "rmq node list"+nameFlag(run.Name))
		row("", "rmq node kill 2"+nameFlag(run.Name))
		row("", "rmq node add"+nameFlag(run.Name))
	}
	row("stop", stop)
	return b.String()
}
