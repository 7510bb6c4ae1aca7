package admin

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/telemetry"
)

// wal is how the log stands.
func (s *Source) wal() adminapi.WAL {
	l := s.c.WAL()
	w := adminapi.WAL{
		Bytes: l.Bytes, Syncs: l.Syncs, Groups: l.Groups, Files: l.Files, Room: l.Room, Full: l.Full,
		SyncP50: l.SyncTime.Quantile(0.5), SyncP99: l.SyncTime.Quantile(0.99), GroupEntries: l.GroupEntries.Mean(),
		Segments: l.SegmentBytes,
	}
	in := s.c.Kernel.Stats()
	for i := range in.InBytes {
		w.Payload += in.InBytes[i].Load()
	}
	for _, p := range l.Pins {
		w.Pins = append(w.Pins, adminapi.Pin{Shard: uint32(p.Shard), Files: p.Files, Bytes: p.Bytes})
	}
	for _, x := range s.c.Kernel.ShardStats() {
		w.Checkpoints += x.CheckpointBytes
		lag := adminapi.ShardLag{Shard: x.Shard, Entries: x.Entries, Bytes: x.Bytes, Age: x.Age.Seconds(), Publishes: x.Queued, Control: x.Control,
			Crowded: x.Crowded, Gated: x.Gated, CheckpointAge: -1, CheckpointTook: x.CheckpointTook.Seconds()}
		if x.CheckpointAge >= 0 {
			lag.CheckpointAge = x.CheckpointAge.Seconds()
		}
		w.Shards = append(w.Shards, lag)
	}
	if w.Payload > 0 && w.Bytes > 0 {
		w.Amplification = float64(w.Bytes+w.Segments+w.Checkpoints) / float64(w.Payload)
	}
	return w
}

// log sends the numbers of the log and of the shards on it.
func (c collector) log(ch chan<- prometheus.Metric, w *adminapi.WAL) {
	send := func(kind prometheus.ValueType, name, help string, v float64, labels ...string) {
		var names, values []string
		for i := 0; i+1 < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		ch <- prometheus.MustNewConstMetric(describe(name, help, names...), kind, v, values...)
	}
	counter := func(name, help string, v uint64, labels ...string) {
		send(prometheus.CounterValue, name, help, float64(v), labels...)
	}
	gauge := func(name, help string, v float64, labels ...string) {
		send(prometheus.GaugeValue, name, help, v, labels...)
	}
	histogram := func(name, help string, x telemetry.Snapshot, labels ...string) {
		var names, values []string
		for i := 0; i+1 < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		buckets := make(map[float64]uint64, len(x.Bounds))
		var seen uint64
		for i, bound := range x.Bounds {
			seen += x.Counts[i]
			buckets[bound] = seen
		}
		ch <- prometheus.MustNewConstHistogram(describe(name, help, names...), x.Count(), x.Sum, buckets, values...)
	}
	stats := c.s.c.WAL()
	counter("log_bytes_written_total", "Bytes written to the log, framing included.", w.Bytes)
	histogram("log_fsync_seconds", "Time that the device took to make the log durable, for each sync.", stats.SyncTime)
	histogram("log_group_bytes", "Bytes of one write of the log.", stats.GroupBytes)
	histogram("log_group_entries", "Entries in one write of the log.", stats.GroupEntries)
	gauge("log_files", "Files of the log that hold entries now.", float64(w.Files))
	gauge("log_room_bytes", "Bytes that the log can take before the device must give more.", float64(w.Room))
	gauge("log_full", "1 while the device gives the log no space.", is(w.Full))
	for _, p := range w.Pins {
		gauge("log_pinned_bytes", "Bytes of log files that are kept for a shard whose checkpoint does not cover them.", float64(p.Bytes), "shard", shardLabel(p.Shard))
	}
	counter("segment_bytes_written_total", "Bytes of records moved from the log to segments.", w.Segments)
	in := c.s.c.Kernel.Stats()
	for i := range in.InBytes {
		counter("payload_bytes_in_total", "Bytes that clients published, without framing of the wire.", in.InBytes[i].Load(), "protocol", message.Protocol(i).String())
	}
	gauge("log_write_amplification", "Bytes written to log, segments and checkpoints for each byte published, since the start.", w.Amplification)
	for _, x := range c.s.c.Kernel.ShardStats() {
		label := []string{"shard", shardLabel(x.Shard)}
		gauge("shard_apply_lag_entries", "Entries that were given to a shard's log and are not applied.", float64(x.Entries), label...)
		gauge("shard_apply_lag_bytes", "Bytes of entries that were given to a shard's log and are not applied.", float64(x.Bytes), label...)
		gauge("shard_waiting_bytes", "Bytes that wait for a shard's log or are on their way through it, of publishes and of what takes away or gives leave.", float64(x.Queued), append(label, "kind", "publish")...)
		gauge("shard_waiting_bytes", "Bytes that wait for a shard's log or are on their way through it, of publishes and of what takes away or gives leave.", float64(x.Control), append(label, "kind", "control")...)
		gauge("shard_crowded", "1 while a shard lets no publishes in until those that wait are written.", is(x.Crowded), label...)
		gauge("shard_gated", "1 while a shard's publishes wait until the device gives the log space.", is(x.Gated), label...)
		gauge("shard_apply_lag_seconds", "Age of a shard's oldest entry that is not applied.", x.Age.Seconds(), label...)
		histogram("checkpoint_seconds", "Time that a checkpoint took, its segments included.", x.Checkpoints, label...)
		counter("checkpoint_bytes_written_total", "Bytes of keys and values written to checkpoints.", x.CheckpointBytes, label...)
		if x.CheckpointAge >= 0 {
			gauge("checkpoint_age_seconds", "Time since a shard's last checkpoint.", x.CheckpointAge.Seconds(), label...)
		}
	}
}

// is is a truth as a gauge.
func is(so bool) float64 {
	if so {
		return 1
	}
	return 0
}

func shardLabel(id uint32) string { return strconv.FormatUint(uint64(id), 10) }
