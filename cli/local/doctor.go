package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/doctor"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

// NewDoctor returns `rmq doctor`.
func NewDoctor(e *env.Env) *cobra.Command {
	d := &doctorRun{e: e}
	var repair, noProbe bool
	var change env.Change
	cmd := &cobra.Command{
		Use:   "doctor [DIR]",
		Short: "Check a data directory, this machine and a running broker; repair what can be repaired",
		Long: "Check a data directory and the machine it is on, or with --url a broker that runs, and say of everything that is wrong\n" +
			"what to type next. Without DIR it is the directory of the broker on this machine. Every byte of the log, every batch\n" +
			"of every segment and every key of every checkpoint is read. Nothing is changed and no lock is taken, so a broker may\n" +
			"run meanwhile; a small file is written to time the device, and removed.\n\n" +
			"With --repair, what is damaged is mended as far as it can be. The plan is shown first, with what it loses. Whatever is\n" +
			"cut or replaced is first copied to DIR/quarantine/TIME, with a README that says what it was and how to put it back.\n" +
			"The broker must be stopped. Where data is lost, a script has to say --yes.\n\nThe exit code is 9 when something fails.",
		Example: "  rmq doctor\n  rmq doctor /var/lib/rmq\n  rmq doctor --url http://broker.example:15672\n  rmq doctor --repair --dry-run /var/lib/rmq\n" +
			"  rmq doctor --repair /var/lib/rmq",
		Args: env.Between(nil, "DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d.ctx = cmd.Context()
			switch {
			case repair && e.URL != "":
				return &env.Failure{Exit: env.Usage, What: "--repair is for a directory, and --url names a broker", Hint: "rmq doctor --repair DIR"}
			case repair:
				return d.repair(d.directory(args), change)
			case len(args) == 0 && e.URL != "":
				d.broker()
			default:
				dir := d.directory(args)
				d.check(dir, noProbe)
				if d.runs(dir) {
					d.broker()
				}
			}
			return d.verdict()
		},
	}
	f := cmd.Flags()
	f.BoolVar(&repair, "repair", false, "mend what can be mended, and keep what is taken away")
	f.BoolVar(&noProbe, "no-probe", false, "write nothing: do not time the device")
	change.Flags(f, true)
	e.BrokerFlags(f)
	return cmd
}

type doctorRun struct {
	e        *env.Env
	ctx      context.Context
	findings []doctor.Finding
	progress bool // a line of progress is on the terminal
}

// directory is the one that was named, or that of the broker of that name.
func (d *doctorRun) directory(args []string) string {
	if len(args) > 0 {
		dir := args[0]
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(d.e.Dir, dir)
		}
		return dir
	}
	if run, err := d.e.Running(); err == nil && run.DataDir != "" {
		return run.DataDir
	}
	return d.e.DataDir(d.e.Name)
}

// runs finds the broker that has a directory open, for the questions to it.
func (d *doctorRun) runs(dir string) bool {
	if d.e.URL != "" {
		return true
	}
	for _, r := range d.e.Runs() {
		if r.DataDir == dir {
			d.e.Name = r.Name
			return true
		}
	}
	return false
}

func (d *doctorRun) check(dir string, noProbe bool) {
	opt := doctor.Options{Dir: dir, Now: d.e.Now(), NoProbe: noProbe, Progress: d.showProgress}
	for _, p := range portFlags {
		opt.Listen = append(opt.Listen, "127.0.0.1:"+strconv.Itoa(p.number))
	}
	doctor.Check(d.ctx, opt, d.tell)
	d.clearProgress()
}

func (d *doctorRun) showProgress(done, total int64) {
	if !d.e.ErrTTY || d.e.Quiet || total < 64<<20 {
		return
	}
	d.progress = true
	fmt.Fprintf(d.e.Err, "\r  reading segments: %d %%", done*100/total)
}

func (d *doctorRun) clearProgress() {
	if d.progress {
		fmt.Fprint(d.e.Err, "\r\x1b[K")
	}
	d.progress = false
}

// tell prints a finding as it comes.
func (d *doctorRun) tell(f doctor.Finding) {
	d.clearProgress()
	d.findings = append(d.findings, f)
	switch d.e.Format() {
	case env.FormatText:
		fmt.Fprintf(d.e.Out, "%s\t%s\t%s\t%s\n", f.Level, f.Check, env.Clean(f.Text), env.Clean(f.Hint))
	case env.FormatTable:
		fmt.Fprintf(d.e.Out, "%-4s  %-11s  %s\n", strings.ToUpper(string(f.Level)), f.Check, env.Clean(f.Text))
		if f.Hint != "" {
			fmt.Fprintf(d.e.Out, "%s  %s\n", strings.Repeat(" ", 19), d.e.Faint("> "+env.Clean(f.Hint)))
		}
	}
}

