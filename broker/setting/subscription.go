package setting

import (
	"fmt"
)

// KindSubscription: a Subscription that clients of MQTT are given when they connect.
const KindSubscription Kind = "subscription"

// SubscriptionsMax bounds those of one namespace: every client is given all.
const SubscriptionsMax = 64

// Subscription is one that each client has from its CONNACK on.
type Subscription struct {
	// Filter may have %c and ${clientid} for the client identifier, %u and ${username} for the user.
	// A client whose name is none, or more than a level, is not subscribed.
	Filter            string `json:"filter"`
	QoS               uint8  `json:"qos"`
	NoLocal           bool   `json:"no_local,omitempty"`
	RetainAsPublished bool   `json:"retain_as_published,omitempty"`
	RetainHandling    uint8  `json:"retain_handling,omitempty"` // 0, 1, 2 as in SUBSCRIBE
}

func (s *Setting) checkSubscription() error {
	var sub Subscription
	if err := s.Read(&sub); err != nil {
		return err
	}
	filter, _ := sub.For("c", "u")
	if err := checkFilter(filter); err != nil {
		return err
	}
	if sub.QoS > 2 || sub.RetainHandling > 2 {
		return fmt.Errorf("QoS and retain handling are 0, 1 or 2")
	}
	return nil
}

// For returns the filter for a client; false: there is none.
func (s *Subscription) For(client, user string) (filter string, ok bool) {
	return expand(s.Filter, nil, client, user)
}
