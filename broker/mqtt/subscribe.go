package mqtt

import (
	"bytes"
	"context"
	"strings"

	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// subscribe handles SUBSCRIBE. It waits for the subscriptions to hold: when SUBACK leaves,
// no message published from then on is missed.
func (c *conn) subscribe(f mqttwire.Frame) error {
	w := c.work
	p := &w.subscribe
	if err := p.Decode(c.version, f); err != nil {
		return err
	}
	id, _ := p.Properties.Num(mqttwire.SubscriptionID)
	ack := &w.suback
	*ack = mqttwire.Suback{Type: mqttwire.SUBACK, PacketID: p.PacketID, Reasons: ack.Reasons[:0]}
	if c.server.cfg.Chaos.On(chaos.MQTT) {
		switch act, gone := c.disturbIn(mqttwire.SUBSCRIBE, ""); {
		case gone:
			return nil
		case act.Do == chaos.Answer:
			for range p.Filters {
				ack.Reasons = append(ack.Reasons, mqttwire.Reason(act.Code))
			}
			return c.suback(ack)
		}
	}
	subs := make([]kernel.Subscription, 0, len(p.Filters))
	shared := make([]bool, 0, len(p.Filters))
	var at []int // where in ack.Reasons each of subs is
	var replays []*replay
	limits := c.server.cfg.Options.Load()
	have := c.subscribed(limits)
	for i := range p.Filters {
		t := &p.Filters[i]
		isShared, err := checkFilter(t.Filter)
		if err != nil {
			return err
		}
		filter, ok := c.rewriteFilter(t.Filter)
		if !ok {
			ack.Reasons = append(ack.Reasons, mqttwire.TopicFilterInvalid)
			continue
		}
		t.Filter = filter
		if c.bridge {
			t.NoLocal, t.RetainAsPublished = !isShared, true
		}
		if isShared && t.NoLocal { // MQTT5-3.8.3-4
			return &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: "no local on a shared subscription"}
		}
		if mqttwire.Levels(t.Filter) > limits.MaxLevels || !whole(t.Filter) {
			ack.Reasons = append(ack.Reasons, mqttwire.TopicFilterInvalid)
			continue
		}
		if !c.mayRead(t.Filter) {
			ack.Reasons = append(ack.Reasons, mqttwire.NotAuthorized)
			continue
		}
		if want, ok := streamOf(t.Filter); ok {
			r, reason := c.subscribeStream(t, want, offsetOf(p.Properties), id)
			if ack.Reasons = append(ack.Reasons, reason); r != nil {
				replays = append(replays, r)
			}
			continue
		}
		if _, ok := queueOf(t.Filter); ok {
			isShared, t.QoS = true, min(t.QoS, 1)
		}
		if have != nil {
			have[string(t.Filter)] = struct{}{}
			if len(have) > limits.Subscriptions {
				delete(have, string(t.Filter))
				ack.Reasons = append(ack.Reasons, mqttwire.QuotaExceeded)
				continue
			}
		}
		ack.Reasons = append(ack.Reasons, mqttwire.Reason(t.QoS))
		at = append(at, len(ack.Reasons)-1)
		shared = append(shared, isShared)
		subs = append(subs, kernel.Subscription{
			Filter:            string(t.Filter),
			QoS:               t.QoS,
			NoLocal:           t.NoLocal,
			RetainAsPublished: t.RetainAsPublished,
			RetainHandling:    t.RetainHandling,
			ID:                id,
		})
	}
	var existed []bool
	var errs []error
	if len(subs) > 0 {
		ctx, cancel := context.WithTimeout(c.server.ctx, subscribeTimeout)
		existed, errs = c.session.Subscribe(ctx, subs)
		cancel()
	}
	for n, err := range errs {
		if err != nil {
			ack.Reasons[at[n]] = reasonIn(mqttwire.SUBACK, err)
			if fault.Is(err, fault.NotFound) {
				ack.Reasons[at[n]] = mqttwire.TopicFilterInvalid // there is no such queue
			}
			c.server.cfg.Log.Debug("mqtt: subscription refused", "client", c.clientID, "filter", subs[n].Filter, "err", err)
		}
	}
	for i, r := range ack.Reasons {
		if len(replays) > 0 && !r.Failed() && replays[0].filter == string(p.Filters[i].Filter) {
			if !c.startReplay(replays[0]) {
				ack.Reasons[i] = mqttwire.QuotaExceeded
			}
			replays = replays[1:]
		}
	}
	if err := c.suback(ack); err != nil {
		return err
	}
	var retained []kernel.Subscription
	for i := range subs {
		// MQTT5-3.3.1-9, -10 and -11; never for a shared subscription (section 4.8.2).
		if errs[i] != nil || shared[i] || subs[i].RetainHandling == 2 || (subs[i].RetainHandling == 1 && existed[i]) {
			continue
		}
		retained = append(retained, subs[i])
		if strings.HasPrefix(subs[i].Filter, sysRoot+"/") {
			c.server.sys.show(c, &subs[i])
		}
	}
	return c.sendRetained(retained)
}

