package chaos

import (
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// names are what there is at each seam.
var names = [seams][]string{
	Conn:  {"mqtt", "kafka", "amqp", "http"},
	MQTT:  mqttNames(),
	Kafka: kafkaNames(),
	AMQP:  amqpNames(),
	Disk:  {"open", "create", "rename", "remove", "read", "write", "truncate", "reserve", "sync"},
}

func mqttNames() (all []string) {
	for t := mqttwire.CONNECT; t <= mqttwire.AUTH; t++ {
		all = append(all, t.String())
	}
	return all
}

// kafkaKeys is one past the last key of an API that is looked for a name of.
const kafkaKeys = 128

func kafkaNames() (all []string) {
	for key := range int16(kafkaKeys) {
		if n := kmsg.NameForKey(key); n != "Unknown" {
			all = append(all, n)
		}
	}
	return all
}

func amqpNames() (all []string) {
	for _, class := range []amqpwire.MethodID{20, 30, 40, 50, 60, 85, 90} { // channel and above: connection has its handshake
		for method := range amqpwire.MethodID(130) {
			if name := (class<<16 | method).String(); strings.Contains(name, ".") {
				all = append(all, name)
			}
		}
	}
	return all
}

// mqttWay is the direction that the name of a packet alone means.
func mqttWay(packet string) way {
	switch packet {
	case "CONNECT", "SUBSCRIBE", "UNSUBSCRIBE", "PINGREQ":
		return in
	}
	return out
}

// amqpWay is the direction that the name of a method alone means.
func amqpWay(method string) way {
	switch method {
	case "basic.ack", "basic.deliver":
		return out // to a publisher: a confirm
	}
	return in
}

// code reads a code of a seam's protocol, by name or number.
func code(s Seam, text string) (int, error) {
	n, err := strconv.ParseInt(text, 0, 16)
	number := err == nil
	same := func(name string) bool { return plain(name) == plain(text) }
	switch s {
	case MQTT:
		if number && n >= 0 && n <= 0xff {
			return int(n), nil
		}
		for r := range 0x100 {
			if same(mqttwire.Reason(r).String()) {
				return r, nil
			}
		}
		return 0, invalid("code: %q is no reason code of MQTT, such as \"quota exceeded\" or 0x97", text)
	case Kafka:
		if number && n >= -1 && n != 0 {
			return int(n), nil
		}
		if strings.EqualFold(text, "UNKNOWN_SERVER_ERROR") {
			return -1, nil
		}
		if text = strings.ToUpper(text); text == "NOT_LEADER_FOR_PARTITION" { // until Kafka 2.6
			text = "NOT_LEADER_OR_FOLLOWER"
		}
		for i, name := range kafkaCodes {
			if name == text && i > 0 {
				return i, nil
			}
		}
		return 0, invalid("code: %q is no error code of Kafka, such as NOT_LEADER_OR_FOLLOWER or 6%s", text, near(text, kafkaCodes[:]))
	}
	if number && n >= 300 && n < 600 {
		return int(n), nil
	}
	for c := range uint16(600) {
		if c >= 300 && same(amqpwire.CodeName(c)) {
			return int(c), nil
		}
	}
	return 0, invalid("code: %q is no reply code of AMQP, such as PRECONDITION_FAILED or 406", text)
}

// plain is a name without what people write differently.
func plain(s string) string {
	return strings.ToLower(strings.NewReplacer("_", " ", "-", " ").Replace(s))
}

func codeDefault(s Seam, do Effect) int {
	switch {
	case s == MQTT && do == Disconnect:
		return int(mqttwire.ServerBusy)
	case s == AMQP && do == Disconnect:
		return amqpwire.ConnectionForced
	case s == AMQP && do == Close:
		return amqpwire.PreconditionFailed
	}
	return 0
}

// fits refuses a code that the protocol does not have there.
func (c *rule) fits() error {
	switch {
	case c.seam == MQTT:
		packet, r := mqttwire.DISCONNECT, mqttwire.Reason(c.code)
		if c.Do == Answer {
			packet = answerOf(c.what)
		}
		if !r.AllowedIn(packet) {
			return invalid("code: %q cannot be in %s", r.String(), packet)
		}
	case c.seam == AMQP && c.Do == Close:
		switch c.code {
		case amqpwire.ContentTooLarge, amqpwire.NoRoute, amqpwire.NoConsumers, amqpwire.AccessRefused, amqpwire.NotFound,
			amqpwire.ResourceLocked, amqpwire.PreconditionFailed:
		default:
			return invalid("code: %s ends a connection, not a channel; do: disconnect", amqpwire.CodeName(uint16(c.code)))
		}
	}
	return nil
}

// answerOf is the packet in which the code of an answer goes.
func answerOf(packet string) mqttwire.Type {
	switch packet {
	case "CONNECT":
		return mqttwire.CONNACK
	case "PUBLISH":
		return mqttwire.PUBACK
	case "SUBSCRIBE":
		return mqttwire.SUBACK
	}
	for t := mqttwire.CONNECT; t <= mqttwire.AUTH; t++ {
		if t.String() == packet {
			return t
		}
	}
	return 0
}

// kafkaCodes are the names of Kafka's error codes, by code.
var kafkaCodes = [...]string{
	"NONE", "OFFSET_OUT_OF_RANGE", "CORRUPT_MESSAGE", "UNKNOWN_TOPIC_OR_PARTITION", "INVALID_FETCH_SIZE", "LEADER_NOT_AVAILABLE",
	"NOT_LEADER_OR_FOLLOWER", "REQUEST_TIMED_OUT", "BROKER_NOT_AVAILABLE", "REPLICA_NOT_AVAILABLE", "MESSAGE_TOO_LARGE",
	"STALE_CONTROLLER_EPOCH", "OFFSET_METADATA_TOO_LARGE", "NETWORK_EXCEPTION", "COORDINATOR_LOAD_IN_PROGRESS",
	"COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "INVALID_TOPIC_EXCEPTION", "RECORD_LIST_TOO_LARGE", "NOT_ENOUGH_REPLICAS",
	"NOT_ENOUGH_REPLICAS_AFTER_APPEND", "INVALID_REQUIRED_ACKS", "ILLEGAL_GENERATION", "INCONSISTENT_GROUP_PROTOCOL",
	"INVALID_GROUP_ID", "UNKNOWN_MEMBER_ID", "INVALID_SESSION_TIMEOUT", "REBALANCE_IN_PROGRESS", "INVALID_COMMIT_OFFSET_SIZE",
	"TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED", "INVALID_TIMESTAMP",
	"UNSUPPORTED_SASL_MECHANISM", "ILLEGAL_SASL_STATE", "UNSUPPORTED_VERSION", "TOPIC_ALREADY_EXISTS", "INVALID_PARTITIONS",
	"INVALID_REPLICATION_FACTOR", "INVALID_REPLICA_ASSIGNMENT", "INVALID_CONFIG", "NOT_CONTROLLER", "INVALID_REQUEST",
	"UNSUPPORTED_FOR_MESSAGE_FORMAT", "POLICY_VIOLATION", "OUT_OF_ORDER_SEQUENCE_NUMBER", "DUPLICATE_SEQUENCE_NUMBER",
	"INVALID_PRODUCER_EPOCH", "INVALID_TXN_STATE", "INVALID_PRODUCER_ID_MAPPING", "INVALID_TRANSACTION_TIMEOUT",
	"CONCURRENT_TRANSACTIONS", "TRANSACTION_COORDINATOR_FENCED", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "SECURITY_DISABLED",
	"OPERATION_NOT_ATTEMPTED", "KAFKA_STORAGE_ERROR", "LOG_DIR_NOT_FOUND", "SASL_AUTHENTICATION_FAILED", "UNKNOWN_PRODUCER_ID",
	"REASSIGNMENT_IN_PROGRESS", "DELEGATION_TOKEN_AUTH_DISABLED", "DELEGATION_TOKEN_NOT_FOUND", "DELEGATION_TOKEN_OWNER_MISMATCH",
	"DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", "DELEGATION_TOKEN_AUTHORIZATION_FAILED", "DELEGATION_TOKEN_EXPIRED",
	"INVALID_PRINCIPAL_TYPE", "NON_EMPTY_GROUP", "GROUP_ID_NOT_FOUND", "FETCH_SESSION_ID_NOT_FOUND", "INVALID_FETCH_SESSION_EPOCH",
	"LISTENER_NOT_FOUND", "TOPIC_DELETION_DISABLED", "FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH", "UNSUPPORTED_COMPRESSION_TYPE",
	"STALE_BROKER_EPOCH", "OFFSET_NOT_AVAILABLE", "MEMBER_ID_REQUIRED", "PREFERRED_LEADER_NOT_AVAILABLE", "GROUP_MAX_SIZE_REACHED",
	"FENCED_INSTANCE_ID", "ELIGIBLE_LEADERS_NOT_AVAILABLE", "ELECTION_NOT_NEEDED", "NO_REASSIGNMENT_IN_PROGRESS",
	"GROUP_SUBSCRIBED_TO_TOPIC", "INVALID_RECORD", "UNSTABLE_OFFSET_COMMIT", "THROTTLING_QUOTA_EXCEEDED", "PRODUCER_FENCED",
	"RESOURCE_NOT_FOUND", "DUPLICATE_RESOURCE", "UNACCEPTABLE_CREDENTIAL", "INCONSISTENT_VOTER_SET", "INVALID_UPDATE_VERSION",
	"FEATURE_UPDATE_FAILED", "PRINCIPAL_DESERIALIZATION_FAILURE", "SNAPSHOT_NOT_FOUND", "POSITION_OUT_OF_RANGE", "UNKNOWN_TOPIC_ID",
	"DUPLICATE_BROKER_REGISTRATION", "BROKER_ID_NOT_REGISTERED", "INCONSISTENT_TOPIC_ID", "INCONSISTENT_CLUSTER_ID",
	"TRANSACTIONAL_ID_NOT_FOUND", "FETCH_SESSION_TOPIC_ID_ERROR", "INELIGIBLE_REPLICA", "NEW_LEADER_ELECTED",
	"OFFSET_MOVED_TO_TIERED_STORAGE", "FENCED_MEMBER_EPOCH", "UNRELEASED_INSTANCE_ID", "UNSUPPORTED_ASSIGNOR", "STALE_MEMBER_EPOCH",
	"MISMATCHED_ENDPOINT_TYPE", "UNSUPPORTED_ENDPOINT_TYPE", "UNKNOWN_CONTROLLER_ID", "UNKNOWN_SUBSCRIPTION_ID",
	"TELEMETRY_TOO_LARGE", "INVALID_REGISTRATION", "TRANSACTION_ABORTABLE", "INVALID_RECORD_STATE", "SHARE_SESSION_NOT_FOUND",
	"INVALID_SHARE_SESSION_EPOCH", "FENCED_STATE_EPOCH", "INVALID_VOTER_KEY", "DUPLICATE_VOTER", "VOTER_NOT_FOUND",
	"INVALID_REGULAR_EXPRESSION", "REBOOTSTRAP_REQUIRED", "STREAMS_INVALID_TOPOLOGY", "STREAMS_INVALID_TOPOLOGY_EPOCH",
	"STREAMS_TOPOLOGY_FENCED", "SHARE_SESSION_LIMIT_REACHED", "GROUP_DELETION_FAILED", "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED",
	"CONTROLLER_ID_NOT_REGISTERED",
}

// codeName says a code of a seam's protocol as its specification does.
func codeName(s Seam, c int) string {
	switch {
	case s == MQTT:
		return mqttwire.Reason(c).String()
	case s == AMQP:
		return amqpwire.CodeName(uint16(c))
	case c < 0:
		return "UNKNOWN_SERVER_ERROR"
	case c < len(kafkaCodes):
		return kafkaCodes[c]
	}
	return strconv.Itoa(c)
}

// Places are what a rule's At may be, without directions: each seam, and what there is at it.
func Places() (all []string) {
	for s := range Seam(seams) {
		all = append(all, s.String())
		for _, name := range names[s] {
			all = append(all, s.String()+"/"+name)
		}
	}
	return all
}

// Effects are what may happen at a place; none where that is none.
func Effects(at string) []Effect {
	seam, _, _ := strings.Cut(at, "/")
	if i := slices.Index(seamNames[:], seam); i >= 0 {
		return effects[i]
	}
	return nil
}
