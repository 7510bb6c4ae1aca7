package kafka

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/internal/pace"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file is client quotas (KIP-13, KIP-124, KIP-219, KIP-546): how many bytes a second a user, a client
// id or both may produce and consume, and how much of a processor's time its requests may take, on this
// node. Who goes beyond is answered at once, is told in throttle_time_ms for how long to be silent, and is
// not read from meanwhile, whether it heeds that or not. A second's worth may come at once; Kafka looks at
// the rate of the last ten seconds.
//
// A connection without quotas pays a load of them for each request.

const (
	// silenceMax bounds throttle_time_ms. What was taken beyond it is forgiven.
	silenceMax = time.Minute
	// requestSilenceMax is the same of a request that took long, as in Kafka.
	requestSilenceMax = time.Second
	// bucketsMax bounds the users and client ids that are held to quotas at once; beyond it, any of them
	// begins anew.
	bucketsMax = 1 << 16
	// alterQuotasMax bounds the entities of one AlterClientQuotas.
	alterQuotasMax = 1000
)

// bucket is what those who share a quota have taken.
type bucket struct {
	mu   sync.Mutex
	pace pace.Pace
}

// buckets are those of a server, by quota key and sharers.
type buckets struct {
	mu sync.Mutex
	m  map[string]*bucket
}

func (b *buckets) of(key, sharers string) *bucket {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := key + "/" + sharers
	x := b.m[name]
	if x == nil {
		if b.m == nil {
			b.m = make(map[string]*bucket)
		}
		if len(b.m) >= bucketsMax {
			for other := range b.m {
				delete(b.m, other)
				break
			}
		}
		x = new(bucket)
		b.m[name] = x
	}
	return x
}

// limit is one quota of a connection; the zero value is none.
type limit struct {
	rate int
	of   *bucket
}

// take takes n, and returns how long to be silent for that.
func (l *limit) take(now time.Time, n int, most time.Duration) time.Duration {
	if l.rate == 0 || n == 0 {
		return 0
	}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	return l.of.pace.TakeWithin(now, n, l.rate, most)
}

// limits are the quotas of a connection: of its user, and the client id of its last request.
type limits struct {
	from                    *setting.Quotas
	user, client            string
	produce, fetch, request limit
}

// held returns the quotas that count for the request under way; nil: none are set.
func (c *conn) held() *limits {
	from := c.srv.cfg.Quotas.Load()
	if from == nil {
		return nil
	}
	user := cmp.Or(c.sasl.identity, auth.Anonymous)
	l := &c.limits
	if l.from == from && l.user == user && l.client == c.client {
		return l
	}
	*l = limits{from: from, user: user, client: c.client}
	for key, x := range map[string]*limit{setting.ProducerByteRate: &l.produce, setting.ConsumerByteRate: &l.fetch, setting.RequestPercentage: &l.request} {
		rate, sharers := from.Kafka(key, user, c.client)
		if rate == 0 {
			continue
		}
		if key == setting.RequestPercentage { // of a second, in ns
			rate *= float64(time.Second) / 100
		}
		*x = limit{rate: int(max(1, min(rate, math.MaxInt32<<16))), of: c.srv.buckets.of(key, sharers)}
	}
	return l
}

// worked charges the time that a request has taken, since a time of the machine's clock.
func (l *limits) worked(now time.Time, since time.Time) time.Duration {
	if l == nil || l.request.rate == 0 {
		return 0
	}
	return l.request.take(now, int(max(1, time.Since(since))), requestSilenceMax)
}

// silence is how long a client is to be silent after an answer, in ms as answers say it.
func silence(d time.Duration) int32 {
	return int32((d + time.Millisecond - 1) / time.Millisecond)
}

// mute does not read from the client for a while.
func (c *conn) mute(d time.Duration) {
	if d == 0 {
		return
	}
	c.srv.Stats.Throttled.Add(1)
	over := make(chan struct{})
	timer := c.srv.cfg.Link.AfterFunc(d, func() { close(over) })
	defer timer.Stop()
	select {
	case <-over:
	case <-c.ctx.Done():
	}
}