func (d *doctorRun) level(l doctor.Level, check, hint, format string, args ...any) {
	d.tell(doctor.Finding{Check: check, Level: l, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// verdict prints the whole for machines, and fails when something does.
func (d *doctorRun) verdict() error {
	fails, warns := 0, 0
	for _, f := range d.findings {
		switch f.Level {
		case doctor.Fail:
			fails++
		case doctor.Warn:
			warns++
		}
	}
	if f := d.e.Format(); f == env.FormatJSON || f == env.FormatYAML {
		type report struct {
			Findings []doctor.Finding `json:"findings"`
			Fails    int              `json:"fails"`
			Warnings int              `json:"warnings"`
		}
		if err := d.e.Print(env.View{Schema: "rmq.doctor/1", Data: report{d.findings, fails, warns}}); err != nil {
			return err
		}
	}
	if err := context.Cause(d.ctx); err != nil {
		return err
	}
	if fails > 0 {
		return env.Failf(env.Negative, "%d of %d checks failed", fails, len(d.findings))
	}
	d.e.Say("%d checks, %d warnings, none failed", len(d.findings), warns)
	return nil
}

// ---- a broker that runs

// slowTrip is how long a message may take before it is worth a word.
const slowTrip = 100 * time.Millisecond

func (d *doctorRun) broker() {
	c, err := d.e.Admin()
	var st adminapi.Status
	begun := time.Now()
	if err == nil {
		st, err = c.Status(d.ctx)
	}
	if err != nil {
		f := env.Explain(err)
		hint := f.Hint
		if hint == "" {
			hint = "start one: rmq up"
		}
		d.level(doctor.Fail, "broker", hint, "%s", f.What)
		return
	}
	took := time.Since(begun).Round(100 * time.Microsecond)
	text := fmt.Sprintf("version %s, process %d, up %s, answers in %s", st.Version, st.PID, env.HumanDuration(time.Duration(st.Uptime*float64(time.Second))), took)
	switch {
	case !st.Ready:
		d.level(doctor.Fail, "broker", "rmq status", "%s, and is not ready", text)
	case d.e.Version != "" && st.Version != d.e.Version:
		d.level(doctor.Warn, "broker", "restart it: rmq down && rmq up", "%s; this program is %s", text, d.e.Version)
	default:
		d.level(doctor.OK, "broker", "", "%s", text)
	}
	var durable []string
	for _, class := range env.SortedKeys(st.Durability) {
		durable = append(durable, class+" "+st.Durability[class])
	}
	d.level(doctor.OK, "durability", "", "%s", strings.Join(durable, ", "))
	for _, w := range st.Warnings {
		d.level(doctor.Warn, "alarm", "rmq status", "%s", w)
	}
	if st.Ready {
		d.roundTrip(c, st)
	}
}

// roundTrip puts one message into a durable queue of its own, takes it out, and removes what
// was made for it.
func (d *doctorRun) roundTrip(c *adminapi.Client, st adminapi.Status) {
	if st.URLs.AMQP == "" || d.e.Protected {
		return
	}
	fail := func(what string, err error) {
		d.level(doctor.Fail, "round trip", "rmq status; then see its log", "%s: %s", what, env.Explain(err).What)
	}
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails
	name := "rmq-doctor-" + hex.EncodeToString(id[:])
	ctx, cancel := context.WithTimeout(d.ctx, 30*time.Second)
	defer cancel()
	if _, err := c.CreateQueue(ctx, adminapi.QueueSpec{Name: name, Durable: true}); err != nil {
		fail("a queue cannot be made", err)
		return
	}
	defer func() {
		over, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), 10*time.Second)
		defer cancel()
		_, err := c.DeleteQueue(over, adminapi.Ref{Name: name}, adminapi.DeleteQueueOptions{})
		if err != nil {
			d.level(doctor.Warn, "round trip", "rmq queue delete "+name, "the queue %s is left behind", name)
		}
		// A namespace that captures has made a stream of it.
		if err := c.DeleteTopic(over, adminapi.Ref{Name: name, Spelling: "mqtt"}); err != nil && !env.Missing(err) {
			d.level(doctor.Warn, "round trip", "rmq topic delete "+name, "the captured topic %s is left behind", name)
		}
	}()
	t, err := link.ParseTarget("amqp:queue:" + name)
	if err == nil {
		t.User = d.e.User
		if t.Password, err = d.e.Password(); err == nil {
			err = t.Resolve(st.URLs)
		}
	}
	var p link.Producer
	if err == nil {
		p, err = link.NewProducer(ctx, t, link.Options{})
	}
	if err != nil {
		fail("no connection", err)
		return
	}
	begun := time.Now()
	confirmed := make(chan error, 1)
	err = p.Send(ctx, &link.Message{Value: []byte("is anybody there?")}, func(_ link.Receipt, err error) { confirmed <- err })
	if err == nil {
		select {
		case err = <-confirmed:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	sent := time.Since(begun)
	if err = errors.Join(err, p.Close(ctx)); err != nil {
		fail("a message was not confirmed", err)
		return
	}
	begun = time.Now()
	_, err = link.Consume(ctx, t, link.ConsumeOptions{N: 1, Timeout: 20 * time.Second}, func(*link.Message) error { return nil })
	if err != nil {
		fail("a message was confirmed and did not come back", err)
		return
	}
	text := fmt.Sprintf("a message was durable and confirmed after %s, and read back after %s", sent.Round(10*time.Microsecond), time.Since(begun).Round(10*time.Microsecond))
	if sent > slowTrip {
		d.level(doctor.Warn, "round trip", "rmq doctor DIR times the device", "%s", text)
		return
	}
	d.level(doctor.OK, "round trip", "", "%s", text)
}

// ---- repair

func (d *doctorRun) repair(dir string, change env.Change) (err error) {
	e := d.e
	r, err := doctor.Plan(dir, !change.DryRun)
	switch {
	case errors.Is(err, storage.ErrInUse):
		f := &env.Failure{Exit: env.Conflict, What: "a broker has " + env.Quote(dir) + " open", Hint: "stop it first: rmq down", Err: err}
		for _, run := range e.Runs() {
			if run.DataDir == dir {
				f.Hint = "stop it first: rmq down" + nameFlag(run.Name)
			}
		}
		return f
	case err != nil:
		return missing(err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := d.showPlan(r); err != nil {
		return err
	}
	unmended := env.Failf(env.Negative, "%d things cannot be mended", len(r.Not))
	unmended.Hint = "put the directory back from a copy, or begin with an empty one: rmq up --data DIR"
	if len(r.Steps) == 0 {
		if len(r.Not) > 0 {
			return unmended
		}
		e.Say("nothing is to be mended")
		return nil
	}
	if change.DryRun {
		e.Say("nothing was done; to do it: rmq doctor --repair %s", env.Quote(dir))
		return nil
	}
	if r.Loses() && !change.Yes && (!e.InTTY || !e.ErrTTY) {
		return &env.Failure{Exit: env.Usage, What: "what is damaged will be lost to the broker, and nobody is there to be asked", Hint: "say so: rmq doctor --repair --yes " + env.Quote(dir)}
	}
	what := "mend " + dir
	if r.Loses() {
		what += ", without what is listed as lost"
	}
	if err := e.Confirm(change, what); err != nil {
		return err
	}
	kept, err := r.Do(e.Now(), func(s doctor.Step) { e.Say("%s", env.Clean(s.What)) })
	if err != nil {
		f := env.Explain(err)
		return &env.Failure{Exit: env.Failed, What: f.What, Hint: "what was taken away is in " + env.Quote(kept) + "; go on with: rmq doctor --repair " + env.Quote(dir), Err: err}
	}
	e.Say("done; what was taken away is in %s", kept)
	if len(r.Not) > 0 {
		unmended.Exit = env.Partly
		return unmended
	}
	return nil
}

// showPlan prints what is to be done.
func (d *doctorRun) showPlan(r *doctor.Repair) error {
	e := d.e
	if f := e.Format(); f == env.FormatJSON || f == env.FormatYAML {
		return e.Print(env.View{Schema: "rmq.repair/1", Data: r})
	}
	var b strings.Builder
	for i, s := range r.Steps {
		loses := s.Loses
		if loses == "" {
			loses = "nothing"
		}
		if e.Format() == env.FormatText {
			fmt.Fprintf(&b, "step\t%s\t%s\t%s\t%s\n", env.Clean(s.What), env.Clean(s.Why), env.Clean(loses), env.Clean(strings.Join(s.Files, " ")))
			continue
		}
		fmt.Fprintf(&b, "%d. %s\n   why:   %s\n   loses: %s\n   keeps: %s\n", i+1, env.Clean(s.What), env.Clean(s.Why), env.Clean(loses), env.Clean(strings.Join(s.Files, ", ")))
	}
	for _, n := range r.Not {
		if e.Format() == env.FormatText {
			fmt.Fprintf(&b, "cannot\t%s\n", env.Clean(n))
			continue
		}
		fmt.Fprintf(&b, "!  cannot be mended: %s\n", env.Clean(n))
	}
	_, err := e.Out.Write([]byte(b.String()))
	return err
}
