package local

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Variable is one environment variable by which clients find a broker.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// NewEnv returns `rmq env`.
func NewEnv(e *env.Env) *cobra.Command {
	format := "sh"
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print environment variables by which clients find the broker",
		Long:  "Print environment variables by which clients find the broker.\n\nWith them set, rmq finds it too: RMQ_URL is --url.",
		Example: "  eval \"$(rmq env)\"\n  rmq env -o fish | source\n  rmq env -o github >> \"$GITHUB_ENV\"\n" +
			"  rmq env -o dotenv > .env",
		Args: env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			urls, err := e.URLs(cmd.Context())
			if err != nil {
				return err
			}
			if e.URL == "" {
				run, err := e.Running()
				if err != nil {
					return err
				}
				urls.Kafka = bootstrap(urls.Kafka, run.Nodes)
			}
			vars := Variables(urls)
			if e.Picks() {
				format = env.FormatJSON
			}
			switch format {
			case env.FormatJSON, env.FormatYAML, env.FormatText, env.FormatTable:
				e.Output = format
				t := env.Table{Head: []string{"VARIABLE", "VALUE"}}
				data := map[string]string{}
				for _, v := range vars {
					t.Rows = append(t.Rows, []any{v.Name, v.Value})
					data[v.Name] = v.Value
				}
				return e.Print(env.View{Schema: "rmq.env/1", Data: data, Tables: []env.Table{t}})
			}
			var b strings.Builder
			for _, v := range vars {
				b.WriteString(assignment(format, v) + "\n")
			}
			_, err = e.Out.Write([]byte(b.String()))
			return err
		},
	}
	// Its own -o: the shells are formats too.
	cmd.Flags().VarP(&env.Choice{Value: &format, Of: append([]string{"sh", "fish", "pwsh", "dotenv", "github"}, env.Formats...)}, "output", "o", "for which shell or file, or how to print")
	e.BrokerFlags(cmd.Flags())
	return cmd
}

// Variables names what a client needs, as the tools of each protocol call it.
func Variables(urls adminapi.URLs) []Variable {
	var vars []Variable
	add := func(name, value string) {
		if value != "" {
			vars = append(vars, Variable{name, value})
		}
	}
	add("RMQ_URL", urls.HTTP)
	add("RMQ_CONTROL_URL", urls.HTTP)
	add("MQTT_URL", urls.MQTT)
	hostPort(urls.MQTT, "MQTT", add)
	add("MQTT_WS_URL", urls.MQTTWS)
	add("MQTTS_URL", urls.MQTTS)
	add("MQTT_WSS_URL", urls.MQTTWSS)
	add("KAFKA_BOOTSTRAP_SERVERS", strings.TrimPrefix(urls.Kafka, "kafka://"))
	add("AMQP_URL", urls.AMQP)
	hostPort(urls.AMQP, "AMQP", add)
	add("AMQPS_URL", urls.AMQPS)
	return vars
}

// bootstrap names every node of a cluster to Kafka's clients, which take the first that answers.
func bootstrap(kafka string, nodes []env.RunNode) string {
	var hosts []string
	for _, n := range nodes {
		if u, err := url.Parse(n.URLs.Kafka); err == nil && u.Host != "" {
			hosts = append(hosts, u.Host)
		}
	}
	if len(hosts) == 0 {
		return kafka
	}
	return "kafka://" + strings.Join(hosts, ",")
}

// assignment writes a variable in a shell's language.
func assignment(format string, v Variable) string {
	single := "'" + strings.ReplaceAll(v.Value, "'", `'\''`) + "'"
	switch format {
	case "fish":
		return "set -gx " + v.Name + " '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v.Value) + "'"
	case "pwsh":
		return "$Env:" + v.Name + " = '" + strings.ReplaceAll(v.Value, "'", "''") + "'"
	case "dotenv":
		return v.Name + "=" + single
	case "github":
		return v.Name + "=" + v.Value // to the end of the line, as it stands
	}
	return "export " + v.Name + "=" + single
}