// waitingKeys are the requests whose answers may wait for others, or for the log: that is not the time of
// a processor, and only their decoding counts.
var waitingKeys = func() (t [apiKeys]bool) {
	for _, key := range []int16{
		keyOffsetCommit, keyJoinGroup, keyHeartbeat, keyLeaveGroup, keySyncGroup, keyDescribeGroups, keyListGroups, keyOffsetFetch,
		keyCreateTopics, keyDeleteTopics, keyDeleteRecords, keyInitProducerID, keyCreateACLs, keyDeleteACLs, keyAlterConfigs,
		keySASLAuthenticate, keyCreatePartitions, keyDeleteGroups, keyElectLeaders, keyIncrementalAlterConfigs, keyOffsetDelete,
		keyAlterClientQuotas,
	} {
		t[key] = true
	}
	return t
}()

// throttleFrame puts into an answer how long the client is to be silent, if it is longer than what it says.
func throttleFrame(frame []byte, at int, d time.Duration) {
	if ms := uint32(silence(d)); ms > binary.BigEndian.Uint32(frame[at:]) {
		binary.BigEndian.PutUint32(frame[at:], ms)
	}
}

// ---- DescribeClientQuotas and AlterClientQuotas -------------------------------

// Types of entities, as Kafka calls them.
const (
	entityUser   = "user"
	entityClient = "client-id"
)

type quotaEntity = kmsg.DescribeClientQuotasResponseEntryEntity

// entityOf is what a quota is for, in Kafka's words; nil: it is none of Kafka's.
func entityOf(f *setting.QuotaFor) (out []quotaEntity) {
	for _, x := range []struct {
		kind string
		name *string
	}{{entityUser, f.User}, {entityClient, f.Client}} {
		if x.name == nil {
			continue
		}
		e := kmsg.NewDescribeClientQuotasResponseEntryEntity()
		if e.Type = x.kind; *x.name != "" {
			e.Name = x.name
		}
		out = append(out, e)
	}
	return out
}

func (c *conn) describeClientQuotas(q *kmsg.DescribeClientQuotasRequest) *kmsg.DescribeClientQuotasResponse {
	r := q.ResponseKind().(*kmsg.DescribeClientQuotasResponse)
	if no := c.quotaFilter(q); no != nil {
		r.ErrorCode, r.ErrorMessage = no.code, no.text()
		return r
	}
	for _, s := range c.srv.kernel.Settings(quotaNamespace, setting.KindQuota) {
		f, err := setting.ParseQuotaFor(s.Name)
		var quota setting.Quota
		if err != nil || s.Read(&quota) != nil {
			continue // a newer release wrote it
		}
		entity := entityOf(&f)
		if entity == nil || !matches(q, entity) {
			continue
		}
		e := kmsg.NewDescribeClientQuotasResponseEntry()
		e.Entity = entity
		for _, key := range slices.Sorted(maps.Keys(quota)) {
			v := kmsg.NewDescribeClientQuotasResponseEntryValue()
			v.Key, v.Value = key, quota[key]
			e.Values = append(e.Values, v)
		}
		r.Entries = append(r.Entries, e)
	}
	return r
}

const quotaNamespace = "/"

// quotaFilter tells what is wrong with a question for quotas.
func (c *conn) quotaFilter(q *kmsg.DescribeClientQuotasRequest) *refusal {
	if code := c.forCluster(acl.DescribeConfigs); code != codeNone {
		return refusalOf(code)
	}
	seen := make(map[string]bool)
	for i := range q.Components {
		x := &q.Components[i]
		switch {
		case x.EntityType != entityUser && x.EntityType != entityClient:
			return refusef(codeUnsupportedVersion, "Custom entity type '%.100s' not supported", x.EntityType)
		case seen[x.EntityType]:
			return refusef(codeInvalidRequest, "Entity type %s is there twice", x.EntityType)
		case x.MatchType < kmsg.QuotasMatchTypeExact || x.MatchType > kmsg.QuotasMatchTypeAny:
			return refusef(codeInvalidRequest, "Unknown match type %d", x.MatchType)
		case (x.MatchType == kmsg.QuotasMatchTypeExact) != (x.Match != nil):
			return refusef(codeInvalidRequest, "A name to match goes with an exact match, and with no other")
		}
		seen[x.EntityType] = true
	}
	return nil
}

