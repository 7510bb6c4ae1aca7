package mqttwire

// Subscribe is a SUBSCRIBE packet (section 3.8): packet identifier, properties
// (MQTT 5), then one or more of: filter, options.
type Subscribe struct {
	PacketID   uint16
	Properties Properties
	Filters    []Filter // reused by Decode
}

// Filter is one topic filter and what is asked of it. Its options byte:
//
//	bits 0-1  maximum QoS
//	bit 2     no local            MQTT 5 from here on
//	bit 3     retain as published
//	bits 4-5  retain handling: 0 send retained, 1 only if new, 2 never
//	bits 6-7  reserved
type Filter struct {
	Filter            []byte
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte
}

// Decode reads a SUBSCRIBE packet. The filters are valid strings; whether they are
// valid filters is for the caller to ask.
func (s *Subscribe) Decode(v Version, f Frame) error {
	*s = Subscribe{Filters: s.Filters[:0]}
	r := reader{b: f.Body}
	s.PacketID = r.packetID()
	if v == V5 {
		s.Properties = r.properties(SUBSCRIBE)
		if first, rest, ok := s.Properties.Next(); ok {
			ids := 0
			for ; ok; first, rest, ok = rest.Next() {
				if first.ID == SubscriptionID {
					ids++
				}
			}
			if ids > 1 {
				return protocolError("subscription identifier more than once")
			}
		}
	}
	if r.err == nil && len(r.b) == 0 {
		return protocolError("SUBSCRIBE without a filter") // MQTT5-3.8.3-2
	}
	for r.err == nil && len(r.b) > 0 {
		t := Filter{Filter: r.string("topic filter")}
		options := r.byte("subscription options")
		t.QoS = options & 3
		reserved := byte(0xFC)
		if v == V5 {
			reserved = 0xC0
			t.NoLocal = options&4 != 0
			t.RetainAsPublished = options&8 != 0
			t.RetainHandling = options >> 4 & 3
		}
		switch {
		case r.err != nil:
		case options&reserved != 0: // MQTT5-3.8.3-5, MQTT311-3-8.3-4
			return malformed("reserved bits in the subscription options")
		case t.QoS == 3 && v == V5:
			return protocolError("a subscription with QoS 3")
		case t.QoS == 3:
			return malformed("a subscription with QoS 3")
		case t.RetainHandling == 3:
			return protocolError("retain handling 3")
		}
		s.Filters = append(s.Filters, t)
	}
	return r.end()
}

// Append appends the packet.
func (s *Subscribe) Append(dst []byte, v Version) []byte {
	n := 2
	if v == V5 {
		n += s.Properties.len()
	}
	for i := range s.Filters {
		n += 2 + len(s.Filters[i].Filter) + 1
	}
	dst = appendHeader(dst, SUBSCRIBE, 2, n)
	dst = appendUint16(dst, s.PacketID)
	if v == V5 {
		dst = s.Properties.append(dst)
	}
	for i := range s.Filters {
		t := &s.Filters[i]
		dst = appendBinary(dst, t.Filter)
		options := t.QoS
		if v == V5 {
			options |= t.RetainHandling << 4
			if t.NoLocal {
				options |= 4
			}
			if t.RetainAsPublished {
				options |= 8
			}
		}
		dst = append(dst, options)
	}
	return dst
}

// Suback is a SUBACK or an UNSUBACK packet (sections 3.9 and 3.11): packet
// identifier, properties (MQTT 5), then one reason code for each filter, in their
// order. An UNSUBACK of MQTT 3 has no codes.
type Suback struct {
	Type       Type
	PacketID   uint16
	Properties Properties
	Reasons    []Reason // reused by Decode
}

// Decode reads a SUBACK or UNSUBACK packet.
func (s *Suback) Decode(v Version, f Frame) error {
	*s = Suback{Type: f.Type, Reasons: s.Reasons[:0]}
	r := reader{b: f.Body}
	s.PacketID = r.packetID()
	if v == V5 {
		s.Properties = r.properties(s.Type)
	}
	if v != V5 && s.Type == UNSUBACK {
		return r.end()
	}
	if r.err == nil && len(r.b) == 0 {
		return protocolError(s.Type.String() + " without a reason code")
	}
	for _, b := range r.b {
		c := Reason(b)
		if !c.AllowedIn(s.Type) || (v != V5 && c > GrantedQoS2 && c != UnspecifiedError) { // MQTT5-3.9.3-2, MQTT311-3.9.3-2
			return protocolError(s.Type.String() + " with " + c.String())
		}
		s.Reasons = append(s.Reasons, c)
	}
	return r.err
}

// Append appends the packet.
func (s *Suback) Append(dst []byte, v Version) []byte {
	n := 2 + len(s.Reasons)
	if v == V5 {
		n += s.Properties.len()
	} else if s.Type == UNSUBACK {
		n = 2
	}
	dst = appendHeader(dst, s.Type, 0, n)
	dst = appendUint16(dst, s.PacketID)
	if v == V5 {
		dst = s.Properties.append(dst)
	} else if s.Type == UNSUBACK {
		return dst
	}
	for _, c := range s.Reasons {
		if v != V5 && c.Failed() {
			c = UnspecifiedError
		}
		dst = append(dst, byte(c))
	}
	return dst
}

// Unsubscribe is an UNSUBSCRIBE packet (section 3.10): packet identifier, properties
// (MQTT 5), one or more filters.
type Unsubscribe struct {
	PacketID   uint16
	Properties Properties
	Filters    [][]byte // reused by Decode
}

// Decode reads an UNSUBSCRIBE packet.
func (u *Unsubscribe) Decode(v Version, f Frame) error {
	*u = Unsubscribe{Filters: u.Filters[:0]}
	r := reader{b: f.Body}
	u.PacketID = r.packetID()
	if v == V5 {
		u.Properties = r.properties(UNSUBSCRIBE)
	}
	if r.err == nil && len(r.b) == 0 {
		return protocolError("UNSUBSCRIBE without a filter") // MQTT5-3.10.3-2
	}
	for r.err == nil && len(r.b) > 0 {
		u.Filters = append(u.Filters, r.string("topic filter"))
	}
	return r.end()
}

// Append appends the packet.
func (u *Unsubscribe) Append(dst []byte, v Version) []byte {
	n := 2
	if v == V5 {
		n += u.Properties.len()
	}
	for _, f := range u.Filters {
		n += 2 + len(f)
	}
	dst = appendHeader(dst, UNSUBSCRIBE, 2, n)
	dst = appendUint16(dst, u.PacketID)
	if v == V5 {
		dst = u.Properties.append(dst)
	}
	for _, f := range u.Filters {
		dst = appendBinary(dst, f)
	}
	return dst
}
