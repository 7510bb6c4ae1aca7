package kafka

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Keys of the requests that the code names.
const (
	keyProduce                 = 0
	keyFetch                   = 1
	keyListOffsets             = 2
	keyMetadata                = 3
	keyOffsetCommit            = 8
	keyOffsetFetch             = 9
	keyFindCoordinator         = 10
	keyJoinGroup               = 11
	keyHeartbeat               = 12
	keyLeaveGroup              = 13
	keySyncGroup               = 14
	keyDescribeGroups          = 15
	keyListGroups              = 16
	keySASLHandshake           = 17
	keyApiVersions             = 18
	keyCreateTopics            = 19
	keyDeleteTopics            = 20
	keyDeleteRecords           = 21
	keyInitProducerID          = 22
	keyOffsetForLeaderEpoch    = 23
	keyDescribeACLs            = 29
	keyCreateACLs              = 30
	keyDeleteACLs              = 31
	keyDescribeConfigs         = 32
	keyAlterConfigs            = 33
	keyDescribeLogDirs         = 35
	keySASLAuthenticate        = 36
	keyCreatePartitions        = 37
	keyDeleteGroups            = 42
	keyElectLeaders            = 43
	keyIncrementalAlterConfigs = 44
	keyAlterReassignments      = 45
	keyListReassignments       = 46
	keyOffsetDelete            = 47
	keyDescribeClientQuotas    = 48
	keyAlterClientQuotas       = 49
	keyDescribeCluster         = 60
	keyListConfigResources     = 74
	keyDescribeTopicPartitions = 75

	apiKeys = 76 // one more than the highest
)

// never is a version that does not come: of APIs that have no flexible one.
const never = math.MaxInt16

// api is one kind of request: the versions that are served, and the first of those whose
// structures end in tagged fields.
type api struct {
	key      int16
	min, max int16
	flexible int16
}

// apis is what is offered, at the versions of Kafka 4.3.
//
// Produce is advertised from 0 on, as Kafka does: librdkafka takes a broker without the
// lowest versions for one that cannot compress (KAFKA-18659). Versions 0 to 2 are decoded,
// and answered with UNSUPPORTED_FOR_MESSAGE_FORMAT.
var apis = []api{
	{key: keyProduce, min: 0, max: 13, flexible: 9},
	{key: keyFetch, min: 4, max: 18, flexible: 12},
	{key: keyListOffsets, min: 1, max: 11, flexible: 6},
	{key: keyMetadata, min: 0, max: 13, flexible: 9},
	{key: keyOffsetCommit, min: 2, max: 10, flexible: 8},
	{key: keyOffsetFetch, min: 1, max: 10, flexible: 6},
	{key: keyFindCoordinator, min: 0, max: 6, flexible: 3},
	{key: keyJoinGroup, min: 0, max: 9, flexible: 6},
	{key: keyHeartbeat, min: 0, max: 4, flexible: 4},
	{key: keyLeaveGroup, min: 0, max: 5, flexible: 4},
	{key: keySyncGroup, min: 0, max: 5, flexible: 4},
	{key: keyDescribeGroups, min: 0, max: 6, flexible: 5},
	{key: keyListGroups, min: 0, max: 5, flexible: 3},
	{key: keySASLHandshake, min: 0, max: 1, flexible: never},
	{key: keyApiVersions, min: 0, max: 4, flexible: 3},
	{key: keyCreateTopics, min: 2, max: 7, flexible: 5},
	{key: keyDeleteTopics, min: 1, max: 6, flexible: 4},
	{key: keyDeleteRecords, min: 0, max: 2, flexible: 2},
	{key: keyInitProducerID, min: 0, max: 5, flexible: 2},
	{key: keyOffsetForLeaderEpoch, min: 2, max: 4, flexible: 4},
	{key: keyDescribeACLs, min: 1, max: 3, flexible: 2},
	{key: keyCreateACLs, min: 1, max: 3, flexible: 2},
	{key: keyDeleteACLs, min: 1, max: 3, flexible: 2},
	{key: keyDescribeConfigs, min: 1, max: 4, flexible: 4},
	{key: keyAlterConfigs, min: 0, max: 2, flexible: 2},
	{key: keyDescribeLogDirs, min: 1, max: 5, flexible: 2},
	{key: keySASLAuthenticate, min: 0, max: 2, flexible: 2},
	{key: keyCreatePartitions, min: 0, max: 3, flexible: 2},
	{key: keyDeleteGroups, min: 0, max: 2, flexible: 2},
	{key: keyElectLeaders, min: 0, max: 2, flexible: 2},
	{key: keyIncrementalAlterConfigs, min: 0, max: 1, flexible: 1},
	{key: keyAlterReassignments, min: 0, max: 1, flexible: 0},
	{key: keyListReassignments, min: 0, max: 0, flexible: 0},
	{key: keyOffsetDelete, min: 0, max: 0, flexible: never},
	{key: keyDescribeClientQuotas, min: 0, max: 1, flexible: 1},
	{key: keyAlterClientQuotas, min: 0, max: 1, flexible: 1},
	{key: keyDescribeCluster, min: 0, max: 2, flexible: 0},
	{key: keyListConfigResources, min: 0, max: 1, flexible: 0},
	{key: keyDescribeTopicPartitions, min: 0, max: 0, flexible: 0},
}

