package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// A detached broker is this program again with the same arguments, childEnv set to the
// path of its log, and a pipe as its standard output. It writes one line there, ready or
// what went wrong, and closes it.
const childEnv = "RMQ_DETACHED_LOG"

// word is that line.
type word struct {
	Ready bool          `json:"ready"`
	URLs  adminapi.URLs `json:"urls"`
	Exit  int           `json:"exit,omitempty"`
	What  string        `json:"what,omitempty"`
	Hint  string        `json:"hint,omitempty"`
}

// start starts the child and waits for its word.
func (u *up) start(ctx context.Context) error {
	begun := time.Now()
	logPath, log, err := u.log()
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	// It outlives us: no context of ours may end it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), exe, u.e.Args[1:]...)
	cmd.Args[0] = u.e.Args[0]
	cmd.Env = append(os.Environ(), childEnv+"="+logPath)
	cmd.Stderr = log
	cmd.SysProcAttr = ownSession()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	words := make(chan word, 1)
	go func() { // ends with the child's word, or with the child
		var w word
		line, err := bufio.NewReader(out).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &w)
		}
		if err != nil {
			_ = cmd.Wait() // what it ended with is in its log
			w = word{Exit: env.Failed, What: "the broker ended before it was up" + lastLine(logPath), Hint: "read its log: " + env.Quote(logPath)}
		}
		words <- w
	}()
	limit := time.NewTimer(time.Duration(u.timeout))
	defer limit.Stop()
	var w word
	select {
	case w = <-words:
	case <-limit.C:
		return &env.Failure{
			Exit: env.TimedOut, What: fmt.Sprintf("not up after %v; process %d is still starting", time.Duration(u.timeout), cmd.Process.Pid),
			Hint: "rmq status" + nameFlag(u.name) + "   or read its log: " + env.Quote(logPath),
		}
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), cmd.Process.Kill())
	}
	if !w.Ready {
		return &env.Failure{Exit: w.Exit, What: w.What, Hint: w.Hint}
	}
	run, err := u.running()
	if err != nil {
		return err
	}
	if u.wait {
		places := []adminapi.URLs{w.URLs}
		for _, n := range run.Nodes {
			places = append(places, n.URLs)
		}
		for _, urls := range places {
			if err := u.await(ctx, urls, limit); err != nil {
				return err
			}
		}
	}
	took := time.Since(begun)
	if err := cmd.Process.Release(); err != nil {
		return err
	}
	if err := u.plant(ctx); err != nil {
		return env.WithHint(err, "the broker is up without it; stop it: rmq down%s", nameFlag(u.name))
	}
	if u.e.Format() != env.FormatTable {
		return u.report(ctx, run)
	}
	c := Config{DataDir: run.DataDir, Profile: u.profile, Edge: &Edge{Signed: u.edge.made}}
	_, err = io.WriteString(u.e.Out, card(u.e, run, c, u.loaded, took, "rmq down"+nameFlag(u.name)))
	return err
}

func (u *up) running() (env.Run, error) {
	u.e.Name = u.name
	return u.e.Running()
}

// await returns once every port takes connections and the broker says that it is ready.
func (u *up) await(ctx context.Context, urls adminapi.URLs, limit *time.Timer) error {
	u.e.Name, u.e.URL = u.name, urls.HTTP
	c, err := u.e.Admin()
	if err != nil {
		return err
	}
	defer func() { u.e.URL = "" }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := c.Status(ctx)
		ready := err == nil && s.Ready
		for _, address := range []string{urls.MQTT, urls.MQTTWS, urls.Kafka, urls.AMQP, urls.MQTTS, urls.MQTTWSS, urls.KafkaS, urls.AMQPS, urls.HTTPS} {
			ready = ready && (address == "" || env.Listens(address))
		}
		if ready {
			return nil
		}
		if f := env.Explain(err); f != nil && f.Exit == env.Auth {
			return nil // it answers, and has users
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return &env.Failure{Exit: env.TimedOut, What: fmt.Sprintf("the broker is up, and not ready after %v", time.Duration(u.timeout)), Hint: "rmq status" + nameFlag(u.name)}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// child is the broker that was started detached. err is why it cannot start at all.
func (u *up) child(ctx context.Context, c Config, err error) error {
	var b Broker
	if err == nil {
		b, err = u.begin(ctx, c, u.e.Err)
	}
	if sayErr := u.sayWord(b, err); sayErr != nil {
		return sayErr
	}
	if err != nil {
		return err
	}
	return u.serve(ctx, b, c)
}

// sayWord tells who started us how that went, and closes the way to it.
func (u *up) sayWord(b Broker, err error) error {
	w := word{Ready: err == nil}
	if err != nil {
		f := env.Explain(err)
		w.Exit, w.What, w.Hint = f.Exit, f.What, f.Hint
	} else {
		w.URLs = b.URLs()
	}
	line, err := json.Marshal(w)
	if err != nil {
		return err
	}
	// It may have given up: that is no reason for us to.
	_, _ = u.e.Out.Write(append(line, '\n'))
	if out, ok := u.e.Out.(*os.File); ok {
		_ = out.Close()
	}
	return nil
}

// log opens the log of a detached broker, anew for each start.
func (u *up) log() (string, *os.File, error) {
	if err := os.MkdirAll(u.e.StateDir(), 0o700); err != nil {
		return "", nil, err
	}
	path := filepath.Join(u.e.StateDir(), u.name+".log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	return path, f, err
}

// lastLine is the end of a log, for an error.
func lastLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return ": " + last
	}
	return ""
}
