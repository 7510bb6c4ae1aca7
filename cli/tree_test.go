package cli_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli"
	"github.com/robustmq/rmq/cli/env"
)

func tree() *cobra.Command {
	return cli.New(&env.Env{Getenv: func(string) string { return "" }}, nil)
}

// runnable calls f for every command that does something.
func runnable(c *cobra.Command, f func(*cobra.Command)) {
	for _, sub := range c.Commands() {
		if sub.Runnable() && !sub.HasSubCommands() && !sub.Hidden {
			f(sub)
		}
		runnable(sub, f)
	}
}

func TestEveryCommandSpeaksJSON(t *testing.T) {
	runnable(tree(), func(c *cobra.Command) {
		o := c.Flag("output")
		if o == nil || o.Shorthand != "o" {
			t.Errorf("%s has no -o", c.CommandPath())
			return
		}
		if err := o.Value.Set("json"); err != nil {
			t.Errorf("%s: -o json: %v", c.CommandPath(), err)
		}
	})
}

func TestEveryCommandIsDescribed(t *testing.T) {
	runnable(tree(), func(c *cobra.Command) {
		if c.Name() == "help" {
			return
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		}
		if c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s is not described", c.CommandPath(), f.Name)
			}
		})
	})
}

// One name means one thing everywhere: the same letter, the same kind of value.
func TestFlagsAreTheSameEverywhere(t *testing.T) {
	letters, kinds := map[string]string{}, map[string]string{}
	letterOf := map[string]string{}
	runnable(tree(), func(c *cobra.Command) {
		c.Flags().AddFlagSet(c.InheritedFlags())
		c.Flags().VisitAll(func(f *pflag.Flag) {
			at := c.CommandPath() + " --" + f.Name
			if f.Shorthand != "" {
				if other, ok := letters[f.Shorthand]; ok && other != f.Name && f.Shorthand != "n" && f.Shorthand != "f" { // how many: messages, or nodes; follow, or a format
					t.Errorf("%s: -%s is --%s elsewhere", at, f.Shorthand, other)
				}
				letters[f.Shorthand] = f.Name
			}
			if other, ok := letterOf[f.Name]; ok && other != f.Shorthand {
				t.Errorf("%s: -%s here, -%s elsewhere", at, f.Shorthand, other)
			}
			letterOf[f.Name] = f.Shorthand
			kind := f.Value.Type()
			if strings.Contains(kind, "|") {
				kind = "choice" // of what is each command's own
			}
			if other, ok := kinds[f.Name]; ok && other != kind {
				t.Errorf("%s: %s here, %s elsewhere", at, kind, other)
			}
			kinds[f.Name] = kind
		})
	})
}

// Every example in the help is a command line that parses, word by word.
func TestExamplesParse(t *testing.T) {
	n := 0
	check := func(c *cobra.Command) {
		for line := range strings.SplitSeq(c.Example, "\n") {
			for _, words := range commandLines(t, line) {
				n++
				root := tree()
				root.InitDefaultHelpCmd()
				found, rest, err := root.Find(words)
				if err != nil {
					t.Errorf("%s: %v", line, err)
					continue
				}
				if err := found.ParseFlags(rest); err != nil {
					t.Errorf("%s: %v", line, err)
					continue
				}
				if found.Args != nil {
					if err := found.Args(found, found.Flags().Args()); err != nil {
						t.Errorf("%s: %v", line, err)
					}
				}
			}
		}
	}
	root := tree()
	check(root)
	runnable(root, check)
	if n < 60 {
		t.Errorf("only %d examples were found", n)
	}
}

// commandLines returns the words of each call of rmq in a line of shell.
func commandLines(t *testing.T, line string) [][]string {
	t.Helper()
	var calls [][]string
	var words []string
	word, quote, open := "", rune(0), false
	end := func() {
		if open {
			words = append(words, word)
		}
		word, open = "", false
	}
	flush := func() {
		end()
		for i, w := range words {
			if w == "rmq" {
				calls = append(calls, words[i+1:])
				break
			}
		}
		words = nil
	}
	runes := []rune(line)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case quote == '"' && r == '$' && i+1 < len(runes) && runes[i+1] == '(':
			quote = 0 // a command inside quotes: read on as one
			flush()
			i++
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == '#' && !open:
			flush()
			return calls
		case r == '|' || r == '(' || r == ')' || r == ';':
			flush()
		case r == '<' || r == '>':
			end()
			words = append(words, "\x00") // what follows is a file
		case r == ' ' || r == '\t':
			end()
		default:
			word += string(r)
			open = true
		}
	}
	flush()
	for i, c := range calls {
		for j, w := range c {
			if w == "\x00" {
				calls[i] = c[:j]
				break
			}
		}
	}
	return calls
}