// apiByKey is apis by key.
var apiByKey = func() (t [apiKeys]*api) {
	for i := range apis {
		t[apis[i].key] = &apis[i]
	}
	return t
}()

// apiOf returns the api of a key, or nil.
func apiOf(key int16) *api {
	if key < 0 || key >= apiKeys {
		return nil
	}
	return apiByKey[key]
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// answer handles one decoded request. Together with an error, the response is still
// sent before the connection ends.
func (c *conn) answer(req kmsg.Request) (kmsg.Response, error) {
	switch q := req.(type) {
	case *kmsg.ApiVersionsRequest:
		return c.apiVersions(q), nil
	case *kmsg.SASLHandshakeRequest:
		return c.saslHandshake(q)
	case *kmsg.SASLAuthenticateRequest:
		return c.saslAuthenticate(q)

	case *kmsg.MetadataRequest:
		return c.metadata(q), nil
	case *kmsg.DescribeTopicPartitionsRequest:
		return c.describeTopicPartitions(q), nil
	case *kmsg.DescribeClusterRequest:
		return c.describeCluster(q), nil
	case *kmsg.DescribeLogDirsRequest:
		return c.describeLogDirs(q), nil

	case *kmsg.ListOffsetsRequest:
		return c.listOffsets(q), nil
	case *kmsg.OffsetForLeaderEpochRequest:
		return c.offsetForLeaderEpoch(q), nil
	case *kmsg.DeleteRecordsRequest:
		return c.deleteRecords(q), nil
	case *kmsg.InitProducerIDRequest:
		return c.initProducerID(q), nil

	case *kmsg.CreateTopicsRequest:
		return c.createTopics(q), nil
	case *kmsg.DeleteTopicsRequest:
		return c.deleteTopics(q), nil
	case *kmsg.CreatePartitionsRequest:
		return c.createPartitions(q), nil
	case *kmsg.DescribeConfigsRequest:
		return c.describeConfigs(q), nil
	case *kmsg.AlterConfigsRequest:
		return c.alterConfigs(q), nil
	case *kmsg.IncrementalAlterConfigsRequest:
		return c.incrementalAlterConfigs(q), nil
	case *kmsg.ListConfigResourcesRequest:
		return c.listConfigResources(q), nil
	case *kmsg.DescribeClientQuotasRequest:
		return c.describeClientQuotas(q), nil
	case *kmsg.AlterClientQuotasRequest:
		return c.alterClientQuotas(q), nil

	case *kmsg.ElectLeadersRequest:
		return c.electLeaders(q), nil
	case *kmsg.AlterPartitionAssignmentsRequest:
		return c.alterPartitionReassignments(q), nil
	case *kmsg.ListPartitionReassignmentsRequest:
		return c.listPartitionReassignments(q), nil

	case *kmsg.FindCoordinatorRequest:
		return c.findCoordinator(q), nil
	case *kmsg.JoinGroupRequest:
		return c.joinGroup(q), nil
	case *kmsg.SyncGroupRequest:
		return c.syncGroup(q), nil
	case *kmsg.HeartbeatRequest:
		return c.heartbeat(q), nil
	case *kmsg.LeaveGroupRequest:
		return c.leaveGroup(q), nil
	case *kmsg.OffsetCommitRequest:
		return c.offsetCommit(q), nil
	case *kmsg.OffsetFetchRequest:
		return c.offsetFetch(q), nil
	case *kmsg.OffsetDeleteRequest:
		return c.offsetDelete(q), nil
	case *kmsg.DescribeGroupsRequest:
		return c.describeGroups(q), nil
	case *kmsg.ListGroupsRequest:
		return c.listGroups(q), nil
	case *kmsg.DeleteGroupsRequest:
		return c.deleteGroups(q), nil

	case *kmsg.DescribeACLsRequest:
		return c.describeACLs(q), nil
	case *kmsg.CreateACLsRequest:
		return c.createACLs(q), nil
	case *kmsg.DeleteACLsRequest:
		return c.deleteACLs(q), nil
	}
	panic(fmt.Sprintf("kafka: key %d is in the table and has no handler", req.Key()))
}

const (
	// otherMax bounds every request but Produce: the largest that is known to be wanted
	// are the assignments of groups with thousands of members.
	otherMax = 8 << 20
	// freeDecode is the longest request that is decoded without waiting for a turn.
	freeDecode = 16 << 10
)

// decodeBudget bounds the memory that decoding requests may take together. The decoder
// makes room for as many array elements as there are bytes left, before it has seen
// them; an element takes up to eighty bytes. So long requests wait until those being
// decoded announce at most otherMax bytes together. Decoding waits for nothing, so the
// wait is short and ends.
type decodeBudget struct {
	mu   sync.Mutex
	free sync.Cond // on mu; L is set at first use
	used int
}

// decode decodes a request. Strings are copied; byte fields alias body.
func (d *decodeBudget) decode(req kmsg.Request, body []byte) error {
	n := len(body)
	if n > otherMax {
		return fmt.Errorf("%d bytes, %d allowed", n, otherMax)
	}
	if n > freeDecode {
		d.mu.Lock()
		d.free.L = &d.mu
		for d.used > 0 && d.used+n > otherMax {
			d.free.Wait()
		}
		d.used += n
		d.mu.Unlock()
		defer func() {
			d.mu.Lock()
			d.used -= n
			d.mu.Unlock()
			d.free.Broadcast()
		}()
	}
	return req.ReadFrom(body)
}

// ---- ApiVersions -------------------------------------------------------------

func (c *conn) apiVersions(q *kmsg.ApiVersionsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.ApiVersionsResponse)
	if q.Version >= 3 && (!softwareName(q.ClientSoftwareName) || !softwareName(q.ClientSoftwareVersion)) {
		resp.ErrorCode = codeInvalidRequest
		return resp
	}
	resp.ApiKeys = offered()
	return resp
}

// apiVersionsFallback answers a version that is not known: in version 0, which every
// client reads, with the versions to choose from (KIP-511).
func (c *conn) apiVersionsFallback() kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = codeUnsupportedVersion
	resp.ApiKeys = offered()
	return resp
}

func offered() []kmsg.ApiVersionsResponseApiKey {
	keys := make([]kmsg.ApiVersionsResponseApiKey, len(apis))
	for i, a := range apis {
		keys[i].ApiKey, keys[i].MinVersion, keys[i].MaxVersion = a.key, a.min, a.max
	}
	return keys
}

// softwareName tells whether a client's name or version is one that Kafka accepts.
func softwareName(s string) bool {
	alnum := func(b byte) bool { return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' }
	for i := range len(s) {
		if !alnum(s[i]) && ((s[i] != '-' && s[i] != '.') || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return s != ""
}
