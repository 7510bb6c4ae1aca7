package arch

import (
	"go/ast"
	"path"
	"strconv"
	"strings"
)

// layers orders the folders of the module: a folder imports those of earlier
// lines only, never one of its own line; siblings meet in their parent. A "*"
// stands for one level.
//
// A new kind of folder is placed here first, with thought: whatever it should be
// able to import comes before it.
var layers = []string{
	"broker/fault broker/message broker/clock broker/grammar fixtures broker/internal/*",
	"broker/wire broker/vfs broker/telemetry broker/record broker/acl broker/option broker/trace broker/filter",
	"broker/mqttwire broker/amqpwire broker/segment broker/recording",
	"broker/setting broker/chaos",
	"broker/storage broker/adminapi",
	"broker/storage/* broker/adminapi/*",
	"broker/kernel/codec",
	"broker/kernel/route broker/kernel/stream broker/kernel/queue broker/kernel/session broker/kernel/group broker/kernel/retained " +
		"broker/kernel/txn broker/kernel/timer broker/kernel/credit broker/kernel/compact",
	"broker/kernel/shard broker/kernel/meta broker/cluster/group broker/cluster/placement broker/cluster/transport",
	"broker/kernel broker/cluster broker/auth",
	"broker/kernel/kerneltest",
	"broker/mqtt broker/kafka broker/amqp broker/bulk broker/rules broker/admin broker/doctor",
	"broker/edge broker/bridge",
	"broker",
	"cli/format cli/decode",
	"testkit cli/env cli/link",
	"testkit/* tui/*",
	"tui",
	"cli/*",
	"cli",
	"cmd/*",
}

// remote are the folders that reach a broker as any client does, so that they work
// on one that runs elsewhere; what they may know of it is in remoteMay. cli/local
// alone runs a broker of its own.
var (
	remote    = []string{"cli", "cli/*", "tui", "tui/*"}
	local     = "cli/local"
	remoteMay = []string{"broker/acl", "broker/chaos", "broker/setting", "broker/trace", "broker/adminapi", "broker/adminapi/declare", "broker/fault", "broker/message", "broker/grammar", "broker/filter", "broker/recording", "broker/clock", "broker/telemetry"}
)

// homes says where each third-party module may be used, by prefix of folder. One
// that is not listed has no home.
var homes = []struct {
	module string // a prefix of import paths
	in     string // folders, and what is below them
}{
	{"go.etcd.io/raft/v3", "broker/cluster/group"},
	{"google.golang.org/protobuf", "broker/cluster/group cli/decode"},
	{"github.com/bufbuild/protocompile", "cli/decode"},
	{"go.etcd.io/bbolt", "broker/storage/meta"},
	{"github.com/minio/minio-go/v7", "broker/storage/blob"},
	{"github.com/tidwall/btree", "broker/kernel broker/storage/memlog"},
	{"github.com/klauspost/compress", "broker/record broker/kafka broker/storage cli/link testkit"},
	{"github.com/pierrec/lz4/v4", "broker/record broker/kafka cli/link testkit"},
	{"github.com/twmb/franz-go/pkg/kmsg", "broker/kafka broker/chaos cli/link testkit"},
	{"github.com/coder/websocket", "broker/wire broker/edge broker/mqtt broker/bridge cli/link testkit"},
	{"github.com/quic-go/quic-go", "broker/edge cli/link testkit"},
	{"github.com/prometheus/client_golang", "broker/telemetry broker/admin"},
	{"golang.org/x/crypto", "broker/auth broker/edge"},
	{"golang.org/x/sys", "broker/vfs broker/wire broker/edge broker/telemetry cli cmd testkit"},
	{"golang.org/x/term", "cli cmd tui"},

	{"github.com/twmb/franz-go", "cli/link testkit"},
	{"github.com/eclipse/paho.golang", "cli/link testkit"},
	{"github.com/eclipse/paho.mqtt.golang", "cli/link testkit"},
	{"github.com/rabbitmq/amqp091-go", "cli/link testkit"},
	{"github.com/Azure/go-amqp", "cli/link testkit"},

	{"github.com/spf13/cobra", "cli cmd"},
	{"github.com/spf13/pflag", "cli cmd"},
	{"github.com/spf13/viper", "cli cmd"},
	{"github.com/itchyny/gojq", "cli tui"},
	{"github.com/itchyny/timefmt-go", "cli/format"},
	{"gopkg.in/yaml.v3", "cli testkit fixtures broker/chaos"},
	{"charm.land/bubbletea/v2", "tui"},
	{"charm.land/bubbles/v2", "tui"},
	{"charm.land/lipgloss/v2", "tui"},
	{"github.com/charmbracelet", "tui"},

	{"github.com/HdrHistogram/hdrhistogram-go", "cli testkit"},
	{"github.com/anishathalye/porcupine", "testkit"},
	{"github.com/hanwen/go-fuse/v2", "testkit/fusefs"},
	{"github.com/rogpeppe/go-internal", "testkit"},
	{"pgregory.net/rapid", "testkit"},
	{"go.uber.org/goleak", "testkit"},
}

