package kafka

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/message"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// configEntry is one setting as DescribeConfigs shows it, kmsg's form of it.
type configEntry = kmsg.DescribeConfigsResponseResourceConfig

// ownConfig is what a topic's configuration says of it alone. Its durability is part of that
// where it is not the default.
func ownConfig(st *kernel.StreamSpec) map[string]string {
	if st.Durability == kernel.Sync {
		return st.Config
	}
	own := maps.Clone(st.Config)
	if own == nil {
		own = make(map[string]string)
	}
	own[kernel.DurabilityConfig] = string(st.Durability)
	return own
}

// keepDurability refuses a configuration that would change a topic's durability, and takes it
// out of one that would not.
func keepDurability(st *kernel.StreamSpec, next map[string]string) *refusal {
	want := cmp.Or(next[kernel.DurabilityConfig], string(kernel.Sync))
	if want != string(st.Durability) {
		return refusef(codeInvalidConfig, "The durability of %s is %s and stays so: create another topic with durability=%s, and copy what is to be kept.",
			message.KafkaName(st.Address), st.Durability, want)
	}
	delete(next, kernel.DurabilityConfig)
	return nil
}

// topicConfig lists every setting of a topic that has config of its own.
func (s *Server) topicConfig(config map[string]string) []configEntry {
	entries := make([]configEntry, 0, len(topicSettings))
	for i := range topicSettings {
		t := &topicSettings[i]
		def, source := t.def, kmsg.ConfigSourceDefaultConfig
		if v, ok := s.brokerValue(t.broker); ok {
			def, source = v, kmsg.ConfigSourceStaticBrokerConfig
		}
		e := t.entry()
		if t.broker != "" {
			e.ConfigSynonyms = append(e.ConfigSynonyms, synonym(t.broker, def, source))
		} else {
			e.ConfigSynonyms = append(e.ConfigSynonyms, synonym(t.name, def, source))
		}
		if own, ok := config[t.name]; ok {
			def, source = own, kmsg.ConfigSourceDynamicTopicConfig
			e.ConfigSynonyms = slices.Insert(e.ConfigSynonyms, 0, synonym(t.name, own, source))
		}
		e.Value, e.Source, e.IsDefault = &def, source, source == kmsg.ConfigSourceDefaultConfig
		entries = append(entries, e)
	}
	return entries
}

func (s *configKey) entry() configEntry {
	e := kmsg.NewDescribeConfigsResponseResourceConfig()
	e.Name, e.ConfigType, e.Documentation = s.name, s.kind, &s.doc
	return e
}

func synonym(name, value string, source kmsg.ConfigSource) kmsg.DescribeConfigsResponseResourceConfigConfigSynonym {
	s := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
	s.Name, s.Value, s.Source = name, &value, source
	return s
}

// brokerValue is a broker setting that differs from Kafka's default because this server
// was told so.
func (s *Server) brokerValue(name string) (string, bool) {
	if v, ok := s.cfg.Settings[name]; ok {
		return v, true
	}
	value := ""
	switch name {
	case "auto.create.topics.enable":
		value = strconv.FormatBool(!s.cfg.NoAutoCreate)
	case "broker.id", "node.id":
		return strconv.Itoa(int(s.cfg.NodeID)), true
	case "connections.max.idle.ms":
		value = strconv.FormatInt(s.cfg.IdleMax.Milliseconds(), 10)
	case "fetch.max.bytes":
		value = strconv.Itoa(s.cfg.FetchMax)
	case "group.initial.rebalance.delay.ms":
		value = strconv.Itoa(int(millis(s.cfg.Groups.InitialDelay)))
	case "group.max.session.timeout.ms":
		value = strconv.Itoa(int(millis(s.cfg.Groups.MaxSession)))
	case "group.max.size":
		value = strconv.Itoa(int(cmp.Or(s.cfg.Groups.MaxSize, group.MembersMax)))
	case "group.min.session.timeout.ms":
		value = strconv.Itoa(int(millis(s.cfg.Groups.MinSession)))
	case "log.dir", "log.dirs":
		value = s.cfg.LogDir
	case "max.incremental.fetch.session.cache.slots":
		value = strconv.Itoa(s.cfg.FetchSessions)
	case "message.max.bytes":
		value = strconv.Itoa(s.cfg.MessageMax)
	case "num.partitions":
		value = strconv.Itoa(int(s.cfg.Partitions))
	case "socket.request.max.bytes":
		value = strconv.Itoa(s.cfg.RequestMax)
	default:
		return "", false
	}
	return value, value != brokerDefault(name)
}

