package cli_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/testkit"
)

// What goes on until it is stopped tells what it has done when Ctrl-C comes, and ends with 130 whatever
// it is: one rule for all, of which rmq help exit-codes names the exceptions.
func TestStoppedIsOneExitCode(t *testing.T) {
	b := testkit.Run(t)
	runAt(t, b, "", "topic", "create", "orders")
	runAt(t, b, "", "produce", "kafka:orders", "1")
	runAt(t, b, "", "queue", "create", "jobs")
	for _, tt := range []struct {
		args   []string
		begun  func(w *testkit.Want) // waits until it is under way; nil: what it says tells
		prints string                // when it is
		want   string                // told at the end
	}{
		{[]string{"bench", "produce", "kafka:load", "--rate", "50", "--for", "10m"}, func(w *testkit.Want) { w.Topic("load").Exists() }, "", "acknowledged"},
		{[]string{"bench", "consume", "amqp:queue:jobs", "--for", "10m"}, func(w *testkit.Want) { w.Queue("jobs").Consumers(1) }, "", "messages"},
		{[]string{"simulate", "iot-fleet", "--devices", "2", "--rate", "20"}, nil, "simulating iot-fleet", "fleet/${device}"},
		{[]string{"consume", "kafka:orders", "--from", "start"}, nil, "1", "read 1 from kafka:orders"},
		{[]string{"tail", "kafka:orders", "--from", "start"}, nil, "1", "read 1 from 1 targets"},
		{[]string{"copy", "kafka:orders", "kafka:copies"}, func(w *testkit.Want) { w.Topic("copies").Count(1) }, "", "copied 1 from kafka:orders to kafka:copies"},
		{[]string{"trace", "topic", "orders"}, nil, "tracing", ""},
	} {
		t.Run(strings.Join(tt.args[:2], " "), func(t *testing.T) {
			cmd := exec.Command("rmq", append(tt.args, "--url", b.HTTP())...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
			r, w := io.Pipe()
			cmd.Stdout, cmd.Stderr = w, w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() { _ = cmd.Wait(); _ = w.Close(); close(ended) }() // its code is looked at
			t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })       // it may have ended
			stop := func() {
				if err := cmd.Process.Signal(os.Interrupt); err != nil {
					t.Error(err)
				}
			}
			if tt.begun != nil {
				tt.begun(b.Want(t))
				stop()
			}
			var said strings.Builder
			for lines := bufio.NewScanner(r); lines.Scan(); {
				said.WriteString(lines.Text() + "\n")
				if tt.prints != "" && strings.HasPrefix(lines.Text(), tt.prints) {
					stop()
				}
			}
			<-ended
			if code := cmd.ProcessState.ExitCode(); code != env.Interrupted || !strings.Contains(said.String(), tt.want) {
				t.Errorf("exit code %d, said:\n%s", code, said.String())
			}
		})
	}
}

// A broker that takes messages and acknowledges none is not waited for in silence.
func TestProduceTellsWhatItWaitsFor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var silent sync.WaitGroup
	hangUp := make(chan struct{})
	silent.Go(func() { // ends with the test
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte{0x20, 3, 0, 0, 0}) // CONNACK
		silent.Go(func() { _, _ = io.Copy(io.Discard, conn) })
		<-hangUp
	})
	cmd := exec.Command("rmq", "produce", "mqtt://"+l.Addr().String()+"/a", "1")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stderr).ReadString('\n')
	if want := "1 sent to mqtt://" + l.Addr().String() + "/a: waiting for " + l.Addr().String() + " to acknowledge\n"; line != want {
		t.Errorf("said %q, want %q", line, want)
	}
	close(hangUp)
	rest, _ := io.ReadAll(stderr)
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != env.Unreachable || !bytes.HasPrefix(rest, []byte("rmq: ")) {
		t.Errorf("exit code %d: %s", cmd.ProcessState.ExitCode(), rest)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	silent.Wait()
}
