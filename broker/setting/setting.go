// Package setting is what operators set for the whole cluster, beside what clients declare: how
// the members of a shared subscription are chosen, how topics are rewritten, what clients are
// subscribed to unasked, how much they may do in a second, and which other brokers there are bridges to.
//
// A Setting is kept in log 0, is the same on every node, and counts at once. Its Value is JSON
// of one of the types here, by its Kind.
package setting

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/robustmq/rmq/broker/mqttwire"
)

// Setting is one thing that is set: Kind says what, and Name which, in one namespace.
type Setting struct {
	Namespace string          `json:"namespace"`
	Kind      Kind            `json:"kind"`
	Name      string          `json:"name"`
	Value     json.RawMessage `json:"value"`
}

// Kind says what a setting is about.
type Kind string

// Kinds lists all of them.
func Kinds() []Kind {
	return []Kind{KindBridge, KindOption, KindQuota, KindRewrite, KindShare, KindSubscription}
}

// KindShare: a Share, by the name of the group, or EveryGroup.
const KindShare Kind = "share"

// KindOption: text, a value of the option (package option) of that name, in the default namespace.
const KindOption Kind = "option"

// Bounds of settings.
const (
	NameMax  = 256  // bytes of a name
	ValueMax = 4096 // bytes of a value
)

// EveryGroup names the share that counts where a group has none. No group has that name.
const EveryGroup = "+"

// Share says how the members of a shared subscription are chosen.
type Share struct {
	Strategy string `json:"strategy"` // one of Strategies
}

// Strategies are the names of the ways to choose a member, the one that counts where nothing
// is set first.
func Strategies() []string {
	return []string{"round-robin", "sticky", "least-inflight", "hash-client", "hash-topic"}
}

// New returns a setting, checked.
func New(ns string, kind Kind, name string, value any) (Setting, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return Setting{}, err
	}
	s := Setting{Namespace: ns, Kind: kind, Name: name, Value: text}
	return s, s.Check()
}

// Check tells what is wrong with a setting.
func (s *Setting) Check() error {
	switch {
	case s.Namespace == "" || len(s.Namespace) > NameMax || strings.ContainsRune(s.Namespace, 0):
		return fmt.Errorf("namespace %q", s.Namespace)
	case s.Name == "" || len(s.Name) > NameMax || strings.ContainsRune(s.Name, 0):
		return fmt.Errorf("a name has 1 to %d bytes, and none of them is 0", NameMax)
	}
	most := ValueMax
	if s.Kind == KindBridge {
		most = BridgeMax
	}
	if len(s.Value) > most {
		return fmt.Errorf("a value of %d bytes, %d at most", len(s.Value), most)
	}
	switch s.Kind {
	case KindShare:
		return s.checkShare()
	case KindRewrite:
		return s.checkRewrite()
	case KindSubscription:
		return s.checkSubscription()
	case KindQuota:
		return s.checkQuota()
	case KindBridge:
		return s.checkBridge()
	case KindOption:
		var text string
		return s.Read(&text)
	}
	return fmt.Errorf("no setting is of kind %q", s.Kind)
}

// Read reads the value into one of the types of this package. It has no other fields than that.
func (s *Setting) Read(into any) error {
	d := json.NewDecoder(bytes.NewReader(s.Value))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func (s *Setting) checkShare() error {
	var share Share
	if err := s.Read(&share); err != nil {
		return err
	}
	if s.Name != EveryGroup && strings.ContainsAny(s.Name, "/+#") {
		return fmt.Errorf("%q is no group: the name of one has no /, + or #", s.Name)
	}
	if !slices.Contains(Strategies(), share.Strategy) {
		return fmt.Errorf("strategy %q is none of %s", share.Strategy, strings.Join(Strategies(), ", "))
	}
	return nil
}

// checkFilter tells why a text is no topic filter of MQTT.
func checkFilter(filter string) error {
	if !mqttwire.ValidFilter([]byte(filter)) {
		return fmt.Errorf("%q is no topic filter: + takes a whole level, and # the last one, with all below it", filter)
	}
	return nil
}
