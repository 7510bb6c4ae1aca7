package env

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"
)

// requestsKey holds, in rmq.yaml and in the user's config.yaml, requests by name:
//
//	requests:
//	  order:
//	    target: kafka:orders
//	    value: {id: 7}          # text, or what becomes JSON
//	    key: "7"                # and the command's other flags, by their long names
//	    header: [source=shop]
const requestsKey = "requests"

// savedRequest is one of them.
type savedRequest struct {
	Target string               `yaml:"target"`
	Value  yaml.Node            `yaml:"value"`
	Flags  map[string]yaml.Node `yaml:",inline"`
}

// Saved puts a saved request in place of an argument @NAME: its target and value, which the
// next argument goes over, and the flags that were not given on the command line.
func (e *Env) Saved(cmd *cobra.Command, args []string) ([]string, error) {
	name, saved := strings.CutPrefix(args[0], "@")
	if !saved {
		return args, nil
	}
	var names []string
	for _, path := range []string{e.ProjectFile(), e.UserFile()} {
		all, err := readRequests(path)
		if err != nil {
			return nil, err
		}
		if r, ok := all[name]; ok {
			return e.fillSaved(cmd, path, name, r, args)
		}
		names = append(names, SortedKeys(all)...)
	}
	f := Failf(NotFound, "there is no request %s in %s of rmq.yaml or %s", Quote(name), requestsKey, e.UserFile())
	if near := Closest(name, names); near != "" {
		f.Hint = "did you mean @" + near + "?"
	} else if len(names) > 0 {
		f.Hint = "there are @" + strings.Join(names, ", @")
	}
	return nil, f
}

// SavedNames lists the saved requests, as arguments.
func (e *Env) SavedNames() []string {
	var names []string
	for _, path := range []string{e.ProjectFile(), e.UserFile()} {
		all, err := readRequests(path)
		if err != nil {
			continue // a missing suggestion is no failure of its own
		}
		for _, name := range SortedKeys(all) {
			names = append(names, "@"+name)
		}
	}
	return names
}

func readRequests(path string) (map[string]savedRequest, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, Failf(Usage, "read settings: %v", err)
	}
	var file struct {
		Requests map[string]savedRequest `yaml:"requests"`
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		return nil, Failf(Usage, "%s: %s", path, oneLine(err))
	}
	return file.Requests, nil
}

func (e *Env) fillSaved(cmd *cobra.Command, path, name string, r savedRequest, args []string) ([]string, error) {
	if r.Target == "" {
		return nil, Failf(Usage, "%s: %s.%s has no target", path, requestsKey, name)
	}
	for _, flag := range SortedKeys(r.Flags) {
		f := cmd.Flags().Lookup(flag)
		if f == nil {
			var names []string
			cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
			bad := Failf(Usage, "%s: %s.%s: %s has no flag --%s", path, requestsKey, name, cmd.CommandPath(), flag)
			if near := Closest(flag, append(names, "target", "value")); near != "" {
				bad.Hint = "did you mean " + near + "?"
			}
			return nil, bad
		}
		if slices.ContainsFunc(e.origins, func(o Origin) bool { return o.Flag == flag && o.From == "flag" }) {
			continue
		}
		node := r.Flags[flag]
		if err := setSaved(f, path, &node); err != nil {
			return nil, Failf(Usage, "%s: %s.%s.%s: %v", path, requestsKey, name, flag, err)
		}
		f.Changed = true
	}
	out := append([]string{r.Target}, args[1:]...)
	if len(args) > 1 || r.Value.Kind == 0 {
		return out, nil
	}
	if r.Value.Kind == yaml.ScalarNode && r.Value.Tag != "!!null" {
		return append(out, r.Value.Value), nil
	}
	var v any
	err := r.Value.Decode(&v)
	if err == nil {
		var b []byte
		if b, err = encodeJSON(v, ""); err == nil {
			return append(out, strings.TrimSuffix(string(b), "\n")), nil
		}
	}
	return nil, Failf(Usage, "%s: %s.%s.value: %s", path, requestsKey, name, oneLine(err))
}

func setSaved(f *pflag.Flag, path string, node *yaml.Node) error {
	at := func(value string) string {
		if _, ok := f.Annotations[PathAnnotation]; ok && value != "" && !filepath.IsAbs(value) {
			return filepath.Join(filepath.Dir(path), value)
		}
		return value
	}
	if s, ok := f.Value.(pflag.SliceValue); ok {
		var values []string
		if node.Kind == yaml.ScalarNode {
			values = []string{node.Value}
		} else if err := node.Decode(&values); err != nil {
			return err
		}
		for i := range values {
			values[i] = at(values[i])
		}
		return s.Replace(values)
	}
	var value string
	if err := node.Decode(&value); err != nil {
		return err
	}
	return f.Value.Set(at(value))
}