// brokerDefault is Kafka's default of a broker setting.
func brokerDefault(name string) string {
	for i := range topicSettings {
		if topicSettings[i].broker == name {
			return topicSettings[i].def
		}
	}
	for i := range brokerSettings {
		if brokerSettings[i].name == name {
			return brokerSettings[i].def
		}
	}
	return ""
}

// brokerConfig lists every setting of this broker, in the order of names.
func (s *Server) brokerConfig() []configEntry {
	all := slices.Clone(brokerSettings)
	for _, t := range topicSettings {
		if t.broker != "" {
			t.name = t.broker
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b configKey) int { return strings.Compare(a.name, b.name) })
	entries := make([]configEntry, 0, len(all))
	for i := range all {
		b := &all[i]
		e := b.entry()
		value, source := b.def, kmsg.ConfigSourceDefaultConfig
		if v, ok := s.brokerValue(b.name); ok {
			value, source = v, kmsg.ConfigSourceStaticBrokerConfig
		}
		e.Value, e.Source, e.ReadOnly, e.IsDefault = &value, source, true, source == kmsg.ConfigSourceDefaultConfig
		e.ConfigSynonyms = append(e.ConfigSynonyms, synonym(b.name, value, source))
		entries = append(entries, e)
	}
	return entries
}

func (c *conn) describeConfigs(q *kmsg.DescribeConfigsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for i := range q.Resources {
		rq := &q.Resources[i]
		rr := kmsg.NewDescribeConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = rq.ResourceType, rq.ResourceName
		entries, no := c.configOf(rq.ResourceType, rq.ResourceName)
		if no != nil {
			rr.ErrorCode, rr.ErrorMessage = no.code, no.text()
		}
		rr.Configs = []configEntry{}
		for _, e := range entries {
			if rq.ConfigNames != nil && !slices.Contains(rq.ConfigNames, e.Name) {
				continue
			}
			if !q.IncludeSynonyms {
				e.ConfigSynonyms = nil
			}
			if !q.IncludeDocumentation {
				e.Documentation = nil
			}
			rr.Configs = append(rr.Configs, e)
		}
		resp.Resources = append(resp.Resources, rr)
	}
	return resp
}

func (c *conn) configOf(kind kmsg.ConfigResourceType, name string) ([]configEntry, *refusal) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		t, no := c.configTopic(acl.DescribeConfigs, name)
		if no != nil {
			return nil, no
		}
		return c.srv.topicConfig(ownConfig(t.stream)), nil
	case kmsg.ConfigResourceTypeBroker:
		if c.forCluster(acl.DescribeConfigs) != codeNone {
			return nil, refusef(codeClusterDenied, "Cluster authorization failed.")
		}
		if name == "" {
			return nil, nil // the cluster's dynamic defaults: there are none
		}
		if no := c.thisBroker(name); no != nil {
			return nil, no
		}
		return c.srv.brokerConfig(), nil
	case kmsg.ConfigResourceTypeBrokerLogger:
		return nil, c.thisBroker(name) // its loggers cannot be set one by one
	}
	return nil, unsupportedResource(kind)
}

func unsupportedResource(kind kmsg.ConfigResourceType) *refusal {
	return refusef(codeInvalidRequest, "Unsupported resource type: %d", int8(kind))
}

func (c *conn) thisBroker(name string) *refusal {
	if name != strconv.Itoa(int(c.srv.cfg.NodeID)) {
		return refusef(codeInvalidRequest, "Unexpected broker id, expected %d, but received %.64s", c.srv.cfg.NodeID, name)
	}
	return nil
}

