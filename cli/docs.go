package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
)

// newDocs returns `rmq docs`.
func newDocs(e *env.Env) *cobra.Command {
	verb := func(format, short string) *cobra.Command {
		return &cobra.Command{
			Use:   format + " [DIR]",
			Short: short,
			Long: short + ": a file for each command below DIR, or, without one, all of them on standard\noutput, one after another. " +
				"They are made of the commands themselves, as --help is.",
			Example: map[string]string{
				"man": "  rmq docs man ~/.local/share/man/man1\n  rmq docs man | man -l -",
				"md":  "  rmq docs md ./rmq-commands\n  rmq docs md > rmq.md", "yaml": "  rmq docs yaml\n  rmq docs yaml ./rmq-commands -o json",
			}[format],
			Args: env.Between(nil, "DIR"),
			RunE: func(_ *cobra.Command, args []string) error { return writeDocs(e, format, args) },
		}
	}
	return env.Noun("docs", "Write the documentation of all commands to files",
		verb("man", "Write the commands as pages of the manual"),
		verb("md", "Write the commands as Markdown"),
		verb("yaml", "Write the commands as YAML, for programs"))
}

// documents returns the documentation of every command in a format, by file name.
func documents(format string) (map[string]string, error) {
	files := map[string]string{}
	root := newForDocs()
	var err error
	walk(root, func(c *cobra.Command) {
		switch format {
		case "man":
			files[manName(c)+".1"] = manPage(c)
		case "yaml":
			var b []byte
			if b, err = env.YAML(describe(c)); err == nil {
				files[manName(c)+".yaml"] = string(b)
			}
		default:
			files[page(c)] = markdown(c)
		}
	})
	if format == "md" {
		files["README.md"] = markdownIndex(root)
	}
	return files, err
}

func writeDocs(e *env.Env, format string, args []string) error {
	files, err := documents(format)
	if err != nil {
		return err
	}
	names := env.SortedKeys(files)
	if len(args) == 0 {
		if e.Machine() {
			return e.Print(env.View{Schema: "rmq.docs/1", Data: map[string]any{"format": format, "files": files}})
		}
		for i, name := range names {
			if i > 0 && format == "yaml" {
				files[name] = "---\n" + files[name]
			}
			if _, err := e.Out.Write([]byte(files[name])); err != nil {
				return err
			}
		}
		return nil
	}
	dir := args[0]
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(e.Dir, dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return badDir(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(files[name]), 0o644); err != nil {
			return badDir(err)
		}
	}
	e.Say("wrote %d files to %s", len(names), args[0])
	return e.PrintMachine(env.View{Schema: "rmq.docs/1", Data: map[string]any{"format": format, "dir": dir, "names": names}, Fields: []env.Field{{Name: "files", Value: len(names)}, {Name: "dir", Value: dir}}})
}

func badDir(err error) error {
	f := env.Failf(env.Failed, "%s", strings.TrimSpace(fmt.Sprint(err)))
	f.Hint = "name a directory that you may write to"
	return f
}
