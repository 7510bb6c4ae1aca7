package conformance

import (
	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// mqtt5 is MQTT Version 5.0, OASIS Standard, 7 March 2019; its appendix B.
func mqtt5() Suite {
	l := &list{prefix: "MQTT5"}
	l.representation5()
	l.connect5()
	l.connack5()
	l.publish5()
	l.acks5()
	l.subscribe5()
	l.end5()
	l.sessions5()
	l.delivery5()
	l.topics5()
	l.auth5()
	return Suite{
		Name: "mqtt5", Prefix: l.prefix, Title: "MQTT 5.0", Version: mqtt.V5, Statements: l.all,
		Sections: sections(),
		Ranges: []Range{
			{"1.5.4", 3, nil}, {"1.5.5", 1, nil}, {"1.5.7", 1, nil},
			{"2.1.3", 1, nil}, {"2.2.1", 6, []int{1}}, {"2.2.2", 1, nil},
			{"3.1.0", 2, nil}, {"3.1.2", 30, nil}, {"3.1.3", 12, nil}, {"3.1.4", 6, nil},
			{"3.2.0", 2, nil}, {"3.2.2", 22, nil},
			{"3.3.1", 13, nil}, {"3.3.2", 20, nil}, {"3.3.4", 10, nil},
			{"3.4.2", 3, nil}, {"3.5.2", 3, nil}, {"3.6.1", 1, nil}, {"3.6.2", 3, nil}, {"3.7.2", 3, nil},
			{"3.8.1", 1, nil}, {"3.8.3", 5, nil}, {"3.8.4", 8, nil}, {"3.9.2", 2, nil}, {"3.9.3", 2, nil},
			{"3.10.1", 1, nil}, {"3.10.3", 2, nil}, {"3.10.4", 6, nil}, {"3.11.2", 2, nil}, {"3.11.3", 2, nil},
			{"3.12.4", 1, nil}, {"3.14.0", 1, nil}, {"3.14.1", 1, nil}, {"3.14.2", 4, nil}, {"3.14.4", 3, nil},
			{"3.15.1", 1, nil}, {"3.15.2", 3, nil},
			{"4.1.0", 2, nil}, {"4.2.0", 1, nil}, {"4.3.1", 1, nil}, {"4.3.2", 5, nil}, {"4.3.3", 13, nil},
			{"4.4.0", 2, nil}, {"4.5.0", 2, nil}, {"4.6.0", 6, nil},
			{"4.7.0", 1, nil}, {"4.7.1", 2, nil}, {"4.7.2", 1, nil}, {"4.7.3", 4, nil}, {"4.8.2", 6, nil}, {"4.9.0", 3, nil},
			{"4.12.0", 7, nil}, {"4.12.1", 2, nil}, {"4.13.1", 1, nil}, {"4.13.2", 1, nil},
			{"6.0.0", 4, nil},
		},
	}
}

// sections are the titles that both specifications share.
func sections() map[string]string {
	return map[string]string{
		"1.5": "data representation", "2.1": "fixed header", "2.2": "packet identifiers and properties", "2.3": "packet identifiers",
		"3.1": "CONNECT", "3.2": "CONNACK", "3.3": "PUBLISH", "3.4": "PUBACK", "3.5": "PUBREC", "3.6": "PUBREL", "3.7": "PUBCOMP",
		"3.8": "SUBSCRIBE", "3.9": "SUBACK", "3.10": "UNSUBSCRIBE", "3.11": "UNSUBACK", "3.12": "PINGREQ", "3.14": "DISCONNECT", "3.15": "AUTH",
		"4.1": "session state", "4.2": "transports", "4.3": "QoS", "4.4": "sending again", "4.5": "receiving", "4.6": "order",
		"4.7": "topic names and filters", "4.8": "subscriptions", "4.9": "flow control", "4.12": "authentication", "4.13": "errors",
		"6.0": "WebSocket", "7.0": "conformance", "7.1": "conformance",
	}
}

func (l *list) representation5() {
	l.seen("1.5.4-1", "strings are well-formed UTF-8, without surrogates", illFormed)
	l.seen("1.5.4-2", "strings hold no U+0000", nul)
	l.seen("1.5.4-3", "U+FEFF is a character like others, and kept", byteOrderMark)
	l.seen("1.5.5-1", "variable byte integers have their shortest form", longInts)
	l.seen("1.5.7-1", "both strings of a user property are valid", userPair)
	l.seen("2.1.2/types", "packet types that are reserved, or a server's to send, end the connection", func(t *T) {
		reservedTypes(t)
		fromServerOnly(t)
	})
	l.seen("2.1.3-1", "reserved flags have the values that are listed", reservedFlags)
	l.seen("2.1.4/length", "a remaining length has four bytes at most", lengths)
	l.seen("2.2.1-2", "a PUBLISH of QoS 0 has no packet identifier", payloadBytes)
	l.seen("2.2.1-3", "a packet identifier from a client is not 0", idZero)
	l.seen("2.2.1-4", "a packet identifier from the server is not 0, and not in use", distinctIDs)
	l.seen("2.2.1-5", "acknowledgements have the packet identifier of their PUBLISH", answered)
	l.seen("2.2.1-6", "SUBACK and UNSUBACK have the packet identifier of what they answer", ownIDs)
	l.seen("2.2.2-1", "a packet without properties says so by a length of 0", wellFormed)
	l.seen("2.2.2.2/unknown", "a property that there is none of ends the connection", unknownProperty)
	l.seen("2.2.2.2/misplaced", "a property in a packet that may not have it ends the connection", misplaced)
	l.seen("2.2.2.2/repeated", "a property twice that may be there once ends the connection", repeated)
	l.seen("2.2.2.2/all", "every property is taken where it may be", everyProperty)
}

func (l *list) connect5() {
	l.seen("3.1.0-1", "the first packet is CONNECT", notFirst)
	l.seen("3.1.0-2", "a second CONNECT ends the connection", connectTwice)
	l.seen("3.1.2-1", "another protocol name than MQTT ends the connection", protocolName)
	l.seen("3.1.2-2", "another protocol version ends the connection", protocolLevel)
	l.seen("3.1.2-3", "the reserved connect flag is 0", reservedConnectFlag)
	l.seen("3.1.2-4", "with Clean Start the session that was is discarded", startsClean)
	l.seen("3.1.2-5", "without Clean Start the session that was goes on", resumes)
	l.seen("3.1.2-6", "without Clean Start, where no session was, one is made", startsNew)
	l.seen("3.1.2-7", "a will is kept with the session, until the connection ends", willPublished)
	l.seen("3.1.2-8", "a will is published when the connection has ended, however it did but by DISCONNECT with 0x00", willAfter)
	l.timed("3.1.2-8/delay", "a will is published when its delay is over", willLater)
	l.seen("3.1.2-9", "with the will flag its properties, topic and payload are there", connectWith(0x06))
	l.seen("3.1.2-10", "a will that was published or taken back is gone", willOnce)
	l.seen("3.1.2-11", "will QoS is 0 without a will", willFlags(0x0A, 0x12, 0x1A))
	l.seen("3.1.2-12", "will QoS is 0, 1 or 2", willQoS)
	l.seen("3.1.2-13", "will retain is 0 without a will", willFlags(0x22))
	l.seen("3.1.2-14", "without will retain the will is no retained message", willNotRetained)
	l.seen("3.1.2-15", "with will retain the will is a retained message", willRetained)
	l.seen("3.1.2-16", "without its flag there is no user name", connectWith(0x02, "user"))
	l.seen("3.1.2-17", "with its flag there is a user name", connectWith(0x82))
	l.seen("3.1.2-18", "without its flag there is no password", connectWith(0x82, "user", "password"))
	l.seen("3.1.2-19", "with its flag there is a password", connectWith(0xC2, "user"))
	l.unseen("3.1.2-20", "a client that has nothing to say sends PINGREQ", onClient)
	l.unseen("3.1.2-21", "a client keeps to the server's keep alive", onClient)
	l.seen("3.1.2-22", "a client that is silent for one and a half times its keep alive is cut off", silence)
	l.seen("3.1.2-23", "a session outlives its connection when its expiry is not 0, and only then", presence)
	l.seen("3.1.2-24", "no packet is sent that is larger than the client takes", small(20))
	l.seen("3.1.2-25", "a message that is too large for a client counts as delivered", small(1))
	l.seen("3.1.2-26", "topic aliases stay within the client's maximum", aliasesSent(2))
	l.seen("3.1.2-27", "a client that takes no topic aliases is sent none", aliasesSent(0))
	l.seen("3.1.2-28", "response information is not sent to who did not ask", noResponseInfo)
	l.seen("3.1.2-29", "reason strings and user properties are not sent to who wants none", noProblems)
	l.unseen("3.1.2-30", "a client with an authentication method sends nothing else before CONNACK", onClient)
	l.seen("3.1.2.11.3/zero", "receive maximum 0 ends the connection", value("CONNECT", []byte{0x21, 0, 0}, mqtt.ProtocolError))
	l.seen("3.1.2.11.4/zero", "maximum packet size 0 ends the connection", value("CONNECT", []byte{0x27, 0, 0, 0, 0}, mqtt.ProtocolError))
	l.seen("3.1.2.11.6/value", "request response information is 0 or 1", value("CONNECT", []byte{0x19, 2}, mqtt.ProtocolError))
	l.seen("3.1.2.11.7/value", "request problem information is 0 or 1", value("CONNECT", []byte{0x17, 2}, mqtt.ProtocolError))
	l.seen("3.1.2.11.10/alone", "authentication data without a method ends the connection", value("CONNECT", []byte{0x16, 0, 1, 'x'}, mqtt.ProtocolError))
	l.seen("3.1.3-1", "the fields of the payload come in their order", allFields)
	l.seen("3.1.3-2", "the client identifier tells sessions apart", byClientID)
	l.seen("3.1.3-3", "the client identifier is there", noClientID)
	l.seen("3.1.3-4", "the client identifier is a valid string", illFormedIn("client identifier"))
	l.seen("3.1.3-5", "client identifiers of 1 to 23 letters and digits are taken", clientIDs)
	l.seen("3.1.3-6", "a client without an identifier is given one that nobody has", assigns)
	l.seen("3.1.3-7", "the identifier that was given is in CONNACK, and works as if the client had sent it", assignedWorks)
	l.seen("3.1.3-8", "a client identifier that is refused ends the connection", longID)
	l.timed("3.1.3-9", "a client that is back before the will's delay is over has its will unsent", willDelayed)
	l.seen("3.1.3-10", "the will's user properties keep their order", willUserProperties)
	l.seen("3.1.3-11", "the will topic is a valid string", illFormedIn("will topic"))
	l.seen("3.1.3-12", "the user name is a valid string", illFormedIn("user name"))
	l.seen("3.1.4-1", "a CONNECT that is not as it should be ends the connection", connectShape)
	l.seen("3.1.4-2", "a client that is not let in is cut off", wrongPassword)
	l.seen("3.1.4-3", "of two connections with one client identifier the older ends", takenOver)
	l.seen("3.1.4-4", "Clean Start is heeded when a session is taken over", takesOver)
	l.seen("3.1.4-5", "a CONNECT that is accepted is answered by CONNACK with 0x00", letIn)
	l.seen("3.1.4-6", "what comes behind a CONNECT that is refused is not done", refusedThenMore)
}

func (l *list) connack5() {
	l.seen("3.2.0-1", "nothing comes before CONNACK", connackFirst)
	l.seen("3.2.0-2", "there is one CONNACK on a connection", connackOnce)
	l.seen("3.2.2-1", "the reserved acknowledge flags are 0", letIn)
	l.seen("3.2.2-2", "with Clean Start, session present is 0", startsClean)
	l.seen("3.2.2-3", "without Clean Start, session present says whether there was a session", presence)
	l.unseen("3.2.2-4", "a client without a session closes when one is said to be present", onClient)
	l.unseen("3.2.2-5", "a client discards its session when none is present", onClient)
	l.seen("3.2.2-6", "CONNACK that refuses has session present 0", refusals)
	l.seen("3.2.2-7", "the connection ends after CONNACK that refuses", refusals)
	l.seen("3.2.2-8", "CONNACK has one of its reason codes", refusals)
	l.seen("3.2.2-9", "a server that does not take every QoS says so", everyQoS)
	l.seen("3.2.2-10", "subscriptions may ask for every QoS, whatever the server publishes", lowerQoS)
	l.seen("3.2.2-11", "PUBLISH keeps to the server's maximum QoS", qosBeyond)
	l.seen("3.2.2-12", "a will QoS that the server lacks is refused", willQoSBeyond)
	l.seen("3.2.2-13", "will retain is refused where messages are not retained", retainUnavailable(true))
	l.seen("3.2.2-14", "RETAIN is not sent to a server that does not retain", retainUnavailable(false))
	l.seen("3.2.2-15", "no packet is sent that is larger than the server takes", tooLarge)
	l.seen("3.2.2-16", "CONNACK for an empty client identifier has one that no other session has", assigns)
	l.seen("3.2.2-17", "topic aliases stay within the server's maximum", aliasTooHigh)
	l.seen("3.2.2-18", "a server that takes no topic aliases is sent none", aliasNone)
	l.seen("3.2.2-19", "CONNACK has no reason string that makes it too large for the client", smallAnswers(mqtt.CONNACK))
	l.seen("3.2.2-20", "CONNACK has no user property that makes it too large for the client", smallAnswers(mqtt.CONNACK))
	l.unseen("3.2.2-21", "a client keeps to the server's keep alive", onClient)
	l.seen("3.2.2-22", "without a keep alive of its own the server goes by the client's", silence)
}

func (l *list) publish5() {
	l.seen("3.3.1-1", "what is sent again has DUP", again)
	l.seen("3.3.1-2", "DUP is 0 at QoS 0", zeroDup)
	l.seen("3.3.1-3", "DUP on the way out is not that on the way in", dupOwn)
	l.seen("3.3.1-4", "QoS 3 ends the connection", publishQoS3)
	l.seen("3.3.1-5", "with RETAIN a message takes the place of the retained one", retainReplaces)
	l.seen("3.3.1-6", "with RETAIN and no payload the retained message is removed", retainCleared)
	l.seen("3.3.1-7", "a retained message without payload is not kept", retainEmpty)
	l.seen("3.3.1-8", "without RETAIN the retained message stays as it is", retainNot)
	l.seen("3.3.1-9", "retain handling 0: retained messages are sent", all(map[string]func(*T){
		"all that match": retainSent, "at every SUBSCRIBE": retainHandling(0, true, true)}))
	l.seen("3.3.1-10", "retain handling 1: they are sent for a new subscription only", retainHandling(1, true, false))
	l.seen("3.3.1-11", "retain handling 2: they are not sent", retainHandling(2, false, false))
	l.seen("3.3.1-12", "without retain as published, RETAIN is 0 on what is forwarded", retainFlag)
	l.seen("3.3.1-13", "with retain as published, RETAIN is what the publisher sent", retainAsPublished)
	l.seen("3.3.2-1", "the topic name is a valid string", illFormedIn("topic name"))
	l.seen("3.3.2-2", "the topic name has no wildcards", wildcardTopic)
	l.seen("3.3.2-3", "the topic name of what is forwarded matches the subscription", multiLevel)
	l.seen("3.3.2-4", "the payload format indicator is forwarded as it is", forwarded(mqtt.Properties(nil).Byte(mqtt.PayloadFormat, 1)))
	l.timed("3.3.2-5", "a message whose time is over is not delivered", expired)
	l.timed("3.3.2-6", "a message is forwarded with the time that it has left", expiryLeft)
	l.seen("3.3.2-7", "topic aliases end with the connection", aliasForgotten)
	l.seen("3.3.2-8", "topic alias 0 ends the connection", aliasZero)
	l.seen("3.3.2-9", "a topic alias beyond the server's maximum ends the connection", aliasTooHigh)
	l.unseen("3.3.2-10", "a client takes every topic alias up to its maximum", onClient)
	l.seen("3.3.2-11", "the server sends no topic alias beyond the client's maximum", aliasesSent(3))
	l.seen("3.3.2-12", "the server takes every topic alias up to its maximum", aliasesTaken)
	l.seen("3.3.2-13", "the response topic is a valid string", illFormedIn("response topic"))
	l.seen("3.3.2-14", "the response topic has no wildcards", responseTopicWildcard)
	l.seen("3.3.2-15", "the response topic is forwarded as it is", forwarded(mqtt.Properties(nil).String(mqtt.ResponseTopic, "a//é/$b")))
	l.seen("3.3.2-16", "correlation data are forwarded as they are", forwarded(mqtt.Properties(nil).Binary(mqtt.CorrelationData, []byte{0, 0xFF, 1})))
	l.seen("3.3.2-17", "user properties are forwarded as they are", userForwarded)
	l.seen("3.3.2-18", "user properties keep their order", userForwarded)
	l.seen("3.3.2-19", "the content type is a valid string", illFormedIn("content type"))
	l.seen("3.3.2-20", "the content type is forwarded as it is", forwarded(mqtt.Properties(nil).String(mqtt.ContentType, "text/plain; é")))
	l.seen("3.3.2.1/nothing", "a PUBLISH with neither topic name nor alias ends the connection", noTopicNoAlias)
	l.seen("3.3.2.3.2/value", "the payload format indicator is 0 or 1", formatTwo)
	l.seen("3.3.2.3.4/unknown", "a topic alias that stands for nothing ends the connection", aliasUnknown)
	l.seen("3.3.4-1", "PUBLISH is answered as its QoS says", answered)
	l.seen("3.3.4-2", "where subscriptions overlap the highest QoS counts", overlap)
	l.seen("3.3.4-3", "where subscriptions overlap their identifiers are sent", overlapIDs)
	l.seen("3.3.4-4", "one copy has the identifiers of all subscriptions that match", overlapIDs)
	l.seen("3.3.4-5", "of many copies each has the identifier of its subscription", overlapIDs)
	l.seen("3.3.4-6", "a client sends no subscription identifier in PUBLISH", subIDFromClient)
	l.seen("3.3.4-7", "a client keeps to the server's receive maximum", windowIn)
	l.unseen("3.3.4-8", "a client holds nothing but PUBLISH back for the receive maximum", onClient)
	l.seen("3.3.4-9", "the server keeps to the client's receive maximum", window)
	l.seen("3.3.4-10", "the server holds nothing but PUBLISH back for the receive maximum", windowFull)
}

func (l *list) acks5() {
	for _, a := range []struct {
		section string
		typ     mqtt.Type
	}{{"3.4.2", mqtt.PUBACK}, {"3.5.2", mqtt.PUBREC}, {"3.6.2", mqtt.PUBREL}, {"3.7.2", mqtt.PUBCOMP}} {
		name := a.typ.String()
		if a.typ == mqtt.PUBREL {
			l.seen("3.6.1-1", "the flags of PUBREL are 0010", flagsOf(mqtt.PUBREL))
		}
		l.seen(a.section+"-1", name+" has one of its reason codes", wellFormed)
		l.seen(a.section+"-2", name+" has no reason string that makes it too large for the client", smallAnswers(a.typ))
		l.seen(a.section+"-3", name+" has no user property that makes it too large for the client", smallAnswers(a.typ))
		l.seen(a.section+".1/code", name+" from a client has one of its reason codes", noCode(a.typ))
	}
}

func (l *list) subscribe5() {
	l.seen("3.8.1-1", "the flags of SUBSCRIBE are 0010", flagsOf(mqtt.SUBSCRIBE))
	l.seen("3.8.2.1.2/zero", "subscription identifier 0 ends the connection", value("SUBSCRIBE", []byte{0x0B, 0}, mqtt.ProtocolError))
	l.seen("3.8.3-1", "topic filters are valid strings", illFormedIn("topic filter of SUBSCRIBE"))
	l.seen("3.8.3-2", "SUBSCRIBE has at least one filter", noFilters(mqtt.SUBSCRIBE))
	l.seen("3.8.3-3", "with no local a client is not sent what it has published", noLocal)
	l.seen("3.8.3-4", "no local on a shared subscription ends the connection", noLocalShared)
	l.seen("3.8.3-5", "reserved subscription options end the connection, as do QoS 3 and retain handling 3", options)
	l.seen("3.8.4-1", "SUBSCRIBE is answered by SUBACK", subackAlways)
	l.seen("3.8.4-2", "SUBACK has the packet identifier of SUBSCRIBE", ownIDs)
	l.seen("3.8.4-3", "a subscription takes the place of one with the same filter", all(map[string]func(*T){
		"QoS": replaced, "identifier": idReplaced}))
	l.seen("3.8.4-4", "with retain handling 0 the retained messages are sent again, and no message is lost", all(map[string]func(*T){
		"retained": replacedRetained, "under way": replacedUnderway}))
	l.seen("3.8.4-5", "many filters are as many SUBSCRIBEs, with one answer", together)
	l.seen("3.8.4-6", "SUBACK has a code for each filter", together)
	l.seen("3.8.4-7", "the code says what QoS was granted, or that none was", granted)
	l.seen("3.8.4-8", "messages have the lower of the QoS that was granted and that they were published with", lowerQoS)
	l.seen("3.9.2-1", "SUBACK has no reason string that makes it too large for the client", smallAnswers(mqtt.SUBACK))
	l.seen("3.9.2-2", "SUBACK has no user property that makes it too large for the client", smallAnswers(mqtt.SUBACK))
	l.seen("3.9.3-1", "the codes of SUBACK are in the order of the filters", together)
	l.seen("3.9.3-2", "SUBACK has its own reason codes", granted)
	l.seen("3.10.1-1", "the flags of UNSUBSCRIBE are 0010", flagsOf(mqtt.UNSUBSCRIBE))
	l.seen("3.10.3-1", "topic filters of UNSUBSCRIBE are valid strings", illFormedIn("topic filter of UNSUBSCRIBE"))
	l.seen("3.10.3-2", "UNSUBSCRIBE has at least one filter", noFilters(mqtt.UNSUBSCRIBE))
	l.seen("3.10.4-1", "UNSUBSCRIBE ends the subscription whose filter is the same, character by character", unsubscribed)
	l.seen("3.10.4-2", "after UNSUBSCRIBE no new messages are sent", unsubscribed)
	l.seen("3.10.4-3", "deliveries that were begun are finished after UNSUBSCRIBE", unsubscribedUnderway)
	l.seen("3.10.4-4", "UNSUBSCRIBE is answered by UNSUBACK", unsubackAlways)
	l.seen("3.10.4-5", "UNSUBACK has the packet identifier of UNSUBSCRIBE, and comes though nothing was subscribed to", unsubackAlways)
	l.seen("3.10.4-6", "many filters are as many UNSUBSCRIBEs, with one answer", unsubscribeTogether)
	l.seen("3.11.2-1", "UNSUBACK has no reason string that makes it too large for the client", smallAnswers(mqtt.UNSUBACK))
	l.seen("3.11.2-2", "UNSUBACK has no user property that makes it too large for the client", smallAnswers(mqtt.UNSUBACK))
	l.seen("3.11.3-1", "the codes of UNSUBACK are in the order of the filters", unsubscribeTogether)
	l.seen("3.11.3-2", "UNSUBACK has its own reason codes", unsubscribeTogether)
}

func (l *list) end5() {
	l.seen("3.12.4-1", "PINGREQ is answered by PINGRESP", pings)
	l.seen("3.14.0-1", "no DISCONNECT is sent to who was not let in", notBeforeConnack)
	l.seen("3.14.1-1", "the reserved flags of DISCONNECT are 0", flagsOf(mqtt.DISCONNECT))
	l.seen("3.14.2-1", "DISCONNECT has one of its reason codes", lastWord)
	l.seen("3.14.2.1/code", "DISCONNECT from a client has one of its reason codes", noDisconnectCode)
	l.seen("3.14.2-2", "DISCONNECT from the server has no session expiry interval", lastWord)
	l.seen("3.14.2-3", "DISCONNECT has no reason string that makes it too large for the client", smallAnswers(mqtt.DISCONNECT))
	l.seen("3.14.2-4", "DISCONNECT has no user property that makes it too large for the client", smallAnswers(mqtt.DISCONNECT))
	l.seen("3.14.2.2.2/change", "DISCONNECT may change how long the session lasts", expiryChanged)
	l.seen("3.14.2.2.2/nowhere", "DISCONNECT may not ask for a session that CONNECT did not ask for", sessionExpiryFromNowhere)
	l.seen("3.14.4-1", "nothing is sent after DISCONNECT", lastWord)
	l.seen("3.14.4-2", "the connection ends after DISCONNECT", lastWord)
	l.seen("3.14.4-3", "DISCONNECT with 0x00 takes the will back", willWithdrawn)
	l.seen("3.14.4/client", "what a client sends behind its DISCONNECT is not done", afterDisconnect)
	l.seen("3.15.1-1", "the flags of AUTH are 0", flagsOf(mqtt.AUTH))
	l.seen("3.15.2-1", "AUTH has one of its reason codes", authReason)
	l.seen("3.15.2-2", "AUTH has no reason string that makes it too large", authFits(mqtt.ReasonString))
	l.seen("3.15.2-3", "AUTH has no user property that makes it too large", authFits(mqtt.UserProperty))
}

func (l *list) sessions5() {
	l.seen("4.1.0-1", "a session holds while its connection is open", stays)
	l.timed("4.1.0-2", "a session is gone when its expiry is over", expires)
	l.seen("4.1/subscription", "the identifier of a subscription is part of the session", idKept)
	l.seen("4.2.0-1", "an ordered, lossless stream of bytes is served, wherever it is cut", fragments)
}

func (l *list) delivery5() {
	l.seen("4.3.1-1", "QoS 0 is sent with QoS 0 and DUP 0", asSent(0))
	l.seen("4.3.2-1", "a new message of QoS 1 has a packet identifier that is not in use", distinctIDs)
	l.seen("4.3.2-2", "a message of QoS 1 is sent with QoS 1 and DUP 0", asSent(1))
	l.seen("4.3.2-3", "a message of QoS 1 is under way until PUBACK", ackedNotAgain)
	l.seen("4.3.2-4", "PUBACK has the packet identifier of the message", answered)
	l.seen("4.3.2-5", "after PUBACK the packet identifier is that of a new message, whatever DUP says", newAfterAck)
	l.seen("4.3.3-1", "a new message of QoS 2 has a packet identifier that is not in use", distinctIDs)
	l.seen("4.3.3-2", "a message of QoS 2 is sent with QoS 2 and DUP 0", asSent(2))
	l.seen("4.3.3-3", "a message of QoS 2 is under way until PUBREC", again)
	l.seen("4.3.3-4", "PUBREC is answered by PUBREL with its packet identifier", recAnswered)
	l.seen("4.3.3-5", "PUBREL is under way until PUBCOMP", relAgain)
	l.seen("4.3.3-6", "a message is not sent again once PUBREL was", relAgain)
	l.timed("4.3.3-7", "a message that was sent does not expire", expiredOut)
	l.seen("4.3.3-8", "PUBREC has the packet identifier of the message", answered)
	l.seen("4.3.3-9", "after a PUBREC that refuses the packet identifier is that of a new message", newAfterRefusal)
	l.seen("4.3.3-10", "until PUBREL the message is answered by PUBREC and delivered once, over the connections of a session", onceLater)
	l.seen("4.3.3-11", "PUBREL is answered by PUBCOMP with its packet identifier", relAnswered)
	l.seen("4.3.3-12", "after PUBCOMP the packet identifier is that of a new message", newAfterComp)
	l.timed("4.3.3-13", "QoS 2 goes on to its end though the message is over", expiredIn)
	l.seen("4.4.0-1", "on the next connection, and only then, what was not acknowledged is sent again with its packet identifier", all(map[string]func(*T){
		"PUBLISH": again, "PUBREL": relAgain}))
	l.seen("4.4.0-2", "what was refused by its acknowledgement is not sent again", refusedNotAgain)
	l.seen("4.5.0-1", "a message goes into every session that it matches", queued)
	l.unseen("4.5.0-2", "a client acknowledges what it receives", onClient)
	l.unseen("4.6.0-1", "a client sends again in order", onClient)
	l.unseen("4.6.0-2", "a client sends PUBACK in order", onClient)
	l.unseen("4.6.0-3", "a client sends PUBREC in order", onClient)
	l.unseen("4.6.0-4", "a client sends PUBREL in order", onClient)
	l.seen("4.6.0-5", "messages of one client to one topic are sent in their order", inOrder)
	l.seen("4.6.0-6", "every topic is ordered, for subscriptions that are not shared", inOrder)
}

func (l *list) topics5() {
	l.seen("4.7.0-1", "topic names have no wildcards", wildcardTopic)
	l.seen("4.7.1-1", "# is a level of its own, and the last", multiLevel)
	l.seen("4.7.1-2", "+ is a level of its own", singleLevel)
	l.seen("4.7.2-1", "a filter that begins with a wildcard matches no topic that begins with $", dollar)
	l.seen("4.7.3-1", "topic names and filters have at least one character", emptyNames)
	l.seen("4.7.3-2", "topic names and filters have no U+0000", nulInTopics)
	l.unseen("4.7.3-3", "topic names and filters have 65,535 bytes at most", inherent)
	l.seen("4.7.3-4", "topics are compared as they are", asIs)
	l.seen("4.8.2-1", "the filter of a share has a name of at least one character", badFilter("$share//a"))
	l.seen("4.8.2-2", "the name of a share has no wildcards, and a filter behind it", badFilter("$share/n+/a", "$share/#/a", "$share/+/a", "$share/n", "$share/n/"))
	l.seen("4.8.2-3", "shares are granted their QoS", sharedQoS)
	l.seen("4.8.2-4", "a QoS 2 delivery to a member whose connection breaks is finished when it is back", sharedResumed)
	l.seen("4.8.2-5", "a QoS 2 delivery that was begun goes to no other member when the session ends", sharedEnded)
	l.seen("4.8.2-6", "what a member refuses goes to no other", sharedRefused)
	l.seen("4.8.2/once", "a message goes to one member", sharedOnce)
	l.seen("4.8.2/retained", "shares are sent no retained messages", notToShares)
	l.seen("4.9.0-1", "the server sends as much at once as the client's receive maximum lets it, and no more", windowOpens)
	l.seen("4.9.0-2", "what is under way counts; at the maximum no more is sent", window)
	l.seen("4.9.0/refused", "a PUBREC that refuses makes room", windowRefused)
	l.seen("4.9.0-3", "everything else goes on at the maximum", windowFull)
}

func (l *list) auth5() {
	l.seen("4.12.0-1", "an authentication method that is not known ends the connection", unknownMethod)
	l.seen("4.12.0-2", "the server asks for more by AUTH with 0x18", asksForMore)
	l.unseen("4.12.0-3", "the client answers by AUTH with 0x18", onClient)
	l.seen("4.12.0-4", "the server may refuse at any step, and ends the connection", refusesProof)
	l.seen("4.12.0-5", "AUTH and CONNACK name the method of CONNECT", namesMethod)
	l.seen("4.12.0-6", "without a method in CONNECT there is no AUTH, and none in CONNACK", noAuthAsked)
	l.seen("4.12.0-7", "AUTH from a client that named no method ends the connection", unasked)
	l.unseen("4.12.1-1", "a client authenticates again by the same method", onClient)
	l.seen("4.12.1-2", "the connection ends when authenticating again fails", refusesAgain)
	l.seen("4.13.1-1", "packets that are cut short, or too long for their type, end the connection", cutShort)
	l.seen("4.13.2-1", "the connection ends where CONNACK or DISCONNECT has a code of 0x80 or more", all(map[string]func(*T){
		"CONNACK": refusals, "DISCONNECT": lastWord}))
	l.seen("6.0.0-1", "MQTT is in binary frames; another ends the connection", wsText)
	l.seen("6.0.0-2", "packets need not be aligned on frames", wsFrames)
	l.unseen("6.0.0-3", "a client offers the sub-protocol mqtt", onClient)
	l.seen("6.0.0-4", "the server chooses the sub-protocol mqtt", wsProtocol)
}

// userPair sends bad strings as name and as value of a user property.
func userPair(t *T) {
	for _, bad := range append(badUTF8, struct{ what, s string }{"U+0000", "a\x00b"}) {
		for where, pair := range map[string][]byte{
			"name":  join(str(bad.s), str("v")),
			"value": join(str("k"), str(bad.s)),
		} {
			block := join([]byte{0x26}, pair)
			t.rejected(where+" in PUBLISH, "+bad.what, publishBytes(t.v, 0x32, t.topic("x"), 1, block, "m"), mqtt.Malformed)
			t.refused(where+" in CONNECT, "+bad.what, connectBytes(t.v, 2, block, str(t.clientID())), mqtt.Malformed)
		}
	}
}
