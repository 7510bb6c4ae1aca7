// Package conform holds `rmq conform`: whether a broker keeps to the specifications,
// statement by statement. It works on any MQTT broker.
package conform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/testkit/conformance"
)

const (
	schemaReport     = "rmq.conform/1"
	schemaStatements = "rmq.conformstatements/1"
	page             = "docs/protocol/mqtt-conformance.md"
)

type conform struct {
	e         *env.Env
	targets   []string
	websocket string
	tls       env.TLS
	strict    bool
	list      bool
	reports   []string
	timeout   env.Duration
	parallel  int
}

// Command returns `rmq conform`.
func Command(e *env.Env) *cobra.Command {
	c := &conform{e: e, timeout: env.Duration(5 * time.Second), parallel: 16}
	cmd := &cobra.Command{
		Use:   "conform [SPEC...]",
		Short: "Check an MQTT broker against the specifications, statement by statement",
		Long: "Check an MQTT broker against the specifications, statement by statement: any broker, over its public port.\n\n" +
			"SPEC is a suite, a section of one, or a statement by the specification's number; without it everything is checked:\n\n" +
			"  mqtt5, mqtt311, mqtt31     a suite\n" +
			"  mqtt5/3.1, mqtt5/3.1.2     a section\n" +
			"  mqtt5/3.1.2-1              a statement\n\n" +
			"Every test has client identifiers and topics of its own, below conform/, so the broker may be in use. It takes back what\n" +
			"it has retained and ends the sessions that it has left. Of what fails, all that was said is shown, byte by byte.\n\n" +
			"A statement passes, fails, or varies: the broker does what the specification allows and advises against, as to close\n" +
			"without saying why. It is skipped where the broker says that it lacks the feature, and unseen where nobody can tell from\n" +
			"outside. The exit code is 9 when a statement fails; with --strict also when one varies.",
		Example: "  rmq conform\n  rmq conform mqtt5/3.3 mqtt311 --target mqtt://test.example:1883\n  rmq conform mqtt5/4.7.2-1 -o json\n" +
			"  rmq conform --strict --report junit:conform.xml --report json:conform.json\n  rmq conform --list mqtt5/4.8",
		ValidArgsFunction: complete,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.run(cmd, args) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&c.targets, "target", nil, "broker to check: mqtt://user:password@host:port, mqtts://, ws://host:port/path, wss://; of a cluster repeatable: connections take turns (default: the broker that runs here, with all its nodes)")
	f.StringVar(&c.websocket, "websocket", "", "where the same broker speaks WebSocket, as ws://host:port/path")
	c.tls.Flags(f)
	f.BoolVar(&c.strict, "strict", false, "what varies is a failure too")
	f.BoolVar(&c.list, "list", false, "check nothing: list the statements, and why some have no test")
	f.StringArrayVar(&c.reports, "report", nil, "write a report, as json:FILE or junit:FILE; repeatable")
	f.Var(&c.timeout, "timeout", "how long to wait for an answer")
	f.IntVar(&c.parallel, "parallel", c.parallel, "how many tests run at once")
	e.BrokerFlags(f)
	return cmd
}

