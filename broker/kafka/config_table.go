package kafka

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Types of settings, as DescribeConfigs names them.
const (
	typeBool   = kmsg.ConfigTypeBoolean
	typeString = kmsg.ConfigTypeString
	typeInt    = kmsg.ConfigTypeInt
	typeLong   = kmsg.ConfigTypeLong
	typeDouble = kmsg.ConfigTypeDouble
	typeList   = kmsg.ConfigTypeList
)

// configKey is one row of the tables below: a name that Kafka gives a setting, its type,
// its default, and what it does here.
type configKey struct {
	name   string
	kind   kmsg.ConfigType
	def    string
	broker string   // of a topic's setting: the broker's that it falls back to
	oneOf  []string // values, or elements of a list; nil: any
	min    float64  // numbers
	max    float64  // numbers; 0: as large as the type allows
	doc    string
}

const maxLong = "9223372036854775807"

// topicSettings is what a topic can be given, in the order of names. All are kept and
// shown; a doc that ends in "no effect" says that there is nothing here for the setting
// to steer.
var topicSettings = []configKey{
	{name: "cleanup.policy", kind: typeList, def: "delete", broker: "log.cleanup.policy", oneOf: []string{"compact", "delete"}, doc: "What becomes of old records: delete by age and size, compact to the last of each key, or both."},
	{name: "compression.gzip.level", kind: typeInt, def: "-1", broker: "compression.gzip.level", min: -1, max: 9, doc: "Level of gzip where the broker compresses; no effect."},
	{name: "compression.lz4.level", kind: typeInt, def: "9", broker: "compression.lz4.level", min: 1, max: 17, doc: "Level of lz4 where the broker compresses; no effect."},
	{name: "compression.type", kind: typeString, def: "producer", broker: "compression.type", oneOf: []string{"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"}, doc: "Codec of stored batches. producer keeps what was sent."},
	{name: "compression.zstd.level", kind: typeInt, def: "3", broker: "compression.zstd.level", min: -131072, max: 22, doc: "Level of zstd where the broker compresses; no effect."},
	{name: "delete.retention.ms", kind: typeLong, def: "86400000", broker: "log.cleaner.delete.retention.ms", doc: "How long compaction keeps a deletion (null value) for readers to see."},
	{name: kernel.DurabilityConfig, kind: typeString, def: string(kernel.Sync), oneOf: []string{string(kernel.Sync), string(kernel.Async), string(kernel.Memory)}, doc: "What an acknowledgement has waited for: the device, the operating system, or nothing that outlives the broker. Decided when the topic is created, by its namespace where it is not given, and never changed."},
	{name: "file.delete.delay.ms", kind: typeLong, def: "60000", broker: "log.segment.delete.delay.ms", doc: "How long a deleted file stays on disk; no effect."},
	{name: "flush.messages", kind: typeLong, def: maxLong, broker: "log.flush.interval.messages", min: 1, doc: "Records between flushes. An append is as durable when it is acknowledged as its stream says: no effect."},
	{name: "flush.ms", kind: typeLong, def: maxLong, broker: "log.flush.interval.ms", doc: "Time between flushes. An append is as durable when it is acknowledged as its stream says: no effect."},
	{name: "follower.replication.throttled.replicas", kind: typeList, def: "", doc: "Replicas whose following is throttled; no effect."},
	{name: "index.interval.bytes", kind: typeInt, def: "4096", broker: "log.index.interval.bytes", doc: "Bytes between index entries; no effect."},
	{name: "leader.replication.throttled.replicas", kind: typeList, def: "", doc: "Replicas whose leading is throttled; no effect."},
	{name: "local.retention.bytes", kind: typeLong, def: "-2", broker: "log.local.retention.bytes", min: -2, doc: "Bytes kept outside of tiered storage; no effect."},
	{name: "local.retention.ms", kind: typeLong, def: "-2", broker: "log.local.retention.ms", min: -2, doc: "Time kept outside of tiered storage; no effect."},
	{name: "max.compaction.lag.ms", kind: typeLong, def: maxLong, broker: "log.cleaner.max.compaction.lag.ms", min: 1, doc: "The longest that a record escapes compaction."},
	{name: "max.message.bytes", kind: typeInt, def: "1048588", broker: "message.max.bytes", doc: "Bytes of the largest batch that may be appended."},
	{name: "message.timestamp.after.max.ms", kind: typeLong, def: "3600000", broker: "log.message.timestamp.after.max.ms", doc: "How far ahead of the broker a record's time may be."},
	{name: "message.timestamp.before.max.ms", kind: typeLong, def: maxLong, broker: "log.message.timestamp.before.max.ms", doc: "How far behind the broker a record's time may be."},
	{name: "message.timestamp.type", kind: typeString, def: "CreateTime", broker: "log.message.timestamp.type", oneOf: []string{"CreateTime", "LogAppendTime"}, doc: "Whose clock a record's time is of: the producer's or the broker's."},
	{name: "min.cleanable.dirty.ratio", kind: typeDouble, def: "0.5", broker: "log.cleaner.min.cleanable.ratio", max: 1, doc: "Share of a log that must be new before it is compacted."},
	{name: "min.compaction.lag.ms", kind: typeLong, def: "0", broker: "log.cleaner.min.compaction.lag.ms", doc: "How long a record is safe from compaction."},
	{name: "min.insync.replicas", kind: typeInt, def: "1", broker: "min.insync.replicas", min: 1, doc: "Replicas that there must be for an append with acks=all to be taken."},
	{name: "preallocate", kind: typeBool, def: "false", broker: "log.preallocate", doc: "Make files in full length; no effect."},
	{name: "remote.log.copy.disable", kind: typeBool, def: "false", doc: "Stop moving records to tiered storage; no effect."},
	{name: "remote.log.delete.on.disable", kind: typeBool, def: "false", doc: "Drop tiered records when tiering is turned off; no effect."},
	{name: "remote.storage.enable", kind: typeBool, def: "false", oneOf: []string{"false"}, doc: "Move old records to tiered storage. Not offered."},
	{name: "retention.bytes", kind: typeLong, def: "-1", broker: "log.retention.bytes", min: -1, doc: "Bytes that a partition keeps, its newest batch at any rate; -1 sets no bound."},
	{name: "retention.ms", kind: typeLong, def: "604800000", broker: "log.retention.ms", min: -1, doc: "How long records are kept; -1 sets no bound."},
	{name: "retention.records", kind: typeLong, def: "-1", min: -1, doc: "Records that a partition keeps, counted by offsets; -1 sets no bound. Not one of Kafka's."},
	{name: "segment.bytes", kind: typeInt, def: "67108864", broker: "log.segment.bytes", min: 1 << 20, doc: "Bytes of a file of the log, at most 1 GiB: what is given back to the device at once, and what compaction waits for."},
	{name: "segment.index.bytes", kind: typeInt, def: "10485760", broker: "log.index.size.max.bytes", min: 4, doc: "Bytes of a file's index; no effect."},
	{name: "segment.jitter.ms", kind: typeLong, def: "0", broker: "log.roll.jitter.ms", doc: "Chance in when files are begun; no effect."},
	{name: "segment.ms", kind: typeLong, def: "604800000", broker: "log.roll.ms", min: 1, doc: "How long before a new file is begun all the same, and what is in the old one can be compacted."},
	{name: "unclean.leader.election.enable", kind: typeBool, def: "false", broker: "unclean.leader.election.enable", doc: "Let a replica lead that lacks acknowledged records. Never done: no effect."},
}