func (c *conn) configTopic(a acl.Action, name string) (topic, *refusal) {
	if !message.ValidKafkaName(name) {
		return topic{}, refusef(codeInvalidTopic, "Topic name is invalid")
	}
	t, unknown := c.topicFor(a, name)
	switch unknown {
	case codeNone:
		return t, nil
	case codeTopicDenied:
		return topic{}, refusef(codeTopicDenied, "Topic authorization failed.")
	}
	return topic{}, refusef(codeUnknownTopic, "This server does not host this topic-partition.")
}

// alterConfigs replaces the whole of a topic's configuration.
func (c *conn) alterConfigs(q *kmsg.AlterConfigsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.AlterConfigsResponse)
	for i := range q.Resources {
		rq := &q.Resources[i]
		rr := kmsg.NewAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = rq.ResourceType, rq.ResourceName
		no := c.alter(rq.ResourceType, rq.ResourceName, q.ValidateOnly, func(now map[string]string) (map[string]string, *refusal) {
			next := make(map[string]string, len(rq.Configs))
			if d, ok := now[kernel.DurabilityConfig]; ok {
				next[kernel.DurabilityConfig] = d // who replaces the rest does not mean this
			}
			for _, e := range rq.Configs {
				if e.Value == nil {
					return nil, refusef(codeInvalidRequest, "Null value not supported for : %s", e.Name)
				}
				next[e.Name] = *e.Value
			}
			return next, nil
		})
		if no != nil {
			rr.ErrorCode, rr.ErrorMessage = no.code, no.text()
		}
		resp.Resources = append(resp.Resources, rr)
	}
	return resp
}

// incrementalAlterConfigs changes some settings of a topic.
func (c *conn) incrementalAlterConfigs(q *kmsg.IncrementalAlterConfigsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	for i := range q.Resources {
		rq := &q.Resources[i]
		rr := kmsg.NewIncrementalAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = rq.ResourceType, rq.ResourceName
		no := c.alter(rq.ResourceType, rq.ResourceName, q.ValidateOnly, func(now map[string]string) (map[string]string, *refusal) {
			return c.increment(now, rq.Configs)
		})
		if no != nil {
			rr.ErrorCode, rr.ErrorMessage = no.code, no.text()
		}
		resp.Resources = append(resp.Resources, rr)
	}
	return resp
}

func (c *conn) increment(now map[string]string, ops []kmsg.IncrementalAlterConfigsRequestResourceConfig) (map[string]string, *refusal) {
	next := maps.Clone(now)
	if next == nil {
		next = make(map[string]string)
	}
	seen := make(map[string]bool, len(ops))
	for _, op := range ops {
		if seen[op.Name] {
			return nil, refusef(codeInvalidRequest, "Error due to duplicate config keys")
		}
		seen[op.Name] = true
		if op.Op == kmsg.IncrementalAlterConfigOpDelete {
			delete(next, op.Name)
			continue
		}
		if op.Value == nil {
			return nil, refusef(codeInvalidRequest, "Null value not supported for : %s", op.Name)
		}
		if op.Op == kmsg.IncrementalAlterConfigOpSet {
			next[op.Name] = *op.Value
			continue
		}
		s := settingNamed(op.Name)
		switch {
		case op.Op != kmsg.IncrementalAlterConfigOpAppend && op.Op != kmsg.IncrementalAlterConfigOpSubtract:
			return nil, refusef(codeInvalidRequest, "Unknown operation %d", op.Op)
		case s == nil:
			return nil, refusef(codeInvalidConfig, "Unknown topic config name: %s", op.Name)
		case s.kind != typeList:
			return nil, refusef(codeInvalidConfig, "Can't %s to key %s because its type is not LIST.", strings.ToUpper(op.Op.String()), op.Name)
		}
		value, ok := next[op.Name]
		if !ok {
			broker, told := c.srv.brokerValue(s.broker)
			if value = s.def; told {
				value = cmp.Or(broker, value)
			}
		}
		list := splitList(value)
		for _, e := range splitList(*op.Value) {
			if op.Op == kmsg.IncrementalAlterConfigOpSubtract {
				list = slices.DeleteFunc(list, func(have string) bool { return have == e })
			} else if !slices.Contains(list, e) {
				list = append(list, e)
			}
		}
		next[op.Name] = strings.Join(list, ",")
	}
	return next, nil
}

