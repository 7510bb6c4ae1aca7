package local

import (
	"encoding/json"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"

	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/fault"
)

// readAuth reads the file of --auth: YAML or JSON. Files that it names are relative to its own
// directory.
func readAuth(path string) (cfg auth.Config, err error) {
	if path == "" {
		return cfg, nil
	}
	invalid := func(err error) (auth.Config, error) {
		return auth.Config{}, fault.New(fault.Invalid, "read authentication", path, "%w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return invalid(err)
	}
	var entries map[string]any
	if err := yaml.Unmarshal(text, &entries); err != nil {
		return invalid(err)
	}
	if text, err = json.Marshal(entries); err != nil {
		return invalid(err)
	}
	if cfg, err = auth.ParseConfig(text); err != nil {
		return invalid(err)
	}
	at := func(name *string) {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(filepath.Dir(path), *name)
		}
	}
	if j := cfg.JWT; j != nil {
		at(&j.SecretFile)
		at(&j.KeyFile)
		at(&j.JWKSFile)
		at(&j.CAFile)
	}
	if h := cfg.HTTP; h != nil {
		at(&h.CAFile)
	}
	if f := cfg.File; f != nil {
		at(&f.Path)
	}
	return cfg, nil
}
