package cli

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/cli/env"
)

//go:generate go test . -count=1 -run ^Test(Generated|Cast[A-Za-z]*)$ -update

// completion returns the completion script of a shell.
func completion(root *cobra.Command, shell string) (string, error) {
	var b bytes.Buffer
	var err error
	switch shell {
	case "bash":
		err = root.GenBashCompletionV2(&b, true)
	case "zsh":
		err = root.GenZshCompletion(&b)
	case "fish":
		err = root.GenFishCompletion(&b, true)
	case "powershell":
		err = root.GenPowerShellCompletionWithDesc(&b)
	default:
		err = fmt.Errorf("unknown shell %q", shell)
	}
	return b.String(), err
}

// Generate returns the files that are made from the command tree, by path from the
// root of the repository.
func Generate() map[string]string {
	files := map[string]string{}
	for shell, path := range map[string]string{
		"bash": "completions/rmq.bash", "zsh": "completions/_rmq", "fish": "completions/rmq.fish", "powershell": "completions/rmq.ps1",
	} {
		script, err := completion(newForDocs(), shell)
		if err != nil { // four shells that are known, into memory
			panic("cli: " + err.Error())
		}
		files[path] = script
	}
	for format, dir := range map[string]string{"md": "docs/cli/", "man": "docs/cli/man/"} {
		docs, err := documents(format)
		if err != nil {
			panic("cli: " + err.Error())
		}
		for name, text := range docs {
			files[dir+name] = text
		}
	}
	return files
}

// markdownIndex lists the commands, with the flags that all of them have.
func markdownIndex(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# rmq: commands\n\nMade from the commands themselves: `rmq docs md`.\n\n| command | |\n|---|---|\n")
	walk(root, func(c *cobra.Command) {
		if c.Parent() != nil {
			fmt.Fprintf(&b, "| [%s](%s) | %s |\n", c.CommandPath(), page(c), c.Short)
		}
	})
	flags(&b, "Flags of every command", root.PersistentFlags())
	return b.String()
}

// newForDocs returns a tree that depends on nothing of this machine, and that nothing depends on.
func newForDocs() *cobra.Command {
	root := New(&env.Env{Getenv: func(string) string { return "" }}, nil)
	root.InitDefaultHelpCmd()
	return root
}

func walk(c *cobra.Command, f func(*cobra.Command)) {
	if c.Hidden {
		return
	}
	f(c)
	for _, sub := range c.Commands() {
		walk(sub, f)
	}
}

func page(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") + ".md" }

func markdown(c *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", c.CommandPath())
	long := c.Long
	if long == "" {
		long = c.Short
	}
	b.WriteString(prose(long))
	if c.Runnable() {
		fmt.Fprintf(&b, "\n```\n%s\n```\n", c.UseLine())
	}
	if c.Example != "" {
		fmt.Fprintf(&b, "\n## Examples\n\n```sh\n%s\n```\n", unindent(c.Example))
	}
	if subs := visible(c); len(subs) > 0 {
		b.WriteString("\n## Commands\n\n| | |\n|---|---|\n")
		for _, s := range subs {
			fmt.Fprintf(&b, "| [%s](%s) | %s |\n", s.Name(), page(s), s.Short)
		}
	}
	flags(&b, "Flags", c.NonInheritedFlags())
	if c.HasParent() {
		b.WriteString("\n[Flags of every command](README.md#flags-of-every-command)\n")
	}
	return b.String()
}

// visible is the commands below one.
func visible(c *cobra.Command) (subs []*cobra.Command) {
	for _, s := range c.Commands() {
		if !s.Hidden {
			subs = append(subs, s)
		}
	}
	return subs
}

// prose keeps what is indented in a help text as code.
func prose(s string) string {
	var b strings.Builder
	code := false
	for line := range strings.Lines(s + "\n") {
		indented := strings.HasPrefix(line, "  ")
		if indented != code && strings.TrimSpace(line) != "" {
			b.WriteString("```\n")
			code = indented
		}
		b.WriteString(strings.TrimPrefix(line, "  "))
	}
	if code {
		b.WriteString("```\n")
	}
	return b.String()
}

func unindent(s string) string {
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		lines = append(lines, strings.TrimPrefix(line, "  "))
	}
	return strings.Join(lines, "\n")
}

// flagRow is a flag as documentation shows it.
type flagRow struct{ short, name, kind, text string }

func flagRows(fs *pflag.FlagSet) (rows []flagRow) {
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		r := flagRow{short: f.Shorthand, name: f.Name}
		r.kind, r.text = pflag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && !strings.Contains(r.text, "default") {
			r.text += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		rows = append(rows, r)
	})
	return rows
}

func flags(b *strings.Builder, title string, fs *pflag.FlagSet) {
	rows := flagRows(fs)
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n| flag | |\n|---|---|\n", title)
	for _, r := range rows {
		name := "`--" + r.name + "`"
		if r.short != "" {
			name = "`-" + r.short + "`, " + name
		}
		if r.kind != "" {
			name += " " + strings.ReplaceAll(r.kind, "|", "\\|")
		}
		fmt.Fprintf(b, "| %s | %s |\n", name, strings.ReplaceAll(r.text, "|", "\\|"))
	}
}

// description is a command as -o json tells it.
type description struct {
	Command  string            `json:"command"`
	Usage    string            `json:"usage"`
	Short    string            `json:"short"`
	Long     string            `json:"long,omitempty"`
	Examples []string          `json:"examples,omitempty"`
	Flags    []flagDescription `json:"flags,omitempty"`
	Commands []string          `json:"commands,omitempty"`
}

type flagDescription struct {
	Name    string `json:"name"`
	Short   string `json:"short,omitempty"`
	Type    string `json:"type"`
	Default string `json:"default,omitempty"`
	Text    string `json:"text"`
}

func describe(c *cobra.Command) description {
	d := description{Command: c.CommandPath(), Usage: c.UseLine(), Short: c.Short, Long: c.Long, Examples: examples(c)}
	for _, s := range c.Commands() {
		if !s.Hidden {
			d.Commands = append(d.Commands, s.Name())
		}
	}
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	all.AddFlagSet(c.NonInheritedFlags())
	all.AddFlagSet(c.InheritedFlags())
	all.VisitAll(func(f *pflag.Flag) {
		d.Flags = append(d.Flags, flagDescription{f.Name, f.Shorthand, f.Value.Type(), f.DefValue, f.Usage})
	})
	return d
}

func examples(c *cobra.Command) []string {
	var out []string
	for line := range strings.SplitSeq(c.Example, "\n") {
		if s := strings.TrimSpace(line); s != "" {
			out = append(out, s)
		}
	}
	return out
}
