// Command rmq is the broker and the tools around it. What it does is in package cli.
package main

import (
	"os"
	"runtime/debug"

	"github.com/robustmq/rmq/cli"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/local"
)

// version and commit are set by the linker in a release.
var (
	version = ""
	commit  = ""
)

func main() {
	e := env.System()
	e.Version, e.Commit = build()
	os.Exit(cli.Main(cli.UntilSignal(), e, local.OpenBroker, os.Args[1:]))
}

// build says what was built: by the linker, or from what the Go toolchain noted.
func build() (string, string) {
	v, c := version, commit
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v, c
	}
	if v == "" {
		v = info.Main.Version
	}
	if v == "(devel)" {
		v = "dev"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && c == "" {
			c = s.Value
		}
	}
	return v, c
}
