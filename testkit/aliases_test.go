package testkit_test

import (
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/testkit"
)

// A session tells how many topic aliases its client was told, of those that it takes.
func TestSessionTellsItsAliases(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := testkit.Run(t)
	takes := uint16(8)
	c, _ := dial5(t, b, &paho.Connect{ClientID: "takes", CleanStart: true, Properties: &paho.ConnectProperties{TopicAliasMaximum: &takes}})
	got := make(chan struct{}, 2)
	c.AddOnPublishReceived(func(paho.PublishReceived) (bool, error) {
		got <- struct{}{}
		return true, nil
	})
	must(c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "sensors/#", QoS: 1}}}))(t)
	aliases := func() [2]int {
		s := must(admin(t, b).Session(ctx, adminapi.Ref{Namespace: "/", Name: "takes"}))(t)
		return [2]int{s.Aliases, s.AliasMax}
	}
	if got := aliases(); got != [2]int{0, 8} {
		t.Errorf("%v before a message", got)
	}
	for range 2 {
		must(c.Publish(ctx, &paho.Publish{Topic: "sensors/berlin/dev-1/temperature", QoS: 1, Payload: []byte("21.5")}))(t)
		<-got
	}
	if got := aliases(); got != [2]int{1, 8} {
		t.Errorf("%v after messages of one topic", got)
	}
}
