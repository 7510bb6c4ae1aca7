package conformance

import (
	"fmt"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// mqtt311 is MQTT Version 3.1.1 Plus Errata 01, OASIS Standard, 10 December 2015; its
// appendix B.
func mqtt311() Suite {
	l := &list{prefix: "MQTT311"}
	l.packets3()
	l.connect3()
	l.publish3()
	l.subscribe3()
	l.operation3()
	return Suite{
		Name: "mqtt311", Prefix: l.prefix, Title: "MQTT 3.1.1", Version: mqtt.V311, Statements: l.all,
		Sections: sections(),
		Ranges: []Range{
			{"1.5.3", 3, nil}, {"2.2.2", 2, nil}, {"2.3.1", 7, nil},
			{"3.1.0", 2, nil}, {"3.1.2", 24, nil}, {"3.1.3", 11, nil}, {"3.1.4", 5, nil},
			{"3.2.0", 1, nil}, {"3.2.2", 6, nil},
			{"3.3.1", 12, nil}, {"3.3.2", 3, nil}, {"3.3.4", 1, nil}, {"3.3.5", 2, nil},
			{"3.6.1", 1, nil}, {"3.8.1", 1, nil}, {"3.8.3", 4, nil}, {"3.8.4", 6, nil}, {"3.9.3", 2, nil},
			{"3.10.1", 1, nil}, {"3.10.3", 2, nil}, {"3.10.4", 6, nil}, {"3.12.4", 1, nil}, {"3.14.1", 1, nil}, {"3.14.4", 3, nil},
			{"4.1.0", 2, nil}, {"4.3.1", 1, nil}, {"4.3.2", 2, nil}, {"4.3.3", 2, nil}, {"4.4.0", 1, nil}, {"4.5.0", 2, nil},
			{"4.6.0", 6, nil}, {"4.7.1", 3, nil}, {"4.7.2", 1, nil}, {"4.7.3", 4, nil}, {"4.8.0", 2, nil},
			{"6.0.0", 4, nil}, {"7.0.0", 2, nil}, {"7.1.1", 1, nil}, {"7.1.2", 1, nil},
		},
	}
}

func (l *list) packets3() {
	l.seen("1.5.3-1", "strings are well-formed UTF-8, without surrogates", illFormed)
	l.seen("1.5.3-2", "strings hold no U+0000", nul)
	l.seen("1.5.3-3", "U+FEFF is a character like others, and kept", byteOrderMark)
	l.seen("2.2.1/types", "packet types that are reserved, or a server's to send, end the connection", func(t *T) {
		reservedTypes(t)
		fromServerOnly(t)
	})
	l.seen("2.2.2-1", "reserved flags have the values that are listed", reservedFlags)
	l.seen("2.2.2-2", "flags that are not valid end the connection", reservedFlags)
	l.seen("2.2.3/length", "a remaining length has four bytes at most", lengths)
	l.seen("2.3.1-1", "SUBSCRIBE, UNSUBSCRIBE and PUBLISH of QoS 1 and 2 have a packet identifier that is not 0", idZero)
	l.unseen("2.3.1-2", "a client uses packet identifiers that are not in use", onClient)
	l.unseen("2.3.1-3", "a client sends again with the same packet identifier", onClient)
	l.seen("2.3.1-4", "the server's packet identifiers are not 0, and not in use", distinctIDs)
	l.seen("2.3.1-5", "a PUBLISH of QoS 0 has no packet identifier", payloadBytes)
	l.seen("2.3.1-6", "acknowledgements have the packet identifier of their PUBLISH", answered)
	l.seen("2.3.1-7", "SUBACK and UNSUBACK have the packet identifier of what they answer", ownIDs)
}

func (l *list) connect3() {
	l.seen("3.1.0-1", "the first packet is CONNECT", notFirst)
	l.seen("3.1.0-2", "a second CONNECT ends the connection", connectTwice)
	l.seen("3.1.2-1", "another protocol name than MQTT is not served as this protocol", protocolName)
	l.seen("3.1.2-2", "a protocol level that is not supported is answered by CONNACK with code 1, and the end", protocolLevel)
	l.seen("3.1.2-3", "the reserved connect flag is 0", reservedConnectFlag)
	l.seen("3.1.2-4", "without Clean Session a session goes on, or is made, and is kept", resumes)
	l.seen("3.1.2-5", "messages of QoS 1 and 2 are kept for a session whose client is away", queued)
	l.seen("3.1.2-6", "with Clean Session the session that was is discarded, and the new one ends with the connection", all(map[string]func(*T){
		"before": startsClean, "after": dropsWithout}))
	l.seen("3.1.2-7", "retained messages are no part of a session", retainedStays)
	l.seen("3.1.2-8", "a will is kept while the connection is open, and published when it has ended but by DISCONNECT", all(map[string]func(*T){
		"kept": willPublished, "published": willAfter}))
	l.seen("3.1.2-9", "with the will flag its topic and message are there", connectWith(0x06))
	l.seen("3.1.2-10", "a will that was published or taken back is gone", willOnce)
	l.seen("3.1.2-11", "without the will flag there is no will QoS, no will retain, no topic and no message", all(map[string]func(*T){
		"flags": willFlags(0x0A, 0x12, 0x22), "fields": connectWith(0x02, willMark)}))
	l.seen("3.1.2-12", "without a will nothing is published when the connection ends", noWill)
	l.seen("3.1.2-13", "will QoS is 0 without a will", willFlags(0x0A, 0x12, 0x1A))
	l.seen("3.1.2-14", "will QoS is 0, 1 or 2", willQoS)
	l.seen("3.1.2-15", "will retain is 0 without a will", willFlags(0x22))
	l.seen("3.1.2-16", "without will retain the will is no retained message", willNotRetained)
	l.seen("3.1.2-17", "with will retain the will is a retained message", willRetained)
	l.seen("3.1.2-18", "without its flag there is no user name", connectWith(0x02, "user"))
	l.seen("3.1.2-19", "with its flag there is a user name", connectWith(0x82))
	l.seen("3.1.2-20", "without its flag there is no password", connectWith(0x82, "user", "password"))
	l.seen("3.1.2-21", "with its flag there is a password", connectWith(0xC2, "user"))
	l.seen("3.1.2-22", "there is no password without a user name", connectWith(0x42, "password"))
	l.unseen("3.1.2-23", "a client that has nothing to say sends PINGREQ", onClient)
	l.seen("3.1.2-24", "a client that is silent for one and a half times its keep alive is cut off", silence)
	l.seen("3.1.3-1", "the fields of the payload come in their order", allFields)
	l.seen("3.1.3-2", "the client identifier tells sessions apart", byClientID)
	l.seen("3.1.3-3", "the client identifier is there", noClientID)
	l.seen("3.1.3-4", "the client identifier is a valid string", illFormedIn("client identifier"))
	l.seen("3.1.3-5", "client identifiers of 1 to 23 letters and digits are taken", clientIDs)
	l.seen("3.1.3-6", "a client without an identifier is given one that nobody has", assigns)
	l.seen("3.1.3-7", "a client without an identifier asks for a clean session", emptyIDKept)
	l.seen("3.1.3-8", "one that does not is answered by CONNACK with code 2, and the end", emptyIDKept)
	l.seen("3.1.3-9", "a client identifier that is refused is answered by CONNACK with code 2, and the end", longID)
	l.seen("3.1.3-10", "the will topic is a valid string", illFormedIn("will topic"))
	l.seen("3.1.3-11", "the user name is a valid string", illFormedIn("user name"))
	l.seen("3.1.4-1", "a CONNECT that is not as it should be ends the connection, without CONNACK", connectShape)
	l.seen("3.1.4-2", "of two connections with one client identifier the older ends", takenOver)
	l.seen("3.1.4-3", "Clean Session is heeded when a session is taken over", takesOver)
	l.seen("3.1.4-4", "a CONNECT that is accepted is answered by CONNACK with code 0", letIn)
	l.seen("3.1.4-5", "what comes behind a CONNECT that is refused is not done", refusedThenMore)
	l.seen("3.2.0-1", "the first packet from the server is CONNACK", connackFirst)
	l.seen("3.2.2-1", "with Clean Session, session present is 0", startsClean)
	l.seen("3.2.2-2", "session present is 1 where the server has a session", presence)
	l.seen("3.2.2-3", "session present is 0 where it has none", startsNew)
	l.seen("3.2.2-4", "CONNACK that refuses has session present 0", emptyIDKept)
	l.seen("3.2.2-5", "the connection ends after CONNACK that refuses", emptyIDKept)
	l.seen("3.2.2-6", "where no return code fits the connection ends without CONNACK", connectShape)
}

func (l *list) publish3() {
	l.seen("3.3.1-1", "what is sent again has DUP", again)
	l.seen("3.3.1-2", "DUP is 0 at QoS 0", zeroDup)
	l.seen("3.3.1-3", "DUP on the way out is not that on the way in", dupOwn)
	l.seen("3.3.1-4", "QoS 3 ends the connection", publishQoS3)
	l.seen("3.3.1-5", "with RETAIN a message is kept with its QoS, for those who subscribe later", retainReplaces)
	l.seen("3.3.1-6", "a new subscription is sent the retained messages that it matches", retainSent)
	l.seen("3.3.1-7", "with RETAIN a message of QoS 0 ends what was retained", retainZero)
	l.seen("3.3.1-8", "RETAIN is 1 on what is sent for a new subscription", retainFlag)
	l.seen("3.3.1-9", "RETAIN is 0 on what is sent for a subscription that was there", retainFlag)
	l.seen("3.3.1-10", "with RETAIN and no payload the retained message is removed, and the message delivered", retainCleared)
	l.seen("3.3.1-11", "a retained message without payload is not kept", retainEmpty)
	l.seen("3.3.1-12", "without RETAIN the retained message stays as it is", retainNot)
	l.seen("3.3.2-1", "the topic name is a valid string", illFormedIn("topic name"))
	l.seen("3.3.2-2", "the topic name has no wildcards", wildcardTopic)
	l.seen("3.3.2-3", "the topic name of what is forwarded matches the subscription", multiLevel)
	l.seen("3.3.4-1", "PUBLISH is answered as its QoS says", answered)
	l.seen("3.3.5-1", "where subscriptions overlap the highest QoS counts", overlap)
	l.seen("3.3.5-2", "a publish that is not allowed is acknowledged, or the connection ends", notAllowed)
	l.seen("3.6.1-1", "the flags of PUBREL are 0010", flagsOf(mqtt.PUBREL))
}

func (l *list) subscribe3() {
	l.seen("3.8.1-1", "the flags of SUBSCRIBE are 0010", flagsOf(mqtt.SUBSCRIBE))
	l.seen("3.8.3-1", "topic filters are valid strings", illFormedIn("topic filter of SUBSCRIBE"))
	l.seen("3.8.3-2", "a server without wildcards refuses them; another matches them", singleLevel)
	l.seen("3.8.3-3", "SUBSCRIBE has at least one filter", noFilters(mqtt.SUBSCRIBE))
	l.seen("3.8.3-4", "reserved bits beside the QoS, and QoS 3, end the connection", options)
	l.seen("3.8.4-1", "SUBSCRIBE is answered by SUBACK", subackAlways)
	l.seen("3.8.4-2", "SUBACK has the packet identifier of SUBSCRIBE", ownIDs)
	l.seen("3.8.4-3", "a subscription takes the place of one with the same filter; retained messages are sent again, and none is lost", all(map[string]func(*T){
		"QoS": replaced, "retained": replacedRetained, "under way": replacedUnderway}))
	l.seen("3.8.4-4", "many filters are as many SUBSCRIBEs, with one answer", together)
	l.seen("3.8.4-5", "SUBACK has a code for each filter, that says what was granted", granted)
	l.seen("3.8.4-6", "messages have the lower of the QoS that was granted and that they were published with", lowerQoS)
	l.seen("3.9.3-1", "the codes of SUBACK are in the order of the filters", together)
	l.seen("3.9.3-2", "the codes of SUBACK are 0, 1, 2 and 0x80", granted)
	l.seen("3.10.1-1", "the flags of UNSUBSCRIBE are 0010", flagsOf(mqtt.UNSUBSCRIBE))
	l.seen("3.10.3-1", "topic filters of UNSUBSCRIBE are valid strings", illFormedIn("topic filter of UNSUBSCRIBE"))
	l.seen("3.10.3-2", "UNSUBSCRIBE has at least one filter", noFilters(mqtt.UNSUBSCRIBE))
	l.seen("3.10.4-1", "UNSUBSCRIBE ends the subscription whose filter is the same, character by character", unsubscribed)
	l.seen("3.10.4-2", "after UNSUBSCRIBE no new messages are sent", unsubscribed)
	l.seen("3.10.4-3", "deliveries that were begun are finished after UNSUBSCRIBE", unsubscribedUnderway)
	l.seen("3.10.4-4", "UNSUBSCRIBE is answered by UNSUBACK with its packet identifier", ownIDs)
	l.seen("3.10.4-5", "UNSUBACK comes though nothing was subscribed to", unsubackAlways)
	l.seen("3.10.4-6", "many filters are as many UNSUBSCRIBEs, with one answer", unsubscribeTogether)
	l.seen("3.12.4-1", "PINGREQ is answered by PINGRESP", pings)
	l.seen("3.14.1-1", "the reserved flags of DISCONNECT are 0", flagsOf(mqtt.DISCONNECT))
	l.unseen("3.14.4-1", "a client closes after DISCONNECT", onClient)
	l.seen("3.14.4-2", "a client sends nothing behind DISCONNECT; what it does send is not done", afterDisconnect)
	l.seen("3.14.4-3", "DISCONNECT takes the will back", willWithdrawn)
}

func (l *list) operation3() {
	l.seen("4.1.0-1", "session state is kept for as long as the session", queued)
	l.seen("4.1.0-2", "a session lasts at least as long as its connection", stays)
	l.seen("4.3.1-1", "QoS 0 is sent with QoS 0 and DUP 0", asSent(0))
	l.seen("4.3.2-1", "QoS 1, as sender: a packet identifier that is not in use, DUP 0, under way until PUBACK", all(map[string]func(*T){
		"as sent": asSent(1), "distinct": distinctIDs, "until PUBACK": ackedNotAgain}))
	l.seen("4.3.2-2", "QoS 1, as receiver: PUBACK with the packet identifier, which is then free", all(map[string]func(*T){
		"answered": answered, "free": newAfterAck}))
	l.seen("4.3.3-1", "QoS 2, as sender: under way until PUBREC, then PUBREL until PUBCOMP, and the message not again", all(map[string]func(*T){
		"as sent": asSent(2), "until PUBREC": again, "PUBREL": recAnswered, "until PUBCOMP": relAgain}))
	l.seen("4.3.3-2", "QoS 2, as receiver: PUBREC, delivered once, PUBCOMP, and the packet identifier is free", all(map[string]func(*T){
		"once": once, "over many connections": onceLater, "PUBCOMP": relAnswered, "free": newAfterComp}))
	l.seen("4.4.0-1", "on the next connection what was not acknowledged is sent again with its packet identifier", all(map[string]func(*T){
		"PUBLISH": again, "PUBREL": relAgain}))
	l.seen("4.5.0-1", "a message goes into every session that it matches", queued)
	l.unseen("4.5.0-2", "a client acknowledges what it receives", onClient)
	l.seen("4.6.0-1", "messages are sent again in their order", again)
	l.seen("4.6.0-2", "PUBACKs are in the order of the messages", acksInOrder(1))
	l.seen("4.6.0-3", "PUBRECs are in the order of the messages", acksInOrder(2))
	l.seen("4.6.0-4", "PUBRELs are in the order of the PUBRECs", relsInOrder)
	l.seen("4.6.0-5", "every topic is ordered", inOrder)
	l.seen("4.6.0-6", "messages of one client to one topic are sent in their order", inOrder)
	l.seen("4.7.1-1", "topic names have no wildcards", wildcardTopic)
	l.seen("4.7.1-2", "# is a level of its own, and the last", multiLevel)
	l.seen("4.7.1-3", "+ is a level of its own", singleLevel)
	l.seen("4.7.2-1", "a filter that begins with a wildcard matches no topic that begins with $", dollar)
	l.seen("4.7.3-1", "topic names and filters have at least one character", emptyNames)
	l.seen("4.7.3-2", "topic names and filters have no U+0000", nulInTopics)
	l.unseen("4.7.3-3", "topic names and filters have 65,535 bytes at most", inherent)
	l.seen("4.7.3-4", "topics are compared as they are", asIs)
	l.seen("4.8.0-1", "packets that are cut short, or too long for their type, end the connection", cutShort)
	l.unseen("4.8.0-2", "a passing error while a packet is handled ends the connection", inside)
	l.seen("6.0.0-1", "MQTT is in binary frames; another ends the connection", wsText)
	l.seen("6.0.0-2", "packets need not be aligned on frames", wsFrames)
	l.unseen("6.0.0-3", "a client offers the sub-protocol mqtt", onClient)
	l.seen("6.0.0-4", "the server chooses the sub-protocol mqtt", wsProtocol)
	l.unseen("7.0.0-1", "a server that connects to others is a client too", everything)
	l.unseen("7.0.0-2", "no extension is needed to work with others", everything)
	l.seen("7.1.1-1", "an ordered, lossless stream of bytes is served, wherever it is cut", fragments)
	l.unseen("7.1.2-1", "a client has such a transport", onClient)
}

// mqtt31 is what MQTT 3.1 has otherwise than 3.1.1. Its text numbers no statements.
func mqtt31() Suite {
	l := &list{prefix: "MQTT31"}
	l.seen("3.1/name", "MQIsdp at level 3 is let in", all(map[string]func(*T){"let in": letIn, "publishes": asSent(1)}))
	l.seen("3.1/level", "MQIsdp at another level is answered by CONNACK with code 1, and the end", level31)
	l.seen("3.1/identifier", "an empty client identifier is answered by CONNACK with code 2, and the end", emptyID31)
	l.seen("3.1/session", "without Clean Session a session goes on", resumes31)
	l.seen("3.1/will", "a will is published when the connection has ended but by DISCONNECT", willAfter)
	l.seen("3.6/dup", "PUBREL, SUBSCRIBE and UNSUBSCRIBE may have DUP", dup31)
	l.seen("3.8/qos", "subscriptions are granted a QoS", granted)
	l.seen("4.1/qos", "QoS 0, 1 and 2 are answered", answered)
	return Suite{
		Name: "mqtt31", Prefix: l.prefix, Title: "MQTT 3.1", Version: mqtt.V31, Statements: l.all,
		Sections: map[string]string{"3.1": "CONNECT", "3.6": "PUBREL", "3.8": "SUBSCRIBE", "4.1": "QoS"},
	}
}

func level31(t *T) {
	t.otherVersion = true
	for _, level := range []byte{0, 2, 6} {
		t.each(fmt.Sprintf("level %d", level), func(t *T) {
			c := t.dial()
			c.send(frame(0x10, str("MQIsdp"), []byte{level, 2}, u16(60), str(t.clientID())))
			p := c.expect(mqtt.CONNACK)
			t.check(len(p.Frame.Body) == 2 && p.Frame.Body[1] == byte(mqtt.RefusedVersion), "CONNACK with code 1", describe(t.v, frame(0x20, p.Frame.Body)))
			c.closes()
		})
	}
}

func emptyID31(t *T) {
	c := t.dial()
	c.send(connectBytes(t.v, 2, nil, str("")))
	p := c.expect(mqtt.CONNACK)
	if ack := p.Body.(*mqtt.Connack); ack.Code == mqtt.Accepted {
		t.vary("CONNACK with code 2", p.words(c.v))
		return
	}
	t.check(p.Body.(*mqtt.Connack).Code == mqtt.RefusedClientID, "CONNACK with code 2", p.words(c.v))
	c.closes()
}

// resumes31 is resumes, without session present: 3.1 has none.
func resumes31(t *T) {
	topic, id := t.topic("x"), t.clientID()
	t.subscriber(topic, 1, as(id), durable).leave()
	t.connect().publish(topic, "m", 1)
	t.connect(as(id), durable).take("m")
}

func dup31(t *T) {
	for name, b := range map[string][]byte{
		"PUBREL":      frame(0x6A, u16(1)),
		"SUBSCRIBE":   append([]byte{0x8A}, subscribeBytes(t.v, 1, nil, filter(t.topic("x"), 1))[1:]...),
		"UNSUBSCRIBE": append([]byte{0xAA}, unsubscribeBytes(t.v, 1, t.topic("x"))[1:]...),
	} {
		t.each(name, func(t *T) {
			c := t.connect()
			c.send(b)
			p := c.next("an answer")
			t.check(p.Type == mqtt.PUBCOMP || p.Type == mqtt.SUBACK || p.Type == mqtt.UNSUBACK, "an answer", p.words(t.v))
			c.quiet()
		})
	}
}

// notAllowed publishes where a client mostly may not.
func notAllowed(t *T) {
	c := t.connect()
	c.send(publishBytes(t.v, 0x32, "$SYS/conform/"+t.clientID(), 1, nil, "m"))
	p, err := c.read()
	if err != nil {
		t.check(c.over, "PUBACK, or the end of the connection", "nothing")
		return
	}
	t.check(p.Type == mqtt.PUBACK, "PUBACK, or the end of the connection", p.words(t.v))
	c.quiet()
}
