package testkit_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/testkit"
)

// Every example of docs/CONTROL.md does what it is there for.
func TestControlExamples(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl here")
	}
	ctx, b := t.Context(), testkit.Run(t, testkit.Virtual())
	// A topic that is made by itself keeps an hour, and a day passes.
	must(admin(t, b).CreateTopic(ctx, adminapi.TopicSpec{Name: "plant", Config: map[string]string{"retention.ms": "-1"}}))(t)
	c, _ := dial5(t, b, &paho.Connect{ClientID: "dev1", CleanStart: true})
	for _, value := range []string{`{"celsius":21}`, `{"celsius":31}`} {
		must(c.Publish(ctx, &paho.Publish{Topic: "plant/dev1/temp", QoS: 1, Retain: true, Payload: []byte(value)}))(t)
	}
	ch := channel(t, b)
	must(ch.QueueDeclare("jobs", true, false, false, false, nil))(t)
	check(t, ch.PublishWithContext(ctx, "", "jobs", false, false, amqp.Publishing{Body: []byte("x")}))
	b.Want(t).Queue("jobs").Ready(1)

	text := must(os.ReadFile("../docs/CONTROL.md"))(t)
	n := 0
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for line := range strings.SplitSeq(strings.TrimSpace(block[1]), "\n") {
			n++
			cmd := exec.CommandContext(ctx, "sh", "-c", strings.Replace(line, "curl ", "'"+curl+"' --fail ", 1))
			cmd.Env = append(os.Environ(), "RMQ_CONTROL_URL="+b.HTTP())
			out, err := cmd.Output()
			if err != nil || !strings.HasPrefix(string(out), `{"schema":"rmq.`) || strings.Contains(string(out), `"data":[]`) && !strings.HasSuffix(line, `/groups"`) {
				t.Errorf("%s: %v\n%s", line, err, out)
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d examples were found", n)
	}
}

// The examples of docs/testing are parts of the packages' own tests, word for word.
func TestDocumentsShowTests(t *testing.T) {
	marked := regexp.MustCompile("(?s)<!-- (\\S+) \\[(\\w+)\\] -->\n```\\w+\n(.*?)\n```")
	n := 0
	for _, doc := range must(filepath.Glob("../docs/testing/*.md"))(t) {
		for _, m := range marked.FindAllStringSubmatch(string(must(os.ReadFile(doc))(t)), -1) {
			n++
			source, name, shown := m[1], m[2], m[3]
			all := strings.Split(string(must(os.ReadFile(filepath.Join("..", source)))(t)), "\n")
			var part []string
			in := false
			for _, line := range all {
				switch mark := strings.TrimLeft(line, " #/"); {
				case mark == "["+name+"]":
					in = !in
				case in:
					part = append(part, line)
				}
			}
			if want := unindent(part); shown != want {
				t.Errorf("%s does not show what %s [%s] is now:\n%s", doc, source, name, want)
			}
		}
	}
	if n < 7 {
		t.Errorf("only %d examples were found", n)
	}
}

// unindent takes away what all lines begin with, and empty lines around them.
func unindent(lines []string) string {
	pad := -1
	for _, l := range lines {
		if trimmed := strings.TrimLeft(l, " "); trimmed != "" && (pad < 0 || len(l)-len(trimmed) < pad) {
			pad = len(l) - len(trimmed)
		}
	}
	var out []string
	for _, l := range lines {
		out = append(out, l[min(pad, len(l)):])
	}
	return strings.Trim(strings.Join(out, "\n"), "\n")
}