// brokerSettings is what DescribeConfigs tells of the broker besides the topics' defaults.
// None can be changed while it runs.
var brokerSettings = []configKey{
	{name: "auto.create.topics.enable", kind: typeBool, def: "true", doc: "Make a topic when a client asks for the metadata of one that is not there."},
	{name: "broker.id", kind: typeInt, def: "0", min: -1, doc: "Number of this node."},
	{name: "broker.rack", kind: typeString, def: "", doc: "Where this node stands."},
	{name: "connections.max.idle.ms", kind: typeLong, def: "600000", doc: "How long a connection may send nothing."},
	{name: "default.replication.factor", kind: typeInt, def: "1", min: 1, doc: "Replicas of a topic whose creator does not say."},
	{name: "delete.topic.enable", kind: typeBool, def: "true", doc: "Allow topics to be deleted."},
	{name: "fetch.max.bytes", kind: typeInt, def: "57671680", min: 1024, doc: "Bytes of the largest answer to a fetch, unless one batch is larger."},
	{name: "group.initial.rebalance.delay.ms", kind: typeInt, def: "3000", doc: "How long a new consumer group waits for more members."},
	{name: "group.max.session.timeout.ms", kind: typeInt, def: "1800000", doc: "The longest session timeout that a member may ask for."},
	{name: "group.max.size", kind: typeInt, def: "2147483647", min: 1, doc: "Members of the largest consumer group."},
	{name: "group.min.session.timeout.ms", kind: typeInt, def: "6000", doc: "The shortest session timeout that a member may ask for."},
	{name: "log.dir", kind: typeString, def: "memory", doc: "Where records are kept."},
	{name: "log.dirs", kind: typeString, def: "memory", doc: "Where records are kept."},
	{name: "log.retention.hours", kind: typeInt, def: "168", doc: "log.retention.ms in hours; no effect beside it."},
	{name: "log.roll.hours", kind: typeInt, def: "168", doc: "log.roll.ms in hours; no effect beside it."},
	{name: "max.connections", kind: typeInt, def: "2147483647", doc: "Connections at once."},
	{name: "max.incremental.fetch.session.cache.slots", kind: typeInt, def: "1000", doc: "Fetch sessions that are remembered."},
	{name: "node.id", kind: typeInt, def: "0", doc: "Number of this node."},
	{name: "num.partitions", kind: typeInt, def: "1", min: 1, doc: "Partitions of a topic whose creator does not say."},
	{name: "offset.metadata.max.bytes", kind: typeInt, def: "4096", doc: "Bytes of the longest note on a committed offset."},
	{name: "offsets.retention.minutes", kind: typeInt, def: "10080", min: 1, doc: "How long an empty consumer group keeps its offsets."},
	{name: "sasl.enabled.mechanisms", kind: typeList, def: "PLAIN", doc: "How clients may authenticate."},
	{name: "socket.request.max.bytes", kind: typeInt, def: "104857600", min: 1, doc: "Bytes of the largest request."},
}

