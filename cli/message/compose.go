package message

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

// compose is what the flags say of a message that is sent.
type compose struct {
	base64     bool
	null       bool
	key        string
	headers    []string
	properties []string
	qos        int
	retain     bool
	partition  int
	priority   int
	expires    env.Duration
	delay      env.Duration
}

func (p *compose) flags(f *pflag.FlagSet) {
	f.BoolVar(&p.base64, "base64", false, "values are base64")
	f.BoolVar(&p.null, "null", false, "send no value: Kafka's tombstone; over MQTT with --retain it clears the retained message")
	f.StringVarP(&p.key, "key", "k", "", "key")
	f.StringArrayVarP(&p.headers, "header", "H", nil, "header (MQTT: user property), as name=value; repeatable")
	f.StringArrayVarP(&p.properties, "property", "P", nil, "property, as name=value: content-type, correlation-id, reply-to, message-id, type…; repeatable")
	f.IntVar(&p.qos, "qos", 1, "MQTT QoS; over AMQP 0 is transient, else persistent")
	f.BoolVar(&p.retain, "retain", false, "keep it as the last value of its address")
	f.IntVar(&p.partition, "partition", -1, "Kafka partition; -1 goes by key")
	f.IntVar(&p.priority, "priority", 0, "AMQP priority, 0 to 255")
	f.Var(&p.expires, "expires", "how long it is worth delivering")
	f.Var(&p.delay, "delay", "how long the broker holds it back")
}

// base is what every message of this call has.
func (p *compose) base(cmd *cobra.Command) (link.Message, error) {
	m := link.Message{Retain: p.retain}
	if p.qos < 0 || p.qos > 2 {
		return m, env.Failf(env.Usage, "--qos %d is none of 0, 1, 2", p.qos)
	}
	if p.priority < 0 || p.priority > 255 {
		return m, env.Failf(env.Usage, "--priority %d is not one of 0 to 255", p.priority)
	}
	qos := uint8(p.qos)
	m.QoS, m.Priority = &qos, uint8(p.priority)
	if p.partition >= 0 {
		n := int32(p.partition)
		m.Partition = &n
	}
	if cmd.Flags().Changed("key") {
		m.Key = []byte(p.key)
	}
	for _, s := range p.headers {
		name, value, err := env.Pair(s)
		if err != nil {
			return m, env.Failf(env.Usage, "--header: %v", err)
		}
		m.Headers = append(m.Headers, link.Header{Name: name, Value: []byte(value)})
	}
	for _, s := range p.properties {
		name, value, err := env.Pair(s)
		if err != nil {
			return m, env.Failf(env.Usage, "--property: %v", err)
		}
		if m.Properties == nil {
			m.Properties = map[string]string{}
		}
		m.Properties[name] = value
	}
	return m, nil
}

// at puts in a message what depends on the protocol.
func (p *compose) at(t *link.Target, m *link.Message) {
	if t.Protocol == link.Kafka && p.partition >= 0 {
		n := int32(p.partition)
		t.Partition = &n
		m.Partition = nil
	}
	if p.delay > 0 {
		m.Headers = append(m.Headers, link.Header{Name: delayHeader(t.Protocol), Value: strconv.AppendInt(nil, time.Duration(p.delay).Milliseconds(), 10)})
	}
}

// fresh is a message with a value of its own.
func (p *compose) fresh(m link.Message, value []byte) (*link.Message, error) {
	if p.base64 {
		decoded := make([]byte, base64.StdEncoding.DecodedLen(len(value)))
		n, err := base64.StdEncoding.Decode(decoded, bytes.TrimSpace(value))
		if err != nil {
			return nil, env.Failf(env.Usage, "a value is not base64: %v", err)
		}
		value = decoded[:n]
	}
	m.Value, m.Size = value, len(value)
	return &m, nil
}

func delayHeader(protocol string) string {
	if protocol == link.AMQP {
		return "x-delay"
	}
	return "rmq-delay"
}
