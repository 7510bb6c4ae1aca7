package shard

import (
	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/kernel/queue"
)

type Session struct{ due int64 }
type filter struct{ key string }

func (m *Machine) session(string) *Session                             { return nil }
func (m *Machine) tickSession(*Session, *Outcome)                      {}
func (m *Machine) openSession(r *codec.Reader, out *Outcome) OpResult  { return OpResult{} }
func (m *Machine) closeSession(r *codec.Reader, out *Outcome) OpResult { return OpResult{} }
func (m *Machine) subscribe(r *codec.Reader) OpResult                  { return OpResult{} }
func (m *Machine) unsubscribe(r *codec.Reader) OpResult                { return OpResult{} }
func (m *Machine) ack(r *codec.Reader, out *Outcome) OpResult          { return OpResult{} }
func (m *Machine) received(r *codec.Reader) OpResult                   { return OpResult{} }
func (m *Machine) incoming(r *codec.Reader) OpResult                   { return OpResult{} }
func (m *Machine) release(r *codec.Reader) OpResult                    { return OpResult{} }
func (m *Machine) start(r *codec.Reader, out *Outcome) OpResult        { return OpResult{} }
func (m *Machine) group(r *codec.Reader, out *Outcome) OpResult        { return OpResult{} }
func (m *Machine) encodeSession(key string, s *Session, full bool, since uint64, put func(k, v []byte) bool) bool {
	return true
}
func (m *Machine) encodeGroup(key string, s *Group, full bool, since uint64, put func(k, v []byte) bool) bool {
	return true
}
func (m *Machine) finishSession(p *parts) error { return nil }
func (m *Machine) finishGroup(p *parts) error   { return nil }
func (m *Machine) toSessions(ns, address, from string, p place, msg *queue.Message, out *Outcome) int64 {
	return 0
}

func (m *Machine) ConnectedSessions() []string { return nil }

type CloseSession struct {
	Key  string
	Will bool
}

func (b *Builder) CloseSession(c *CloseSession) int { return 0 }