// alter changes a resource's configuration from what it is now to what change says.
func (c *conn) alter(kind kmsg.ConfigResourceType, name string, validateOnly bool, change func(map[string]string) (map[string]string, *refusal)) *refusal {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
	case kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger:
		if c.forCluster(acl.AlterConfigs) != codeNone {
			return refusef(codeClusterDenied, "Cluster authorization failed.")
		}
		if name != "" {
			if no := c.thisBroker(name); no != nil {
				return no
			}
		}
		if next, no := change(nil); no != nil {
			return no
		} else if len(next) > 0 {
			return refusef(codeInvalidRequest, "Cannot update these configs dynamically: %s", strings.Join(sortedKeys(next), ", "))
		}
		return nil
	default:
		return unsupportedResource(kind)
	}
	t, no := c.configTopic(acl.AlterConfigs, name)
	if no != nil {
		return no
	}
	if t.view() {
		return refusef(codePolicyViolation, "%s is a view of %s, and has its configuration", name, message.KafkaName(t.stream.Address))
	}
	next, no := change(ownConfig(t.stream))
	if no == nil {
		no = checkTopicConfig(next)
	}
	if no == nil {
		no = keepDurability(t.stream, next)
	}
	if no != nil || validateOnly {
		return no
	}
	set := make(map[string]string)
	for k, v := range next {
		if old, ok := t.stream.Config[k]; !ok || old != v {
			set[k] = v
		}
	}
	var del []string
	for _, k := range sortedKeys(t.stream.Config) {
		if _, ok := next[k]; !ok {
			del = append(del, k)
		}
	}
	if len(set) == 0 && len(del) == 0 {
		return nil
	}
	err := c.srv.kernel.ConfigureStream(c.ctx, c.srv.cfg.Namespace, t.stream.Address, set, del)
	switch {
	case fault.Is(err, fault.NotFound):
		return refusef(codeUnknownTopic, "This server does not host this topic-partition.")
	case err != nil:
		return refusalOf(createCode(err))
	}
	return nil
}

// listConfigResources lists what has a configuration. Version 0 lists client metrics
// subscriptions, of which there are none.
func (c *conn) listConfigResources(q *kmsg.ListConfigResourcesRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.ListConfigResourcesResponse)
	resp.ConfigResources = []kmsg.ListConfigResourcesResponseConfigResource{}
	if q.Version == 0 {
		return resp
	}
	wanted := func(kind kmsg.ConfigResourceType) bool {
		return len(q.ResourceTypes) == 0 || slices.Contains(q.ResourceTypes, int8(kind))
	}
	add := func(kind kmsg.ConfigResourceType, name string) {
		r := kmsg.NewListConfigResourcesResponseConfigResource()
		r.Name, r.Type = name, int8(kind)
		resp.ConfigResources = append(resp.ConfigResources, r)
	}
	for _, kind := range q.ResourceTypes {
		switch k := kmsg.ConfigResourceType(kind); k {
		case kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger,
			kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig:
		default:
			resp.ErrorCode = codeUnsupportedVersion
			return resp
		}
	}
	if wanted(kmsg.ConfigResourceTypeTopic) {
		for _, t := range c.visible() {
			add(kmsg.ConfigResourceTypeTopic, t.name)
		}
	}
	for _, kind := range []kmsg.ConfigResourceType{kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger} {
		if wanted(kind) {
			for _, n := range c.nodes().all {
				add(kind, strconv.Itoa(int(n)))
			}
		}
	}
	return resp
}
