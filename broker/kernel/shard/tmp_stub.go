package shard

import (
	"github.com/robustmq/rmq/broker/kernel/codec"
)

func (m *Machine) group(r *codec.Reader, out *Outcome) OpResult { return OpResult{} }
func (m *Machine) encodeGroup(key string, s *Group, full bool, since uint64, put func(k, v []byte) bool) bool {
	return true
}
func (m *Machine) finishGroup(p *parts) error { return nil }

func (m *Machine) GroupCount() int { return 0 }
