package env

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Every flag of every command can be set once for all: a flag on the command line
// wins over RMQ_<FLAG> in the environment, over the project's rmq.yaml, over the user's
// config.yaml. A file holds flags by their long names, and under a command's name those
// of that command alone:
//
//	output: json
//	up:
//	  data: .rmq/data     # relative to the file
//	  any-port: true

// Origin tells where a setting came from.
type Origin struct {
	Flag  string `json:"flag"`
	Value string `json:"value"`
	From  string `json:"from"` // "flag", "RMQ_PORT", a file's path or "default"
}

// PathAnnotation marks a flag that is a path: relative ones in a file start at the
// file's directory.
const PathAnnotation = "rmq_path"

// layer is one file.
type layer struct {
	path string
	v    *viper.Viper
}

// Configure fills in the flags of cmd that were not given, from the other layers.
func (e *Env) Configure(cmd *cobra.Command) error {
	layers, err := e.layers(cmd.Root())
	if err != nil {
		return err
	}
	e.origins = nil
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if err != nil || f.Name == "help" {
			return
		}
		from := "flag"
		if !f.Changed {
			from, err = e.fill(cmd, f, layers)
		}
		e.origins = append(e.origins, Origin{f.Name, f.Value.String(), from})
	})
	return err
}

// Origins tells where each flag of the configured command came from.
func (e *Env) Origins() []Origin { return e.origins }

func (e *Env) fill(cmd *cobra.Command, f *pflag.Flag, layers []layer) (from string, err error) {
	name := "RMQ_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
	if v := e.Getenv(name); v != "" {
		if err := f.Value.Set(v); err != nil {
			return "", Failf(Usage, "%s: %v", name, err)
		}
		f.Changed = true
		return name, nil
	}
	section := strings.Join(strings.Fields(cmd.CommandPath())[1:], ".")
	for _, l := range layers {
		for _, key := range []string{section + "." + f.Name, f.Name} {
			if !l.v.IsSet(key) || isSection(l.v.Get(key)) {
				continue
			}
			if err := setFlag(f, l, key); err != nil {
				return "", Failf(Usage, "%s: %s: %v", l.path, key, err)
			}
			f.Changed = true
			return l.path, nil
		}
	}
	return "default", nil
}

func setFlag(f *pflag.Flag, l layer, key string) error {
	at := func(value string) string {
		if _, ok := f.Annotations[PathAnnotation]; ok && value != "" && !filepath.IsAbs(value) {
			return filepath.Join(filepath.Dir(l.path), value)
		}
		return value
	}
	if s, ok := f.Value.(pflag.SliceValue); ok {
		var values []string
		for _, v := range l.v.GetStringSlice(key) {
			values = append(values, at(v))
		}
		return s.Replace(values)
	}
	return f.Value.Set(at(l.v.GetString(key)))
}

func isSection(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

// layers reads the files, the strongest first.
func (e *Env) layers(root *cobra.Command) ([]layer, error) {
	var layers []layer
	for _, path := range []string{e.ProjectFile(), e.UserFile()} {
		if path == "" {
			continue
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, Failf(Usage, "read settings: %v", err)
		}
		v := viper.New()
		v.SetConfigType("yaml")
		err = v.ReadConfig(f)
		_ = f.Close() // read only
		if err != nil {
			return nil, Failf(Usage, "%s: %s", path, oneLine(err))
		}
		if err := checkKeys(root, path, v.AllSettings()); err != nil {
			return nil, err
		}
		layers = append(layers, layer{path, v})
	}
	return layers, nil
}

// ProjectFile is the rmq.yaml that applies in Dir: there, or in a directory above it
// as far as the root of the git repository. Outside of one only Dir counts, so that a
// file in a shared parent such as /tmp changes nothing. "" when there is none.
func (e *Env) ProjectFile() string {
	if e.Dir == "" {
		return ""
	}
	var found string
	for dir := e.Dir; ; {
		if p := filepath.Join(dir, "rmq.yaml"); found == "" && exists(p) {
			found = p
		}
		if exists(filepath.Join(dir, ".git")) {
			return found
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	if found == filepath.Join(e.Dir, "rmq.yaml") {
		return found
	}
	return ""
}

// UserFile is the user's own settings.
func (e *Env) UserFile() string {
	switch {
	case e.Getenv("XDG_CONFIG_HOME") != "":
		return filepath.Join(e.Getenv("XDG_CONFIG_HOME"), "rmq", "config.yaml")
	case e.Home != "":
		return filepath.Join(e.Home, ".config", "rmq", "config.yaml")
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// checkKeys refuses a key that means nothing: a misspelled setting must not be silent.
func checkKeys(root *cobra.Command, path string, settings map[string]any) error {
	var check func(cmd *cobra.Command, at string, settings map[string]any) error
	check = func(cmd *cobra.Command, at string, settings map[string]any) error {
		flags, commands := known(cmd)
		for _, key := range slices.Sorted(maps.Keys(settings)) {
			if section, ok := settings[key].(map[string]any); ok && commands[key] != nil {
				if err := check(commands[key], at+key+".", section); err != nil {
					return err
				}
				continue
			}
			if flags[key] {
				continue
			}
			f := Failf(Usage, "%s: unknown setting %s%s", path, at, key)
			var names []string
			for n := range flags {
				names = append(names, n)
			}
			for n := range commands {
				names = append(names, n)
			}
			slices.Sort(names)
			if near := Closest(key, names); near != "" {
				f.Hint = "did you mean " + at + near + "?"
			}
			return f
		}
		return nil
	}
	return check(root, "", settings)
}

// known lists the flags of a command and of all below it, and its commands by name.
func known(cmd *cobra.Command) (flags map[string]bool, commands map[string]*cobra.Command) {
	flags, commands = map[string]bool{}, map[string]*cobra.Command{}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) { flags[f.Name] = true })
		c.PersistentFlags().VisitAll(func(f *pflag.Flag) { flags[f.Name] = true })
		c.InheritedFlags().VisitAll(func(f *pflag.Flag) { flags[f.Name] = true })
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(cmd)
	for _, sub := range cmd.Commands() {
		commands[sub.Name()] = sub
	}
	return flags, commands
}

// Describe makes one line of an origin.
func (o Origin) Describe() string { return fmt.Sprintf("%s = %s (%s)", o.Flag, o.Value, o.From) }
