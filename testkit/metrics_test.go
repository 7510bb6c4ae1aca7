package testkit_test

import (
	"io"
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"github.com/robustmq/rmq/testkit"
)

// scrape returns the numbers of /metrics, by name with labels.
func scrape(t *testing.T, b *testkit.Broker) map[string]float64 {
	t.Helper()
	resp := must(http.Get(b.HTTP() + "/metrics"))(t)
	defer resp.Body.Close()
	body := must(io.ReadAll(resp.Body))(t)
	all := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^(rmq_\S+) (\S+)$`).FindAllStringSubmatch(string(body), -1) {
		all[m[1]] = must(strconv.ParseFloat(m[2], 64))(t)
	}
	return all
}

// What an operator watches of the log moves with what is published.
func TestLogMetrics(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t, testkit.DataDir(t.TempDir()))
	before := scrape(t, b)
	c := connect(t, b, nil)
	for range 20 {
		done(t, c.Publish("sensors/a", 1, false, "twenty-one bytes each"))
	}
	after := scrape(t, b)
	rose := func(name string, least float64) {
		t.Helper()
		was, there := before[name]
		if now := after[name]; !there || now-was < least {
			t.Errorf("%s was %v (%v) and is %v", name, was, there, now)
		}
	}
	rose(`rmq_payload_bytes_in_total{protocol="mqtt"}`, 20*21)
	rose(`rmq_log_bytes_written_total`, 20*21)
	rose(`rmq_log_group_bytes_count`, 20)
	rose(`rmq_log_group_bytes_sum`, 20*21)
	rose(`rmq_log_group_entries_sum`, 20)
	if after["rmq_log_write_amplification"] < 1 {
		t.Errorf("%v bytes written for each", after["rmq_log_write_amplification"])
	}
	if n := after["rmq_log_fsync_seconds_count"]; n < 1 || after[`rmq_log_fsync_seconds_bucket{le="+Inf"}`] != n {
		t.Errorf("%v syncs", n)
	}
	for name, want := range map[string]float64{"rmq_log_files": 1, "rmq_log_full": 0, "rmq_segment_bytes_written_total": 0,
		`rmq_shard_waiting_bytes{kind="publish",shard="1"}`: 0, `rmq_shard_waiting_bytes{kind="control",shard="1"}`: 0,
		`rmq_shard_crowded{shard="1"}`: 0, `rmq_shard_gated{shard="1"}`: 0, `rmq_publishes_waiting{protocol="mqtt"}`: 0,
		`rmq_shard_apply_lag_entries{shard="1"}`: 0, `rmq_shard_apply_lag_seconds{shard="1"}`: 0, `rmq_checkpoint_bytes_written_total{shard="1"}`: 0} {
		if got, there := after[name]; got != want || !there {
			t.Errorf("%s is %v (%v), want %v", name, got, there, want)
		}
	}
}