// layerOf returns the line of a folder, or -1. A folder named in full is placed
// there, whatever patterns it matches too.
func layerOf(dir string) int {
	match := -1
	for i, line := range layers {
		for pattern := range strings.FieldsSeq(line) {
			if pattern == dir {
				return i
			}
			if ok, _ := path.Match(pattern, dir); ok {
				match = i
			}
		}
	}
	return match
}

// checkLayers wants every folder placed, and every import to go back.
func (t *tree) checkLayers() {
	for _, p := range t.pkgs {
		from := layerOf(p.dir)
		if from < 0 {
			t.report(p.dir, "place", "this folder has no place in the order of packages (testkit/arch/layers.go)")
			continue
		}
		p.imports(func(spec *ast.ImportSpec, name string) {
			dir, ours := strings.CutPrefix(name, Module+"/")
			if !ours {
				return
			}
			switch to := layerOf(dir); {
			case to < 0: // reported with the folder itself, if there is one
			case to == from:
				t.report(t.at(spec), "layer", "%s and %s are on one line: siblings meet in their parent", p.dir, dir)
			case to > from:
				t.report(t.at(spec), "layer", "%s comes before %s and must not know it", p.dir, dir)
			case matches(remote, p.dir) && p.dir != local && (dir == "broker" || strings.HasPrefix(dir, "broker/")) && !matches(remoteMay, dir):
				t.report(t.at(spec), "remote", "%s must reach a broker as a client does, not by %s", p.dir, dir)
			}
		})
	}
}

// checkHomes wants third-party modules to stay where they belong.
func (t *tree) checkHomes() {
	for _, p := range t.pkgs {
		p.imports(func(spec *ast.ImportSpec, name string) {
			first, _, _ := strings.Cut(name, "/")
			if !strings.Contains(first, ".") || name == Module || strings.HasPrefix(name, Module+"/") {
				return // the standard library's, or ours
			}
			for _, h := range homes {
				if name != h.module && !strings.HasPrefix(name, h.module+"/") {
					continue
				}
				for in := range strings.FieldsSeq(h.in) {
					if p.dir == in || strings.HasPrefix(p.dir, in+"/") {
						return
					}
				}
				t.report(t.at(spec), "home", "%s is at home in %s, not in %s", h.module, strings.ReplaceAll(h.in, " ", ", "), p.dir)
				return
			}
			t.report(t.at(spec), "home", "%s has no home (testkit/arch/layers.go)", name)
		})
	}
}

func (p *pkg) imports(f func(spec *ast.ImportSpec, name string)) {
	for _, file := range p.files {
		for _, spec := range file.Imports {
			if name, err := strconv.Unquote(spec.Path.Value); err == nil {
				f(spec, name)
			}
		}
	}
}

func matches(patterns []string, dir string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, dir); ok {
			return true
		}
	}
	return false
}
