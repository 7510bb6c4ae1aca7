package admin

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/robustmq/rmq/broker/adminapi"
)

// metrics serves what Overview says in Prometheus's text form.
func metrics(s *Source) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{s})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

type collector struct{ s *Source }

var (
	byProtocol = []string{"protocol"}
	describe   = func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("rmq_"+name, help, labels, nil)
	}
)

// Describe sends nothing: the set of series follows from one look at the broker.
func (collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	o, err := c.s.Overview(context.Background())
	if err != nil {
		return
	}
	counter := func(name, help string, v uint64, labels ...string) {
		var names []string
		if len(labels) > 0 {
			names = byProtocol
		}
		ch <- prometheus.MustNewConstMetric(describe(name, help, names...), prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(name, help string, v float64, labels ...string) {
		var names []string
		if len(labels) > 0 {
			names = byProtocol
		}
		ch <- prometheus.MustNewConstMetric(describe(name, help, names...), prometheus.GaugeValue, v, labels...)
	}
	for _, t := range o.Traffic {
		gauge("connections", "Connections open now.", float64(t.Connections), t.Protocol)
		gauge("publishes_waiting", "Publishes that wait for the log to take those before them.", float64(t.Waiting), t.Protocol)
		gauge("publishes_waiting_bytes", "Bytes of publishes that wait for the log to take those before them.", float64(t.WaitingBytes), t.Protocol)
		counter("messages_in_total", "Messages published by clients.", t.MessagesIn, t.Protocol)
		counter("messages_out_total", "Messages sent to clients.", t.MessagesOut, t.Protocol)
		counter("bytes_in_total", "Bytes received.", t.BytesIn, t.Protocol)
		counter("bytes_out_total", "Bytes sent.", t.BytesOut, t.Protocol)
		counter("errors_total", "Conversations that were refused or broken.", t.Errors, t.Protocol)
		counter("dropped_total", "Messages let go at a bound.", t.Dropped, t.Protocol)
		counter("throttled_total", "Times that a client was not read for a while, as it exceeded a rate or a quota.", t.Throttled, t.Protocol)
	}
	c.listeners(ch)
	gauge("streams", "Streams.", float64(o.Topics))
	gauge("stream_bytes", "Bytes held by streams.", float64(o.StreamBytes))
	gauge("queues", "Queues.", float64(o.Queues))
	gauge("queue_messages_ready", "Messages ready in queues.", float64(o.Ready))
	gauge("queue_messages_unacked", "Messages delivered and not settled.", float64(o.Unacked))
	gauge("consumers", "Consumers of queues.", float64(o.Consumers))
	gauge("sessions", "MQTT sessions.", float64(o.Sessions))
	gauge("subscriptions", "MQTT subscriptions.", float64(o.Subscriptions))
	gauge("groups", "Consumer groups.", float64(o.Groups))
	gauge("group_lag", "Records that groups have not committed.", float64(o.Lag))
	gauge("retained_messages", "Retained messages.", float64(o.Retained))
	c.bridges(ch)
	c.log(ch, &o.WAL)
	if o.Device.Total > 0 {
		gauge("device_free_bytes", "Bytes that the device has left.", float64(o.Device.Free))
		gauge("device_bytes", "Bytes of the device.", float64(o.Device.Total))
	}
	gauge("publishes_refused", "1 while publishes are refused for want of space.", is(o.Device.Refused))
	counter("publishes_refused_total", "Publishes that were refused for want of space.", o.Device.RefusedTotal)
	counter("publishes_shed_total", "Publishes that nobody waits for, let go for want of space or of room.", o.Device.ShedTotal)
	gauge("alarms", "Alarms that are on.", float64(len(o.Alarms)))
	gauge("heap_bytes", "Bytes of live heap.", float64(o.HeapBytes))
	gauge("goroutines", "Goroutines.", float64(o.Goroutines))
}

// listeners are the places where clients come in, and the certificates that they are shown.
func (c collector) listeners(ch chan<- prometheus.Metric) {
	all, shown := c.s.c.Listeners()
	open := describe("listener_connections", "Connections of a listener open now.", "listener")
	accepted := describe("listener_accepted_total", "Connections that came to a listener.", "listener")
	refused := describe("listener_refused_total", "Connections of a listener that were not served.", "listener", "reason")
	for _, l := range all {
		ch <- prometheus.MustNewConstMetric(open, prometheus.GaugeValue, float64(l.Open), l.URL)
		ch <- prometheus.MustNewConstMetric(accepted, prometheus.CounterValue, float64(l.Accepted), l.URL)
		for reason, n := range l.Refused {
			ch <- prometheus.MustNewConstMetric(refused, prometheus.CounterValue, float64(n), l.URL, reason)
		}
	}
	if shown == nil {
		return
	}
	until := describe("certificate_expires_seconds", "When a certificate that clients are shown ends, in seconds since 1970.", "file")
	for _, x := range shown.Certificates {
		ch <- prometheus.MustNewConstMetric(until, prometheus.GaugeValue, float64(x.Until.Unix()), x.File)
	}
	ch <- prometheus.MustNewConstMetric(describe("certificates_stale", "1 while files of certificates cannot be used as they are, and what they held before is."),
		prometheus.GaugeValue, is(shown.Problem != ""))
}

// bridges are those to other brokers. Every node tells how they are; what went over one, the node that
// runs it.
func (c collector) bridges(ch chan<- prometheus.Metric) {
	connected := describe("bridge_connected", "1 while a bridge is connected.", "bridge")
	queued := describe("bridge_messages_queued", "Messages that the other side of a bridge has not acknowledged.", "bridge")
	messages := describe("bridge_messages_total", "Messages that went over a bridge, since this node runs it.", "bridge", "direction")
	dropped := describe("bridge_dropped_total", "Messages that the other side of a bridge never takes.", "bridge")
	for _, b := range c.s.c.Bridges.List() {
		ch <- prometheus.MustNewConstMetric(connected, prometheus.GaugeValue, is(b.State == adminapi.BridgeConnected), b.Name)
		ch <- prometheus.MustNewConstMetric(queued, prometheus.GaugeValue, float64(b.Queued), b.Name)
		if t := b.Traffic; t != nil {
			ch <- prometheus.MustNewConstMetric(messages, prometheus.CounterValue, float64(t.In), b.Name, "in")
			ch <- prometheus.MustNewConstMetric(messages, prometheus.CounterValue, float64(t.Out), b.Name, "out")
			ch <- prometheus.MustNewConstMetric(dropped, prometheus.CounterValue, float64(t.Dropped), b.Name)
		}
	}
}
