package kernel

import "github.com/robustmq/rmq/broker/kernel/shard"

func (k *Kernel) groupEffect(s *shardRun, e *shard.Effect) {}
