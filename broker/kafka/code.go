package kafka

import (
	"errors"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/record"
)

// code is one of Kafka's error codes.
type code = int16

const (
	codeUnknown               code = -1 // UNKNOWN_SERVER_ERROR
	codeNone                  code = 0
	codeOffsetOutOfRange      code = 1
	codeCorruptMessage        code = 2
	codeUnknownTopic          code = 3 // UNKNOWN_TOPIC_OR_PARTITION
	codeLeaderNone            code = 5 // LEADER_NOT_AVAILABLE
	codeNotLeader             code = 6 // NOT_LEADER_OR_FOLLOWER
	codeTimedOut              code = 7
	codeMessageTooLarge       code = 10
	codeMetadataTooLarge      code = 12 // OFFSET_METADATA_TOO_LARGE
	codeCoordinatorLoading    code = 14 // COORDINATOR_LOAD_IN_PROGRESS
	codeCoordinatorNone       code = 15 // COORDINATOR_NOT_AVAILABLE
	codeNotCoordinator        code = 16
	codeInvalidTopic          code = 17 // INVALID_TOPIC_EXCEPTION
	codeNotEnoughReplicas     code = 19
	codeInvalidAcks           code = 21
	codeIllegalGeneration     code = 22
	codeInconsistentProtocol  code = 23
	codeInvalidGroup          code = 24
	codeUnknownMember         code = 25
	codeInvalidSessionTimeout code = 26
	codeRebalanceInProgress   code = 27
	codeInvalidCommitSize     code = 28
	codeTopicDenied           code = 29
	codeGroupDenied           code = 30
	codeClusterDenied         code = 31
	codeInvalidTimestamp      code = 32
	codeUnsupportedMechanism  code = 33
	codeIllegalSASLState      code = 34
	codeUnsupportedVersion    code = 35
	codeTopicExists           code = 36
	codeInvalidPartitions     code = 37
	codeInvalidReplication    code = 38
	codeInvalidAssignment     code = 39
	codeInvalidConfig         code = 40
	codeInvalidRequest        code = 42
	codeUnsupportedFormat     code = 43
	codePolicyViolation       code = 44
	codeOutOfOrderSequence    code = 45
	codeInvalidProducerEpoch  code = 47
	codeTxnDenied             code = 53 // TRANSACTIONAL_ID_AUTHORIZATION_FAILED
	codeSecurityDisabled      code = 54
	codeStorage               code = 56
	codeSASLFailed            code = 58
	codeNonEmptyGroup         code = 68
	codeGroupNotFound         code = 69
	codeSessionNotFound       code = 70 // FETCH_SESSION_ID_NOT_FOUND
	codeSessionEpoch          code = 71 // INVALID_FETCH_SESSION_EPOCH
	codeListenerNotFound      code = 72
	codeFencedEpoch           code = 74 // FENCED_LEADER_EPOCH
	codeUnknownEpoch          code = 75 // UNKNOWN_LEADER_EPOCH
	codeUnsupportedCodec      code = 76 // UNSUPPORTED_COMPRESSION_TYPE
	codeMemberIDRequired      code = 79
	codeNoPreferredLeader     code = 80 // PREFERRED_LEADER_NOT_AVAILABLE
	codeGroupMaxSize          code = 81
	codeFencedInstance        code = 82
	codeNoEligibleLeaders     code = 83 // ELIGIBLE_LEADERS_NOT_AVAILABLE
	codeElectionNotNeeded     code = 84
	codeNoReassignment        code = 85 // NO_REASSIGNMENT_IN_PROGRESS
	codeSubscribedTopic       code = 86 // GROUP_SUBSCRIBED_TO_TOPIC
	codeInvalidRecord         code = 87
	codeUnstableCommit        code = 88
	codeThrottling            code = 89
	codeUnknownTopicID        code = 100
	codeSessionTopicID        code = 106 // FETCH_SESSION_TOPIC_ID_ERROR
	codeMismatchedEndpoint    code = 114
	codeUnsupportedEndpoint   code = 115
)

// kinds is this protocol's reading of the kernel's errors, where what was asked for is
// a partition. Callers with another subject (a group, a topic to be created) treat
// their own kinds first and leave the rest to it.
var kinds = map[fault.Kind]code{
	fault.Internal:     codeUnknown,
	fault.Invalid:      codeInvalidRequest,
	fault.NotFound:     codeUnknownTopic,
	fault.Exists:       codeTopicExists,
	fault.Conflict:     codeInvalidRequest,
	fault.Denied:       codeTopicDenied,
	fault.Unauthorized: codeSASLFailed,
	fault.Locked:       codeInvalidRequest,
	fault.TooLarge:     codeMessageTooLarge,
	fault.Exhausted:    codeThrottling,
	fault.Unavailable:  codeNotLeader,
	fault.Timeout:      codeTimedOut,
	fault.Unsupported:  codeUnsupportedVersion,
	fault.Fenced:       codeInvalidProducerEpoch,
	fault.OutOfRange:   codeOffsetOutOfRange,
	fault.OutOfOrder:   codeOutOfOrderSequence,
	fault.Full:         codeStorage,
	fault.Damaged:      codeStorage,
}

// codeOf returns the error code for err; 0 for nil.
func codeOf(err error) code {
	if err == nil {
		return codeNone
	}
	if c, ok := kinds[fault.KindOf(err)]; ok {
		return c
	}
	return codeUnknown
}

// appendCode is codeOf for a batch that was not appended. A full buffer becomes
// NOT_ENOUGH_REPLICAS: every client takes that for a reason to send the same batch
// again a little later, and of THROTTLING_QUOTA_EXCEEDED, which says it better, for a
// final failure.
func appendCode(err error) code {
	if fault.Is(err, fault.Exhausted) {
		return codeNotEnoughReplicas
	}
	return codeOf(err)
}

// recordCode is the error code for a batch that package record refuses.
func recordCode(err error) code {
	switch {
	case errors.Is(err, record.ErrTooLarge), errors.Is(err, record.ErrInflated):
		return codeMessageTooLarge
	case errors.Is(err, record.ErrMagic), errors.Is(err, record.ErrInvalid):
		return codeInvalidRecord
	}
	return codeCorruptMessage
}

// groupCode is codeOf where what was asked for is a group's coordinator.
func groupCode(err error) code {
	if err == nil {
		return codeNone
	}
	switch fault.KindOf(err) {
	case fault.NotFound:
		return codeGroupNotFound
	case fault.Unavailable:
		return codeNotCoordinator
	case fault.Exhausted:
		return codeCoordinatorNone
	case fault.Denied:
		return codeGroupDenied
	}
	return codeOf(err)
}