// What speaks to a broker is run as its first example says, against one that holds a
// sample of everything, in every format.
func TestExamplesRun(t *testing.T) {
	skip := map[string]bool{
		"rmq up": true, "rmq tui": true, "rmq down": true, "rmq produce": true, "rmq consume": true, "rmq tail": true, "rmq grep": true, "rmq request": true, "rmq copy": true, "rmq help": true, // in scripts, and TestMessageExamplesRun
		"rmq test":        true,                         // in scripts
		"rmq user create": true, "rmq user alter": true, // want a terminal
		"rmq acl import": true, "rmq user import": true, "rmq chaos run": true, // want a file
		"rmq node kill": true, "rmq node pause": true, "rmq node resume": true, "rmq node restart": true, "rmq node add": true, // want processes; in scripts
		"rmq snapshot save": true, "rmq snapshot load": true, "rmq snapshot diff": true, "rmq snapshot delete": true, "rmq snapshot show": true, // want a snapshot; in scripts
		"rmq log inspect": true, "rmq doctor": true, // want a directory; in scripts
		"rmq bench produce": true, "rmq bench latency": true, "rmq bench consume": true, "rmq bench connect": true, "rmq simulate": true, "rmq fixture load": true, "rmq fixture gen": true, // want a broker, and stream; in scripts

		"rmq retained delete": true, "rmq dlq show": true, "rmq dlq redrive": true, "rmq dlq purge": true, "rmq group seek": true, "rmq logs": true, // want a broker; in scripts
		"rmq conform":      true,                                                                           // wants a broker; in scripts
		"rmq trace client": true, "rmq trace topic": true, "rmq trace ip": true, "rmq trace message": true, // streams; in scripts
		"rmq record": true, "rmq replay": true, // want traffic, and a file; in scripts
	}
	runnable(tree(), func(c *cobra.Command) {
		if skip[c.CommandPath()] {
			return
		}
		for _, format := range env.Formats {
			t.Run(c.CommandPath()+" -o "+format, func(t *testing.T) {
				srv := httptest.NewServer(adminapi.Handler(sample(), adminapi.HandlerOptions{}))
				defer srv.Close()
				first, _, _ := strings.Cut(strings.TrimSpace(c.Example), "\n")
				args := append(commandLines(t, first)[0], "-o", format)
				if format == env.FormatTable && c.CommandPath() == "rmq completion" {
					t.Skip("a script has one form")
				}
				stdout, stderr, code := run(t, srv.URL, args...)
				for strings.Contains(stderr, "exists") && code == env.Conflict { // the sample holds what the example makes
					stdout, stderr, code = run(t, srv.URL, append(args, "--if-not-exists")...)
				}
				if code != env.OK {
					t.Fatalf("%v: exit code %d: %s", args, code, stderr)
				}
				if format == env.FormatJSON {
					var got struct {
						Schema string
						Data   any
					}
					if err := json.Unmarshal([]byte(stdout), &got); err != nil || !strings.HasPrefix(got.Schema, "rmq.") || got.Data == nil {
						t.Errorf("%v: %v\n%s", args, err, stdout)
					}
				}
				if strings.Contains(stdout, "\x1b") {
					t.Errorf("%v lets an escape sequence through: %q", args, stdout)
				}
			})
		}
	})
}

func TestHelpOfEveryCommandAsJSON(t *testing.T) {
	runnable(tree(), func(c *cobra.Command) {
		args := append([]string{"help"}, strings.Fields(c.CommandPath())[1:]...)
		stdout, stderr, code := run(t, "", append(args, "-o", "json")...)
		if code != 0 || !json.Valid([]byte(stdout)) {
			t.Errorf("%v: %d %s", args, code, stderr)
		}
	})
}

// The help of a command that there is not is no help: the word is told as it is without --help.
func TestHelpOfNoCommand(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"qeue --help", "rmq: unknown command \"qeue\" for rmq\nhint: did you mean rmq queue?\n"},
		{"-h qeue list", "rmq: unknown command \"qeue\" for rmq\nhint: did you mean rmq queue?\n"},
		{"queue creat x --help", "rmq: unknown command \"creat\" for rmq queue\nhint: did you mean rmq queue create?\n"},
		{"nonsense --help", "rmq: unknown command \"nonsense\" for rmq\nhint: rmq --help\n"},
	} {
		if stdout, stderr, code := run(t, "", strings.Fields(tt.line)...); code != env.Usage || stdout != "" || stderr != tt.want {
			t.Errorf("rmq %s: exit code %d, %q, %q", tt.line, code, stdout, stderr)
		}
	}
	for _, line := range []string{"queue --help", "queue create jobs --help", "help queue create"} {
		if stdout, stderr, code := run(t, "", strings.Fields(line)...); code != env.OK || !strings.Contains(stdout, "Usage:") || stderr != "" {
			t.Errorf("rmq %s: exit code %d, %q, %q", line, code, stdout, stderr)
		}
	}
}
