package env

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// filtersKey holds, in rmq.yaml and in the user's config.yaml, filters by name:
//
//	filters:
//	  hot: json.temp > 30
const filtersKey = "filters"

// SavedFilters are those that there are, by name; those of the project go over the user's.
func (e *Env) SavedFilters() (map[string]string, error) {
	all := map[string]string{}
	for _, path := range []string{e.UserFile(), e.ProjectFile()} {
		if path == "" {
			continue
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, Failf(Usage, "read settings: %v", err)
		}
		var file struct {
			Filters map[string]string `yaml:"filters"`
		}
		if err := yaml.Unmarshal(b, &file); err != nil {
			return nil, Failf(Usage, "%s: %s", path, oneLine(err))
		}
		maps.Copy(all, file.Filters)
	}
	return all, nil
}

// Filter is the filter that an expression is: @NAME is a saved one.
func (e *Env) Filter(src string) (string, error) {
	name, saved := strings.CutPrefix(src, "@")
	if !saved {
		return src, nil
	}
	all, err := e.SavedFilters()
	if err != nil {
		return "", err
	}
	if f, ok := all[name]; ok {
		return f, nil
	}
	f := Failf(NotFound, "there is no filter %s in %s of rmq.yaml or %s", Quote(name), filtersKey, e.UserFile())
	if near := Closest(name, SortedKeys(all)); near != "" {
		f.Hint = "did you mean @" + near + "?"
	} else if len(all) > 0 {
		f.Hint = "there are @" + strings.Join(SortedKeys(all), ", @")
	}
	return "", f
}

// SaveFilter keeps a filter by name among the user's settings, the rest of which stays as it is.
func (e *Env) SaveFilter(name, src string) error {
	path := e.UserFile()
	if err := CheckName(name); err != nil {
		return Failf(Usage, "%q cannot be the name of a filter: letters, digits, - and _", name)
	}
	if path == "" {
		return Failf(Failed, "keep filter %s: there is no directory for settings: set HOME or XDG_CONFIG_HOME", name)
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Failf(Failed, "keep filter %s: %v", name, err)
	}
	var file yaml.Node
	if err := yaml.Unmarshal(b, &file); err != nil {
		return Failf(Usage, "%s: %s", path, oneLine(err))
	}
	if file.Kind == 0 {
		file = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	}
	root := file.Content[0]
	if root.Kind != yaml.MappingNode {
		return Failf(Usage, "%s: it holds no settings", path)
	}
	filters := member(root, filtersKey)
	if filters.Kind != yaml.MappingNode {
		*filters = yaml.Node{Kind: yaml.MappingNode}
	}
	*member(filters, name) = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: src}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	tmp := path + ".new"
	err = errors.Join(enc.Encode(&file), enc.Close(), os.MkdirAll(filepath.Dir(path), 0o700))
	if err == nil {
		err = os.WriteFile(tmp, out.Bytes(), 0o600)
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return Failf(Failed, "keep filter %s: %v", name, err)
	}
	return nil
}

// member is the value of a key of a mapping, which gets one if there is none.
func member(of *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(of.Content); i += 2 {
		if of.Content[i].Value == key {
			return of.Content[i+1]
		}
	}
	value := &yaml.Node{}
	of.Content = append(of.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, value)
	return value
}
