package env

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"
)

// A context is a named set of settings for one broker: where it is, who asks, how its screens
// are marked, and whether it is protected. It is a file of settings like any other,
// contexts/NAME.yaml beside the user's config.yaml, and its layer lies between that and the
// project's file. Which one is in use is said by --context, RMQ_CONTEXT, the key "context" of a
// file, or, for want of all these, by the file "context", which `rmq context use` writes.

// NoContext is the name that stands for none.
const NoContext = "default"

// Settings that every command has and that a context is for.
const (
	KeyProtected = "protected"     // nothing is changed on the broker
	KeyMark      = "context-color" // of the context's name, in screens and prompts
	keyContext   = "context"
)

// MarkColors are those that a context may be marked with.
var MarkColors = []string{"red", "yellow", "green", "blue", "magenta", "cyan"}

// Context is one as it is kept.
type Context struct {
	Name     string         `json:"name"`
	InUse    bool           `json:"in_use"`
	Settings map[string]any `json:"settings"`
}

// CheckContextName refuses what cannot be the name of a file everywhere.
func CheckContextName(name string) error {
	if name == NoContext {
		return Failf(Usage, "%q stands for no context: it cannot be one's name", name)
	}
	if err := CheckName(name); err != nil {
		return Failf(Usage, "%q cannot be the name of a context: letters, digits, - and _", name)
	}
	return nil
}

// ContextFile is where a context is kept.
func (e *Env) ContextFile(name string) string {
	return filepath.Join(e.configDir(), "contexts", name+".yaml")
}

// currentFile holds the name of the context in use.
func (e *Env) currentFile() string { return filepath.Join(e.configDir(), "context") }

// ContextNames are those that there are, in order.
func (e *Env) ContextNames() []string {
	if e.configDir() == "" {
		return nil
	}
	files, err := os.ReadDir(filepath.Join(e.configDir(), "contexts"))
	if err != nil {
		return nil // there is none yet
	}
	var names []string
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), ".yaml"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ReadContext returns one that there is.
func (e *Env) ReadContext(root *cobra.Command, name string) (Context, error) {
	l, err := e.contextLayer(root, name)
	if err != nil {
		return Context{}, err
	}
	return Context{Name: name, InUse: name == e.Context, Settings: l.v.AllSettings()}, nil
}

// WriteContext keeps one, whole or not at all. Its settings must mean something.
func (e *Env) WriteContext(root *cobra.Command, c Context) error {
	path := e.ContextFile(c.Name)
	v := viper.New()
	v.SetConfigType("yaml")
	for key, value := range c.Settings {
		v.Set(key, value)
	}
	if err := checkContext(root, path, v.AllSettings()); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return Failf(Failed, "keep context %s: %v", c.Name, err)
	}
	tmp := path + ".new.yaml"
	if err := v.WriteConfigAs(tmp); err != nil {
		return Failf(Failed, "keep context %s: %v", c.Name, err)
	}
	if err := errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, path)); err != nil {
		return Failf(Failed, "keep context %s: %v", c.Name, err)
	}
	return nil
}

// UseContext has commands use a context from now on; NoContext: none.
func (e *Env) UseContext(name string) error {
	if name == NoContext {
		if err := os.Remove(e.currentFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Failf(Failed, "use no context: %v", err)
		}
		return nil
	}
	if !exists(e.ContextFile(name)) {
		return e.noContext(name)
	}
	if err := os.WriteFile(e.currentFile(), []byte(name+"\n"), 0o600); err != nil {
		return Failf(Failed, "use context %s: %v", name, err)
	}
	return nil
}

// DeleteContext takes one away. Commands that used it use none.
func (e *Env) DeleteContext(name string) error {
	if err := CheckContextName(name); err != nil {
		return err
	}
	err := os.Remove(e.ContextFile(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return e.noContext(name)
	case err != nil:
		return Failf(Failed, "delete context %s: %v", name, err)
	}
	if e.chosenContext() == name {
		return e.UseContext(NoContext)
	}
	return nil
}

// chosenContext is what `rmq context use` has said; "": nothing.
func (e *Env) chosenContext() string {
	b, err := os.ReadFile(e.currentFile())
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (e *Env) noContext(name string) error {
	f := Failf(NotFound, "there is no context named %s", Quote(name))
	names := e.ContextNames()
	if near := Closest(name, names); near != "" {
		f.Hint = "did you mean " + near + "?"
	} else if len(names) > 0 {
		f.Hint = "there are " + strings.Join(names, ", ")
	} else {
		f.Hint = "make one: rmq context create " + Quote(name) + " url=http://host:15672"
	}
	return f
}

func (e *Env) contextLayer(root *cobra.Command, name string) (layer, error) {
	if err := CheckContextName(name); err != nil {
		return layer{}, err
	}
	l, ok, err := readLayer(e.ContextFile(name))
	switch {
	case err != nil:
		return l, err
	case !ok:
		return l, e.noContext(name)
	}
	return l, checkContext(root, l.path, l.v.AllSettings())
}

// checkContext refuses what means nothing in a context, which cannot name another.
func checkContext(root *cobra.Command, path string, settings map[string]any) error {
	if _, ok := settings[keyContext]; ok {
		return Failf(Usage, "%s: a context does not name a context", path)
	}
	return checkKeys(root, path, settings)
}

// Mark is what stands for the context where something is asked or shown: its name, in its colour.
// "": none is in use.
func (e *Env) Mark(tty bool) string {
	if e.Context == "" {
		return ""
	}
	color := e.MarkColor
	if color == "" && e.Protected {
		color = "red"
	}
	if i := slices.Index(MarkColors, color); i >= 0 {
		return paint(e.Colored(tty), markCodes[i], e.Context)
	}
	return e.Context
}

// markCodes are the ANSI colours of MarkColors.
var markCodes = []string{"31", "33", "32", "34", "35", "36"}
