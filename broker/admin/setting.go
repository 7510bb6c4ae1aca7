package admin

import (
	"cmp"
	"context"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/setting"
)

// This file is what operators set.

func (s *Source) Settings(_ context.Context, namespace string, kind setting.Kind) ([]setting.Setting, error) {
	return s.c.Kernel.Settings(cmp.Or(namespace, adminapi.DefaultNamespace), kind), nil
}

func (s *Source) PutSetting(ctx context.Context, t setting.Setting) (setting.Setting, error) {
	t.Namespace = cmp.Or(t.Namespace, adminapi.DefaultNamespace)
	return t, s.c.Kernel.PutSetting(ctx, t)
}

func (s *Source) DeleteSetting(ctx context.Context, namespace string, kind setting.Kind, name string) error {
	return s.c.Kernel.DeleteSetting(ctx, cmp.Or(namespace, adminapi.DefaultNamespace), kind, name)
}