// settingNamed finds a topic's setting.
func settingNamed(name string) *configKey {
	i, ok := slices.BinarySearchFunc(topicSettings, name, func(s configKey, n string) int { return strings.Compare(s.name, n) })
	if !ok {
		return nil
	}
	return &topicSettings[i]
}

// check tells what is wrong with a value; "" when nothing is.
func (s *configKey) check(value string) string {
	v := strings.TrimSpace(value)
	switch s.kind {
	case typeBool:
		if !strings.EqualFold(v, "true") && !strings.EqualFold(v, "false") {
			return "Expected value to be either true or false"
		}
		v = strings.ToLower(v)
	case typeInt, typeLong:
		bits, name := 32, "INT"
		if s.kind == typeLong {
			bits, name = 64, "LONG"
		}
		n, err := strconv.ParseInt(v, 10, bits)
		if err != nil {
			return "Not a number of type " + name
		}
		return s.checkRange(float64(n))
	case typeDouble:
		n, err := strconv.ParseFloat(v, 64)
		if err != nil || math.IsNaN(n) {
			return "Not a number of type DOUBLE"
		}
		return s.checkRange(n)
	case typeList:
		for _, e := range splitList(v) {
			if s.oneOf != nil && !slices.Contains(s.oneOf, e) {
				return "String must be one of: " + strings.Join(s.oneOf, ", ")
			}
		}
		return ""
	}
	if s.oneOf != nil && !slices.Contains(s.oneOf, v) {
		return "String must be one of: " + strings.Join(s.oneOf, ", ")
	}
	return ""
}

func (s *configKey) checkRange(n float64) string {
	switch {
	case n < s.min:
		return "Value must be at least " + strconv.FormatFloat(s.min, 'f', -1, 64)
	case s.max != 0 && n > s.max:
		return "Value must be no more than " + strconv.FormatFloat(s.max, 'f', -1, 64)
	}
	return ""
}

// splitList reads a value of type list.
func splitList(v string) []string {
	if strings.TrimSpace(v) == "" {
		return nil
	}
	list := strings.Split(v, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// checkTopicConfig refuses a configuration that no topic can have.
func checkTopicConfig(config map[string]string) *refusal {
	for _, name := range sortedKeys(config) {
		s := settingNamed(name)
		if s == nil {
			return refusef(codeInvalidConfig, "Unknown topic config name: %s", name)
		}
		if wrong := s.check(config[name]); wrong != "" {
			return refusef(codeInvalidConfig, "Invalid value %s for configuration %s: %s", config[name], name, wrong)
		}
	}
	lag := func(name string, def int64) int64 {
		n, err := strconv.ParseInt(strings.TrimSpace(config[name]), 10, 64)
		if err != nil {
			return def
		}
		return n
	}
	if least, most := lag("min.compaction.lag.ms", 0), lag("max.compaction.lag.ms", math.MaxInt64); least > most {
		return refusef(codeInvalidConfig, "conflict topic config setting min.compaction.lag.ms (%d) > max.compaction.lag.ms (%d)", least, most)
	}
	return nil
}

// CheckTopicConfig tells whether a topic that has a configuration can be given another: fault.Invalid for
// names that there are not, and for values that they do not take.
func CheckTopicConfig(topic string, has, set map[string]string, del []string) error {
	const op = "configure topic"
	next := maps.Clone(has)
	if next == nil {
		next = make(map[string]string)
	}
	maps.Copy(next, set)
	for _, name := range del {
		if _, ok := next[name]; !ok && settingNamed(name) == nil {
			return fault.New(fault.Invalid, op, topic, "%s", unknownSetting(name))
		}
		delete(next, name)
	}
	for _, name := range sortedKeys(next) {
		if settingNamed(name) == nil {
			return fault.New(fault.Invalid, op, topic, "%s", unknownSetting(name))
		}
	}
	if no := checkTopicConfig(next); no != nil {
		return fault.New(fault.Invalid, op, topic, "%s", no.message)
	}
	return nil
}

func unknownSetting(name string) string {
	names := make([]string, 0, len(topicSettings))
	for i := range topicSettings {
		names = append(names, topicSettings[i].name)
	}
	if near := grammar.Closest(name, names); near != "" {
		return "unknown setting " + strconv.Quote(name) + "; did you mean " + near + "?"
	}
	return "unknown setting " + strconv.Quote(name)
}
