package env

import (
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/cli/decode"
)

// Decoding is what flags say of how values become JSON.
type Decoding struct{ decode.Options }

// Flags adds them.
func (d *Decoding) Flags(fs *pflag.FlagSet) {
	fs.Var(&Choice{Value: &d.Kind, Of: decode.Kinds}, "decode", "what values are; auto finds out by content type, topic, schema id and bytes")
	fs.StringVar(&d.Schema, "schema", "", "the schema of values, as FILE or FILE:TYPE: .avsc, .proto, or descriptors of protoc")
	fs.StringVar(&d.Registry, "registry", "", "URL of a schema registry, for values that begin with a schema's id")
	_ = fs.SetAnnotation("schema", PathAnnotation, []string{"true"}) // fails for unknown flags only
}
