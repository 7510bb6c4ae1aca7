package cli

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
)

// newHelp replaces cobra's help command, which answers an unknown word with success.
func newHelp(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				if found == nil {
					found, rest = cmd.Root(), args
				}
				return env.Unknown(found, rest[0])
			}
			found.InitDefaultHelpFlag()
			if e.Machine() {
				return e.Print(env.View{Schema: "rmq.help/1", Data: describe(found)})
			}
			return found.Help()
		},
	}
}

// newExitCodes is the help topic of that name.
func newExitCodes() *cobra.Command {
	var b strings.Builder
	b.WriteString("Every command ends with one of these codes.\n\n")
	for _, c := range env.ExitCodes {
		fmt.Fprintf(&b, "  %3d  %-12s %s\n", c.Code, c.Name, c.Text)
	}
	b.WriteString("\nA second Ctrl-C ends at once. rmq up that is stopped ends with 0: that is how a broker ends. rmq test ends with\n" +
		"the code of its command, and with 125 for a fault of its own, 126 for a command that cannot be run, 127 for one\n" +
		"that is not found.\n")
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: strings.TrimRight(b.String(), "\n")}
}

func newVersion(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the version of this program",
		Example: "  rmq version\n  rmq version -o json",
		Args:    env.Exactly(),
		RunE: func(*cobra.Command, []string) error {
			type version struct {
				Version string `json:"version"`
				Commit  string `json:"commit,omitempty"`
				Go      string `json:"go"`
				OS      string `json:"os"`
				Arch    string `json:"arch"`
			}
			v := version{e.Version, e.Commit, runtime.Version(), runtime.GOOS, runtime.GOARCH}
			view := env.View{Schema: "rmq.version/1", Data: v, Fields: []env.Field{{Name: "version", Value: v.Version}}}
			if v.Commit != "" {
				view.Fields = append(view.Fields, env.Field{Name: "commit", Value: v.Commit})
			}
			view.Fields = append(view.Fields, env.Field{Name: "go", Value: v.Go}, env.Field{Name: "platform", Value: v.OS + "/" + v.Arch})
			return e.Print(view)
		},
	}
}

func newConfigShow(e *env.Env) *cobra.Command {
	var origin bool
	cmd := &cobra.Command{
		Use:   "show [COMMAND...]",
		Short: "Show the settings of a command, and where each comes from",
		Long: "Show the settings of a command, and where each comes from; with --origin also what it won over.\n\n" +
			"A flag on the command line wins over RMQ_<FLAG> in the environment, over the project's rmq.yaml (in this\n" +
			"directory or above it, as far as the root of the git repository), over the context in use, over the user's\n" +
			"config.yaml, over /etc/rmq/config.yaml (RMQ_ETC: elsewhere than in /etc). A file holds flags by their long names, and under a command's name\n" +
			"those of that command alone:\n\n  output: json\n  up:\n    data: .rmq/data     # relative to the file\n    any-port: true",
		Example: "  rmq config show up\n  rmq config show topic create -o json\n  rmq config show consume --origin",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return env.Unknown(cmd.Root(), args[0])
			}
			// Its flags share variables with ours: read ours before they are filled in.
			format := *e
			if err := e.Configure(target); err != nil {
				return err
			}
			t := env.Table{Head: []string{"SETTING", "VALUE", "FROM"}}
			if origin {
				t.Head = append(t.Head, "OVER")
			}
			for _, o := range e.Origins() {
				row := []any{o.Flag, o.Value, o.From}
				if origin {
					var over []string
					for _, l := range o.Over {
						over = append(over, l.Value+" ("+l.From+")")
					}
					row = append(row, strings.Join(over, ", "))
				}
				t.Rows = append(t.Rows, row)
			}
			return format.Print(env.View{Schema: "rmq.settings/1", Data: e.Origins(), Tables: []env.Table{t}})
		},
	}
	cmd.Flags().BoolVar(&origin, "origin", false, "also the values that it won over, the strongest first")
	return cmd
}

func newCompletion(e *env.Env) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:       "completion SHELL",
		Short:     "Print the completion script for a shell: bash, zsh, fish or powershell",
		Example:   "  source <(rmq completion bash)\n  rmq completion zsh > \"${fpath[1]}/_rmq\"\n  rmq completion fish | source",
		Args:      env.Exactly("SHELL"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			script, err := completion(cmd.Root(), args[0])
			if err != nil {
				f := env.Failf(env.Usage, "no completion for %s", env.Quote(args[0]))
				f.Hint = "one of " + strings.Join(shells, ", ")
				return f
			}
			if e.Machine() {
				return e.Print(env.View{Schema: "rmq.completion/1", Data: map[string]string{"shell": args[0], "script": script}})
			}
			_, err = e.Out.Write([]byte(script))
			return err
		},
	}
}
