package mqttwire

// Disconnect is a DISCONNECT packet (section 3.14): empty in MQTT 3; in MQTT 5 a
// reason code and properties, each left out when it and what follows says nothing.
type Disconnect struct {
	Reason     Reason
	Properties Properties
}

// Decode reads a DISCONNECT packet.
func (d *Disconnect) Decode(v Version, f Frame) (err error) {
	*d = Disconnect{}
	if v != V5 {
		return f.Empty()
	}
	d.Reason, d.Properties, err = decodeReason(f)
	return err
}

// Append appends the packet.
func (d *Disconnect) Append(dst []byte, v Version) []byte {
	if v != V5 {
		return append(dst, byte(DISCONNECT)<<4, 0)
	}
	return appendReason(dst, DISCONNECT, d.Reason, d.Properties)
}

// Auth is an AUTH packet of MQTT 5 (section 3.15).
type Auth struct {
	Reason     Reason
	Properties Properties
}

// Decode reads an AUTH packet.
func (a *Auth) Decode(f Frame) (err error) {
	a.Reason, a.Properties, err = decodeReason(f)
	return err
}

// Append appends the packet.
func (a *Auth) Append(dst []byte) []byte { return appendReason(dst, AUTH, a.Reason, a.Properties) }

func decodeReason(f Frame) (Reason, Properties, error) {
	if len(f.Body) == 0 {
		return Success, nil, nil
	}
	r := reader{b: f.Body}
	reason := Reason(r.byte("reason code"))
	if !reason.AllowedIn(f.Type) { // MQTT5-3.15.2-1
		return reason, nil, protocolError(f.Type.String() + " with " + reason.String())
	}
	if len(r.b) == 0 {
		return reason, nil, nil
	}
	ps := r.properties(f.Type)
	return reason, ps, r.end()
}

func appendReason(dst []byte, t Type, reason Reason, ps Properties) []byte {
	switch {
	case len(ps) > 0:
		dst = appendHeader(dst, t, 0, 1+ps.len())
		return ps.append(append(dst, byte(reason)))
	case reason != Success:
		return append(dst, byte(t)<<4, 1, byte(reason))
	}
	return append(dst, byte(t)<<4, 0)
}