func matches(q *kmsg.DescribeClientQuotasRequest, entity []quotaEntity) bool {
	for i := range q.Components {
		x := &q.Components[i]
		at := slices.IndexFunc(entity, func(e quotaEntity) bool { return e.Type == x.EntityType })
		if at < 0 {
			return false
		}
		name := entity[at].Name
		switch x.MatchType {
		case kmsg.QuotasMatchTypeExact:
			if name == nil || *name != *x.Match {
				return false
			}
		case kmsg.QuotasMatchTypeDefault:
			if name != nil {
				return false
			}
		}
	}
	return !q.Strict || len(entity) == len(q.Components)
}

func (c *conn) alterClientQuotas(q *kmsg.AlterClientQuotasRequest) *kmsg.AlterClientQuotasResponse {
	r := q.ResponseKind().(*kmsg.AlterClientQuotasResponse)
	seen := make(map[string]bool)
	for i := range q.Entries {
		in := &q.Entries[i]
		out := kmsg.NewAlterClientQuotasResponseEntry()
		for _, x := range in.Entity {
			e := kmsg.NewAlterClientQuotasResponseEntryEntity()
			e.Type, e.Name = x.Type, x.Name
			out.Entity = append(out.Entity, e)
		}
		no := c.alterQuota(in, seen, q.ValidateOnly, i >= alterQuotasMax)
		if no != nil {
			out.ErrorCode, out.ErrorMessage = no.code, no.text()
		}
		r.Entries = append(r.Entries, out)
	}
	return r
}

// alterQuota changes the quota of one entity.
func (c *conn) alterQuota(in *kmsg.AlterClientQuotasRequestEntry, seen map[string]bool, validate, tooMany bool) *refusal {
	if code := c.forCluster(acl.AlterConfigs); code != codeNone {
		return refusalOf(code)
	}
	f, no := quotaFor(in.Entity)
	if no != nil {
		return no
	}
	name := f.String()
	switch {
	case tooMany:
		return refusef(codeInvalidRequest, "More than %d entities at once", alterQuotasMax)
	case seen[name]:
		return refusef(codeInvalidRequest, "%s is there twice", name)
	}
	seen[name] = true

	c.srv.altering.Lock()
	defer c.srv.altering.Unlock()
	now := make(setting.Quota)
	had := false
	for _, s := range c.srv.kernel.Settings(quotaNamespace, setting.KindQuota) {
		if s.Name == name {
			had = true
			_ = s.Read(&now) // what a newer release wrote is written anew
		}
	}
	for _, op := range in.Ops {
		if !slices.Contains(setting.QuotaKeys(), op.Key) {
			return refusef(codeInvalidRequest, "Invalid configuration key %.100s", op.Key)
		}
		if op.Remove {
			delete(now, op.Key)
		} else {
			now[op.Key] = op.Value
		}
	}
	if len(now) > 0 {
		if err := f.Check(now); err != nil {
			return refusef(codeInvalidRequest, "%v", err)
		}
	}
	s, err := setting.New(quotaNamespace, setting.KindQuota, name, now)
	switch {
	case len(now) > 0 && err != nil:
		return refusef(codeInvalidRequest, "%v", err)
	case validate || len(now) == 0 && !had:
		return nil
	case len(now) == 0:
		err = c.srv.kernel.DeleteSetting(c.ctx, quotaNamespace, setting.KindQuota, name)
	default:
		err = c.srv.kernel.PutSetting(c.ctx, s)
	}
	if err != nil {
		return refusalOf(codeOf(err))
	}
	return nil
}

// quotaFor reads an entity.
func quotaFor(entity []kmsg.AlterClientQuotasRequestEntryEntity) (f setting.QuotaFor, no *refusal) {
	if len(entity) == 0 {
		return f, refusef(codeInvalidRequest, "Invalid empty client quota entity")
	}
	for _, x := range entity {
		at := &f.User
		switch x.Type {
		case entityUser:
		case entityClient:
			at = &f.Client
		default:
			return f, refusef(codeInvalidRequest, "Unhandled client quota entity type: %.100s", x.Type)
		}
		name := ""
		if x.Name != nil {
			if name = strings.Clone(*x.Name); name == "" {
				return f, refusef(codeInvalidRequest, "Empty %s", x.Type)
			}
		}
		if *at != nil {
			return f, refusef(codeInvalidRequest, "Entity type %s is there twice", x.Type)
		}
		*at = &name
	}
	return f, nil
}
