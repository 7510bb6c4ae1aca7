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
// wins over RMQ_<FLAG> in the environment, over the project's rmq.yaml, over the context in
// use, over the user's config.yaml, over the machine's. A file holds flags by their long names,
// and under a command's name those of that command alone:
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
	// Over are the values that it won over, the strongest first.
	Over []Layered `json:"over,omitempty"`
}

// Layered is a value that a layer has.
type Layered struct {
	Value string `json:"value"`
	From  string `json:"from"`
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
	layers, err := e.layers(cmd)
	if err != nil {
		return err
	}
	e.origins = nil
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if err != nil || f.Name == "help" {
			return
		}
		var o Origin
		if o, err = e.fill(cmd, f, layers); err == nil {
			e.origins = append(e.origins, o)
		}
	})
	return err
}

// Origins tells where each flag of the configured command came from.
func (e *Env) Origins() []Origin { return e.origins }

// fill sets a flag by the strongest layer that has a value, unless it was given.
func (e *Env) fill(cmd *cobra.Command, f *pflag.Flag, layers []layer) (Origin, error) {
	if o, ok := e.filled[f]; ok {
		return o, nil
	}
	var values []Layered // the strongest first
	var set []func() error
	in := "" // where the strongest lies in its file
	name := "RMQ_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
	if v := e.Getenv(name); v != "" {
		values, set = append(values, Layered{v, name}), append(set, func() error { return f.Value.Set(v) })
	}
	section := strings.Join(strings.Fields(cmd.CommandPath())[1:], ".")
	for _, l := range layers {
		for _, key := range []string{section + "." + f.Name, f.Name} {
			if v := l.v.Get(key); v != nil && !isSection(v) {
				values, set = append(values, Layered{fmt.Sprint(v), l.path}), append(set, func() error { return setFlag(f, l, key) })
				if len(set) == 1 {
					in = ": " + key
				}
			}
		}
	}
	if f.DefValue != "" {
		values = append(values, Layered{f.DefValue, "default"})
	}
	o := Origin{Flag: f.Name, From: "default", Over: values}
	switch {
	case f.Changed:
		o.From = "flag"
	case len(set) > 0:
		if err := set[0](); err != nil {
			return o, Failf(Usage, "%s%s: %s", values[0].From, in, badValue(f, err))
		}
		f.Changed, o.From, o.Over = true, values[0].From, values[1:]
		o.Value = f.Value.String()
		e.keep(f, o)
	case len(values) > 0:
		o.Over = nil // it is the default
	}
	o.Value = f.Value.String()
	return o, nil
}

func (e *Env) keep(f *pflag.Flag, o Origin) {
	if e.filled == nil {
		e.filled = make(map[*pflag.Flag]Origin)
	}
	e.filled[f] = o
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

// layers reads the files, the strongest first, and finds out which context is in use.
func (e *Env) layers(cmd *cobra.Command) ([]layer, error) {
	read := func(path string) (layer, bool, error) {
		l, ok, err := readLayer(path)
		if ok && err == nil {
			err = checkKeys(cmd.Root(), path, l.v.AllSettings())
		}
		return l, ok, err
	}
	project, inProject, err := read(e.ProjectFile())
	if err != nil {
		return nil, err
	}
	user, isUser, err := read(e.UserFile())
	if err != nil {
		return nil, err
	}
	machine, ofMachine, err := read(e.MachineFile())
	if err != nil {
		return nil, err
	}
	var layers []layer
	add := func(l layer, ok bool) {
		if ok {
			layers = append(layers, l)
		}
	}
	add(project, inProject)
	// Which context: as any flag is found, and then what was chosen.
	if f := cmd.Flag(keyContext); f != nil {
		others := slices.Clone(layers)
		if isUser {
			others = append(others, user)
		}
		if ofMachine {
			others = append(others, machine)
		}
		if _, err := e.fill(cmd, f, others); err != nil {
			return nil, err
		}
		if !f.Changed {
			if e.Context = e.chosenContext(); e.Context != "" && e.Context != NoContext {
				e.keep(f, Origin{Flag: f.Name, Value: e.Context, From: e.currentFile()})
			}
		}
		if e.Context == NoContext {
			e.Context = ""
		}
		// Who changes contexts is not kept from it by the one in use.
		if e.Context != "" && !strings.HasPrefix(cmd.CommandPath(), cmd.Root().Name()+" "+keyContext+" ") {
			l, err := e.contextLayer(cmd.Root(), e.Context)
			if err != nil {
				return nil, err
			}
			add(l, true)
		}
	}
	add(user, isUser)
	add(machine, ofMachine)
	return layers, nil
}

// readLayer reads a file; false: there is none.
func readLayer(path string) (layer, bool, error) {
	if path == "" {
		return layer{}, false, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return layer{}, false, nil
	}
	if err != nil {
		return layer{}, false, Failf(Usage, "read settings: %v", err)
	}
	v := viper.New()
	v.SetConfigType("yaml")
	err = v.ReadConfig(f)
	_ = f.Close() // read only
	if err != nil {
		return layer{}, false, Failf(Usage, "%s: %s", path, oneLine(err))
	}
	return layer{path, v}, true, nil
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
	if e.configDir() == "" {
		return ""
	}
	return filepath.Join(e.configDir(), "config.yaml")
}

// configDir is where the user's settings and contexts are; "" when there is no telling.
func (e *Env) configDir() string {
	switch {
	case e.Getenv("XDG_CONFIG_HOME") != "":
		return filepath.Join(e.Getenv("XDG_CONFIG_HOME"), "rmq")
	case e.Home != "":
		return filepath.Join(e.Home, ".config", "rmq")
	}
	return ""
}

// MachineFile is what whoever runs the machine has set for all of its users.
func (e *Env) MachineFile() string {
	if e.Etc == "" {
		return ""
	}
	return filepath.Join(e.Etc, "rmq", "config.yaml")
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
			if flags[key] || at == "" && (key == requestsKey || key == filtersKey) {
				continue // requests and filters are read when one is named
			}
			f := Failf(Usage, "unknown setting %s%s", at, key)
			if path != "" {
				f.What = path + ": " + f.What
			}
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

// CheckSetting refuses a value that the flag of a setting does not take. The setting may stand
// after a command's name: "up.port". The flags of root are set: it serves for nothing else.
func CheckSetting(root *cobra.Command, key, value string) error {
	path := strings.Split(key, ".")
	if err := checkKeys(root, "", nest(path, value)); err != nil {
		return err
	}
	var err error
	found := false
	check := func(f *pflag.Flag) {
		if f.Name != path[len(path)-1] || found {
			return
		}
		found = true
		if bad := f.Value.Set(value); bad != nil {
			err = Failf(Usage, "%s: %s", key, badValue(f, bad))
		}
	}
	var walk func(*cobra.Command, []string)
	walk = func(c *cobra.Command, section []string) {
		if len(section) == 0 {
			c.Flags().VisitAll(check)
			c.PersistentFlags().VisitAll(check)
		}
		for _, sub := range c.Commands() {
			if len(section) == 0 {
				walk(sub, nil)
			} else if sub.Name() == section[0] {
				walk(sub, section[1:])
			}
		}
	}
	walk(root, path[:len(path)-1])
	return err
}

func nest(path []string, value string) map[string]any {
	if len(path) == 1 {
		return map[string]any{path[0]: value}
	}
	return map[string]any{path[0]: nest(path[1:], value)}
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
