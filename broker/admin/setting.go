package admin

import (
	"cmp"
	"context"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/setting"
)

// This file is what operators set.

func (s *Source) Settings(_ context.Context, namespace string, kind setting.Kind) ([]setting.Setting, error) {
	if kind == setting.KindBridge {
		return nil, ofBridges()
	}
	return s.c.Kernel.Settings(cmp.Or(namespace, adminapi.DefaultNamespace), kind), nil
}

func (s *Source) PutSetting(ctx context.Context, t setting.Setting) (setting.Setting, error) {
	if t.Kind == setting.KindBridge {
		return t, ofBridges()
	}
	t.Namespace = cmp.Or(t.Namespace, adminapi.DefaultNamespace)
	return t, s.c.Kernel.PutSetting(ctx, t)
}

func (s *Source) DeleteSetting(ctx context.Context, namespace string, kind setting.Kind, name string) error {
	if kind == setting.KindBridge {
		return ofBridges()
	}
	return s.c.Kernel.DeleteSetting(ctx, cmp.Or(namespace, adminapi.DefaultNamespace), kind, name)
}

// ofBridges refuses bridges as settings: these hold secrets, and a bridge has a session.
func ofBridges() error {
	return fault.New(fault.Unsupported, "look at", "settings", "bridges are under /v1/bridges")
}

// Bridges is what runs bridges; *bridge.Bridges.
type Bridges interface {
	List() []adminapi.Bridge
	Get(name string) (adminapi.Bridge, error)
	Add(ctx context.Context, name string, spec setting.Bridge) (adminapi.Bridge, error)
	Remove(ctx context.Context, name string) error
	Pause(ctx context.Context, name string, paused bool) (adminapi.Bridge, error)
}

func (s *Source) Bridges(context.Context) ([]adminapi.Bridge, error) { return s.c.Bridges.List(), nil }

func (s *Source) Bridge(_ context.Context, name string) (adminapi.Bridge, error) {
	return s.c.Bridges.Get(name)
}

func (s *Source) AddBridge(ctx context.Context, spec adminapi.BridgeSpec) (adminapi.Bridge, error) {
	return s.c.Bridges.Add(ctx, spec.Name, spec.Bridge)
}

func (s *Source) RemoveBridge(ctx context.Context, name string) error {
	return s.c.Bridges.Remove(ctx, name)
}

func (s *Source) PauseBridge(ctx context.Context, name string, paused bool) (adminapi.Bridge, error) {
	return s.c.Bridges.Pause(ctx, name, paused)
}