// sendRetained sends what is retained for subscriptions.
func (c *conn) sendRetained(subs []kernel.Subscription) error {
	if err := c.session.Retained(subs...); err != nil {
		// It is subscribed, and asks again when it is back.
		return &mqttwire.Error{Reason: mqttwire.ServerBusy, Text: "retained messages are not known here now"}
	}
	return nil
}

// checkFilter checks a filter and tells whether it is that of a shared subscription. An
// invalid one ends the connection (MQTT5-4.7.1-1, MQTT5-4.8.2-1, MQTT311-4.8.0-1).
func checkFilter(filter []byte) (shared bool, err error) {
	_, filter, shared, ok := mqttwire.SplitShared(filter)
	if !ok || !mqttwire.ValidFilter(filter) {
		return shared, &mqttwire.Error{Reason: mqttwire.TopicFilterInvalid, Text: "invalid topic filter"}
	}
	return shared, nil
}

// subscribeStream prepares the replay that a filter asks for. In MQTT 3 it begins with what comes next.
func (c *conn) subscribeStream(t *mqttwire.Filter, want, from string, id uint32) (*replay, mqttwire.Reason) {
	if t.QoS == 0 { // nothing would pace it
		return nil, mqttwire.ImplementationError
	}
	c.mu.Lock()
	full := c.flow != nil && len(c.flow.replays) >= replaysMax
	c.mu.Unlock()
	if full {
		return nil, mqttwire.QuotaExceeded
	}
	r, err := c.newReplay(string(t.Filter), want, from, id)
	switch {
	case err == nil:
		return r, 1
	case fault.Is(err, fault.NotFound):
		return nil, mqttwire.TopicFilterInvalid
	}
	return nil, reasonIn(mqttwire.SUBACK, err)
}

// queueOf is the queue that a subscription, "$queue/NAME", is to: the name as AMQP has it.
func queueOf(filter []byte) (name string, ok bool) {
	return strings.CutPrefix(string(filter), "$queue/")
}

// whole tells whether what is behind $exclusive is a plain filter, and what is behind $queue a name.
func whole(filter []byte) bool {
	if want, ok := streamOf(filter); ok {
		filter = []byte(want)
		return mqttwire.ValidFilter(filter) && !bytes.HasPrefix(filter, []byte("$"))
	}
	if name, ok := queueOf(filter); ok {
		return name != "" && !strings.ContainsAny(name, "+#")
	}
	filter, exclusive := mqttwire.SplitExclusive(filter)
	if !exclusive {
		return true
	}
	_, _, shared, _ := mqttwire.SplitShared(filter)
	_, twice := mqttwire.SplitExclusive(filter)
	_, queue := queueOf(filter)
	return !shared && !twice && !queue && mqttwire.ValidFilter(filter)
}

// unsubscribe handles UNSUBSCRIBE.
func (c *conn) unsubscribe(f mqttwire.Frame) error {
	w := c.work
	p := &w.unsubscribe
	if err := p.Decode(c.version, f); err != nil {
		return err
	}
	filters := make([]string, len(p.Filters))
	for i, filter := range p.Filters {
		if _, err := checkFilter(filter); err != nil {
			return err
		}
		if to, ok := c.rewriteFilter(filter); ok {
			filter = to
		}
		filters[i] = string(filter)
	}
	ctx, cancel := context.WithTimeout(c.server.ctx, subscribeTimeout)
	defer cancel()
	existed, err := c.session.Unsubscribe(ctx, filters)
	if err != nil && c.version != mqttwire.V5 {
		return &mqttwire.Error{Reason: reasonOf(err), Text: "UNSUBSCRIBE failed"} // its UNSUBACK cannot say so
	}
	ack := &w.suback
	*ack = mqttwire.Suback{Type: mqttwire.UNSUBACK, PacketID: p.PacketID, Reasons: ack.Reasons[:0]}
	for i := range filters {
		r := mqttwire.Success
		switch {
		case err != nil:
			r = reasonIn(mqttwire.UNSUBACK, err)
		case !existed[i] && !c.stopReplay(filters[i]):
			r = mqttwire.NoSubscriptionExisted
		}
		ack.Reasons = append(ack.Reasons, r)
	}
	return c.suback(ack)
}

// suback sends a SUBACK or UNSUBACK, with a reason string for the first filter that failed.
func (c *conn) suback(ack *mqttwire.Suback) error {
	size := 5 + 2 + 1 + len(ack.Reasons)
	if size > int(c.maxOut) { // MQTT5-3.1.2-24
		return &mqttwire.Error{Reason: mqttwire.PacketTooLarge, Text: "more filters than an acknowledgement can name"}
	}
	if c.problemInfo { // MQTT5-3.1.2-29
		for _, r := range ack.Reasons {
			if r.Failed() {
				ack.Properties = c.reasonString(r.String(), size)
				break
			}
		}
	}
	write := func(dst []byte) []byte { return ack.Append(dst, c.version) }
	if c.disturbed() && c.disturb("", write) {
		return nil
	}
	if !c.out.Hold(write) {
		c.tooSlow()
	}
	c.traceOut("", write)
	return nil
}