func complete(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, s := range conformance.Specs() {
		// Sections when a suite is typed, statements when a section is: not all at once.
		if strings.HasPrefix(s, typed) && strings.Count(s, "-")+strings.Count(s, "/") <= strings.Count(typed, "-")+strings.Count(typed, "/")+1 {
			out = append(out, s)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (c *conform) run(cmd *cobra.Command, args []string) error {
	selection, err := conformance.Select(args...)
	if err != nil {
		return unknown(err)
	}
	if c.list {
		return c.e.Print(statements(selection))
	}
	outputs, err := c.outputs()
	if err != nil {
		return err
	}
	cfg := conformance.Config{Select: selection, Patience: time.Duration(c.timeout), Parallel: c.parallel}
	if c.parallel < 1 {
		return env.Failf(env.Usage, "--parallel %d: at least 1", c.parallel)
	}
	if err := c.where(cmd, &cfg); err != nil {
		return err
	}
	report, err := conformance.Run(cmd.Context(), cfg)
	if err != nil {
		return env.WithHint(err, "%s", c.hint())
	}
	for _, o := range outputs {
		if err := o.write(report, c.strict); err != nil {
			return err
		}
	}
	if err := c.print(report); err != nil {
		return err
	}
	return c.verdict(report)
}

// hint is what to type when nobody answers.
func (c *conform) hint() string {
	if len(c.targets) > 0 {
		return "check the address; without --target it is the broker that rmq up started"
	}
	return "see how it is: rmq status"
}

func unknown(err error) error {
	u, ok := errors.AsType[*conformance.Unknown](err)
	if !ok {
		return err
	}
	f := &env.Failure{Exit: env.Usage, What: fmt.Sprintf("no suite, section or statement is named %q", u.Spec), Hint: "see what there is: rmq conform --list", Err: err}
	if near := env.Closest(u.Spec, conformance.Specs()); near != "" {
		f.Hint = "did you mean " + near + "?   all there are: rmq conform --list"
	}
	return f
}

// where fills in whom to ask.
func (c *conform) where(cmd *cobra.Command, cfg *conformance.Config) error {
	cfg.WebSocket = c.websocket
	if len(c.targets) > 0 {
		cfg.URL, cfg.More = c.targets[0], c.targets[1:]
	} else {
		urls, err := c.e.URLs(cmd.Context())
		if err != nil {
			return err
		}
		if urls.MQTT == "" {
			return &env.Failure{Exit: env.Unreachable, What: "the broker does not listen for MQTT", Hint: "name where: --target mqtts://host:8883"}
		}
		cfg.URL = urls.MQTT
		if cfg.WebSocket == "" {
			cfg.WebSocket = urls.MQTTWS
		}
		cfg.More = c.otherNodes(urls.MQTT)
	}
	for _, s := range append([]string{cfg.URL}, cfg.More...) {
		if err := conformance.CheckURL(s); err != nil {
			return env.Failf(env.Usage, "--target: %v", err)
		}
	}
	if s := cfg.WebSocket; s != "" {
		if err := conformance.CheckURL(s); err != nil {
			return env.Failf(env.Usage, "--websocket: %v", err)
		}
	}
	u, err := url.Parse(cfg.URL)
	if err != nil { // CheckURL has read it
		return env.Failf(env.Usage, "--target: %v", err)
	}
	user := c.e.User
	if u.User != nil {
		user = u.User.Username()
	}
	if _, has := u.User.Password(); user != "" && !has {
		password, err := c.e.Password()
		if err != nil {
			return err
		}
		u.User = url.UserPassword(user, password)
		cfg.URL = u.String()
	}
	cfg.TLS, err = c.tls.Config()
	return err
}

// otherNodes returns where the nodes listen that run here beside the first.
func (c *conform) otherNodes(first string) (more []string) {
	if c.e.URL != "" {
		return nil
	}
	run, err := c.e.Running()
	if err != nil {
		return nil // the first was found a moment ago; it says what is wrong
	}
	for _, n := range run.Nodes {
		if n.State == env.NodeUp && n.URLs.MQTT != "" && n.URLs.MQTT != first {
			more = append(more, n.URLs.MQTT)
		}
	}
	return more
}

// ---- results

// data is a report as -o json and --report json tell it.
type data struct {
	Target   string                `json:"target"`
	Strict   bool                  `json:"strict"`
	Seconds  float64               `json:"seconds"`
	Count    conformance.Count     `json:"count"`
	Sections []conformance.Section `json:"sections"`
	Results  []conformance.Result  `json:"results"`
}

func (c *conform) data(r *conformance.Report) data {
	return data{r.Target, c.strict, r.Seconds, r.Count(), r.Sections(), r.Results}
}

func (c *conform) print(r *conformance.Report) error {
	switch c.e.Format() {
	case env.FormatText:
		return c.e.Print(env.View{Tables: []env.Table{results(r)}})
	case env.FormatTable:
		for _, x := range r.Failures(c.strict) {
			c.tell(x)
		}
	}
	return c.e.Print(env.View{Schema: schemaReport, Data: c.data(r), Tables: []env.Table{summary(r)}})
}

// tell shows a failure: what was wanted, what came, and all that was said.
func (c *conform) tell(x conformance.Result) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s  %s  %s\n", strings.ToUpper(string(x.Verdict)), x.ID, x.Text)
	x.Tell(&b, "    ")
	for line := range strings.Lines(b.String()) {
		fmt.Fprintln(c.e.Out, env.Clean(strings.TrimSuffix(line, "\n")))
	}
	fmt.Fprintln(c.e.Out)
}

func results(r *conformance.Report) env.Table {
	t := env.Table{Head: []string{"VERDICT", "STATEMENT", "TEXT", "WANT", "GOT"}}
	for _, x := range r.Results {
		want, got := x.Want, x.Got
		switch {
		case x.Verdict == conformance.Varies:
			want, got = x.Variations[0].Want, x.Variations[0].Got
		case x.Why != "":
			got = x.Why
		}
		t.Rows = append(t.Rows, []any{string(x.Verdict), x.ID, x.Text, want, got})
	}
	return t
}

func summary(r *conformance.Report) env.Table {
	t := env.Table{Head: []string{"SUITE", "SECTION", "ABOUT", "PASS", "VARIES", "FAIL", "SKIP", "UNSEEN"}}
	add := func(suite, section, about string, c conformance.Count) {
		t.Rows = append(t.Rows, []any{suite, section, about, c.Pass, c.Varies, c.Fail, c.Skip, c.Unseen})
	}
	for _, s := range r.Sections() {
		add(s.Suite, s.Number, s.Title, s.Count)
	}
	add("all", "", "", r.Count())
	return t
}

func statements(selection []conformance.Selection) env.View {
	type statement struct {
		ID   string `json:"id"`
		Spec string `json:"spec"`
		Text string `json:"text"`
		Why  string `json:"why,omitempty"` // there is no test
	}
	all := []statement{}
	t := env.Table{Head: []string{"STATEMENT", "TEXT", "NO TEST, FOR IT"}}
	for _, sel := range selection {
		for _, s := range sel.Statements {
			all = append(all, statement{s.ID, sel.Suite.Spec(s), s.Text, s.Why})
			t.Rows = append(t.Rows, []any{s.ID, s.Text, s.Why})
		}
	}
	return env.View{Schema: schemaStatements, Data: all, Tables: []env.Table{t}}
}

// verdict says in one line what came out.
func (c *conform) verdict(r *conformance.Report) error {
	n := r.Count()
	tested := n.Pass + n.Varies + n.Fail
	failed := len(r.Failures(c.strict))
	if failed == 0 {
		c.e.Say("%d of %d statements hold at %s in %.1f s", tested, tested, env.Clean(r.Target), r.Seconds)
		return nil
	}
	hint := "one alone: rmq conform " + r.Failures(c.strict)[0].ID
	if c.e.Format() != env.FormatTable {
		hint += " -o table"
	}
	return &env.Failure{Exit: env.Negative, What: strconv.Itoa(failed) + " of " + strconv.Itoa(tested) + " statements do not hold at " + r.Target, Hint: hint, See: page}
}

// ---- reports

type output struct {
	kind, file string
}

func (c *conform) outputs() ([]output, error) {
	var out []output
	for _, s := range c.reports {
		kind, file, ok := strings.Cut(s, ":")
		if !ok || file == "" || kind != "json" && kind != "junit" {
			return nil, &env.Failure{Exit: env.Usage, What: fmt.Sprintf("--report %q is neither json:FILE nor junit:FILE", s), Hint: "--report junit:conform.xml"}
		}
		out = append(out, output{kind, file})
	}
	return out, nil
}

func (o output) write(r *conformance.Report, strict bool) error {
	var b bytes.Buffer
	var err error
	if o.kind == "junit" {
		err = r.JUnit(&b, strict)
	} else {
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err = enc.Encode(struct {
			Schema string `json:"schema"`
			Data   data   `json:"data"`
		}{schemaReport, (&conform{strict: strict}).data(r)})
	}
	if err == nil {
		err = os.WriteFile(o.file, b.Bytes(), 0o644)
	}
	if err != nil {
		return env.Failf(env.Failed, "--report: %v", err)
	}
	return nil
}
