package kernel

import (
	"context"
	"encoding/json"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/setting"
)

// Options returns what is set of package option, by name: settings of the whole broker.
func (k *Kernel) Options() map[string]string {
	set := make(map[string]string)
	for _, s := range k.Settings(DefaultNamespace, setting.KindOption) {
		var value string
		if s.Read(&value) == nil {
			set[s.Name] = value
		}
	}
	return set
}

// ChangeOptions sets options, by name, and unsets others, which have their defaults then.
func (k *Kernel) ChangeOptions(ctx context.Context, set map[string]string, unset []string) error {
	for name, value := range set {
		text, err := json.Marshal(value)
		if err != nil {
			return fault.New(fault.Invalid, "set", name, "%w", err)
		}
		if err := k.PutSetting(ctx, setting.Setting{Namespace: DefaultNamespace, Kind: setting.KindOption, Name: name, Value: text}); err != nil {
			return err
		}
	}
	for _, name := range unset {
		if err := k.DeleteSetting(ctx, DefaultNamespace, setting.KindOption, name); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
}
