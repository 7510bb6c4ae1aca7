package local

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// NewStatus returns `rmq status`.
func NewStatus(e *env.Env) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show a broker: where it listens, what it keeps and for how long it has run",
		Example: "  rmq status\n  rmq status --all\n  rmq status --url http://broker.example:15672 -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all {
				return listRuns(e)
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			name, run := e.Name, env.Run{}
			if e.URL != "" {
				name = ""
			} else if run, err = e.Running(); err != nil {
				return err
			}
			if err := e.Print(statusView(e, name, s, run)); err != nil {
				return err
			}
			if !s.Ready {
				return env.Failf(env.Unreachable, "the broker is not ready")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "list every broker of yours on this machine")
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func listRuns(e *env.Env) error {
	runs := e.Runs()
	if runs == nil {
		runs = []env.Run{}
	}
	t := env.Table{Head: []string{"NAME", "PROCESS", "UP", "HTTP", "DATA"}}
	for _, r := range runs {
		t.Rows = append(t.Rows, []any{r.Name, r.PID, env.Ago{At: r.Started, Now: e.Now()}, r.URLs.HTTP, r.DataDir})
	}
	return e.Print(env.View{Schema: "rmq.runs/1", Data: runs, Tables: []env.Table{t}, Empty: "no broker is running"})
}

// logFields is how the log stands, in a few lines.
func logFields(l *adminapi.WAL) (fields []env.Field) {
	if l == nil {
		return nil
	}
	text := fmt.Sprintf("%d files, room for %s", l.Files, env.Bytes(l.Room))
	if l.Full {
		text += "; the device is full"
	}
	if l.Syncs > 0 {
		text += fmt.Sprintf("; a sync takes %s (p50), %s (p99), with %.1f entries each", seconds(l.SyncP50), seconds(l.SyncP99), l.GroupEntries)
	}
	fields = append(fields, env.Field{Name: "log", Value: text})
	if l.Amplification > 0 {
		fields = append(fields, env.Field{Name: "written", Value: fmt.Sprintf("%.1f bytes for each byte published (log %s, segments %s, checkpoints %s)",
			l.Amplification, env.Bytes(l.Bytes), env.Bytes(l.Segments), env.Bytes(l.Checkpoints))})
	}
	if len(l.Pins) > 0 {
		p := l.Pins[0]
		fields = append(fields, env.Field{Name: "pinned", Value: fmt.Sprintf("%s in %d files, by shard %d", env.Bytes(p.Bytes), p.Files, p.Shard)})
	}
	var slow *adminapi.ShardLag
	for i := range l.Shards {
		if x := &l.Shards[i]; x.Age > 1 && (slow == nil || x.Age > slow.Age) {
			slow = x
		}
	}
	if slow != nil {
		fields = append(fields, env.Field{Name: "behind", Value: fmt.Sprintf("shard %d by %d entries, %s, the oldest %s old", slow.Shard, slow.Entries, env.Bytes(slow.Bytes), seconds(slow.Age))})
	}
	for i := range l.Shards {
		switch x := &l.Shards[i]; {
		case x.Gated:
			fields = append(fields, env.Field{Name: "publishes", Value: fmt.Sprintf("shard %d: %s wait for space on the device", x.Shard, env.Bytes(x.Publishes))})
		case x.Crowded:
			fields = append(fields, env.Field{Name: "publishes", Value: fmt.Sprintf("shard %d: %s wait for the disk, and no more are let in", x.Shard, env.Bytes(x.Publishes))})
		}
	}
	return fields
}

// seconds writes a measured time with three digits at most.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// holds is what there is of one durability; "" when there is nothing.
func holds(h *adminapi.Holding) string {
	var all []string
	for _, x := range []struct {
		n    int
		what string
	}{{h.Topics, "topics"}, {h.Queues, "queues"}, {h.Sessions, "sessions"}, {h.Groups, "groups"}, {h.Retained, "retained"}} {
		if x.n > 0 {
			all = append(all, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	return strings.Join(all, ", ")
}

// statusView shows a broker, and, when it is of a cluster, the nodes; run tells of their
// processes.
func statusView(e *env.Env, name string, s adminapi.Status, run env.Run) env.View {
	nodes := withProcesses(s.Nodes, run)
	for i := range s.Nodes {
		s.Nodes[i] = nodes[i].Node
	}
	state := "ready"
	if !s.Ready {
		state = "not ready"
	}
	data := s.DataDir
	if data == "" {
		data = "in memory"
	}
	v := env.View{Schema: adminapi.SchemaStatus, Data: s, Warnings: s.Warnings}
	add := func(name string, value any) {
		if value != "" {
			v.Fields = append(v.Fields, env.Field{Name: name, Value: value})
		}
	}
	add("name", name)
	add("state", state)
	add("mqtt", s.URLs.MQTT)
	add("mqtts", s.URLs.MQTTS)
	add("mqtt-ws", s.URLs.MQTTWS)
	add("mqtt-wss", s.URLs.MQTTWSS)
	add("kafka", s.URLs.Kafka)
	add("kafkas", s.URLs.KafkaS)
	add("amqp", s.URLs.AMQP)
	add("amqps", s.URLs.AMQPS)
	add("http", s.URLs.HTTP)
	add("https", s.URLs.HTTPS)
	if s.TLS != nil {
		for _, c := range s.TLS.Certificates {
			add("shows", fmt.Sprintf("%s, until %s", strings.Join(c.Names, " "), c.Until.Local().Format(time.DateOnly)))
		}
	}
	add("data", data)
	var durable []string
	for _, class := range env.SortedKeys(s.Durability) {
		durable = append(durable, class+" "+s.Durability[class])
	}
	add("durability", strings.Join(durable, ", "))
	for _, f := range logFields(s.Log) {
		add(f.Name, f.Value)
	}
	for _, h := range s.Holdings {
		add("in "+h.Durability, holds(&h))
	}
	add("profile", s.Profile)
	add("users", s.Users)
	add("process", s.PID)
	add("node", s.Node)
	add("started", env.Ago{At: s.Started, Now: s.Started.Add(time.Duration(s.Uptime * float64(time.Second)))})
	add("version", s.Version)
	if more := listenerTable(&s); len(more.Rows) > 0 {
		v.Tables = append(v.Tables, more)
	}
	if len(nodes) > 0 {
		t := nodeTable(nodes)
		t.Title = "node"
		v.Tables = append(v.Tables, t)
	}
	return v
}

// listenerTable has the listeners that the URLs do not tell, and those that have refused somebody.
func listenerTable(s *adminapi.Status) env.Table {
	t := env.Table{Title: "listener", Head: []string{"LISTENER", "OPEN", "ACCEPTED", "REFUSED"}}
	for _, l := range s.Listeners {
		_, at, _ := strings.Cut(l.URL, "://")
		told := false
		s.URLs.All(func(_ string, url *string) {
			told = told || portOfURL(*url) != "" && strings.HasSuffix(at, ":"+portOfURL(*url))
		})
		var refused []string
		for _, reason := range env.SortedKeys(l.Refused) {
			refused = append(refused, fmt.Sprintf("%d %s", l.Refused[reason], reason))
		}
		if !told || len(refused) > 0 {
			t.Rows = append(t.Rows, []any{l.URL, l.Open, l.Accepted, strings.Join(refused, ", ")})
		}
	}
	return t
}
