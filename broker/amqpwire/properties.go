package amqpwire

import "encoding/binary"

// Property flags, in the order in which the properties follow them. Bit 0 would say
// that another word of flags follows: the basic class has no such property, so it
// is refused.
const (
	FlagContentType     = 1 << 15
	FlagContentEncoding = 1 << 14
	FlagHeaders         = 1 << 13
	FlagDeliveryMode    = 1 << 12
	FlagPriority        = 1 << 11
	FlagCorrelationID   = 1 << 10
	FlagReplyTo         = 1 << 9
	FlagExpiration      = 1 << 8
	FlagMessageID       = 1 << 7
	FlagTimestamp       = 1 << 6
	FlagType            = 1 << 5
	FlagUserID          = 1 << 4
	FlagAppID           = 1 << 3
	FlagClusterID       = 1 << 2

	flagsKnown = 0xFFFC
	flagMore   = 1
)

// Properties are the properties of a content header. A field counts only if its
// flag is set. Slices of a decoded one are part of the decoded bytes.
type Properties struct {
	Flags           uint16
	DeliveryMode    uint8
	Priority        uint8
	ContentType     []byte
	ContentEncoding []byte
	Headers         []byte // a field table without its length; see Fields
	CorrelationID   []byte
	ReplyTo         []byte
	Expiration      []byte
	MessageID       []byte
	Timestamp       uint64
	Type            []byte
	UserID          []byte
	AppID           []byte
	ClusterID       []byte
}

// Has tells whether a property is there.
func (p *Properties) Has(flag uint16) bool { return p.Flags&flag != 0 }

// Decode reads encoded flags and properties. Headers are checked to be a table.
func (p *Properties) Decode(b []byte) error {
	r := reader{b: b}
	flags := r.short()
	if flags&flagMore != 0 {
		return errorf(SyntaxError, "content header with property flags that go on")
	}
	*p = Properties{Flags: flags & flagsKnown}
	for f := uint16(FlagContentType); f >= FlagClusterID && r.err == nil; f >>= 1 {
		if flags&f == 0 {
			continue
		}
		switch f {
		case FlagContentType:
			p.ContentType = r.shortstr()
		case FlagContentEncoding:
			p.ContentEncoding = r.shortstr()
		case FlagHeaders:
			p.Headers = r.longstr()
			if err := CheckTable(p.Headers); err != nil && r.err == nil {
				return err
			}
		case FlagDeliveryMode:
			p.DeliveryMode = r.octet()
		case FlagPriority:
			p.Priority = r.octet()
		case FlagCorrelationID:
			p.CorrelationID = r.shortstr()
		case FlagReplyTo:
			p.ReplyTo = r.shortstr()
		case FlagExpiration:
			p.Expiration = r.shortstr()
		case FlagMessageID:
			p.MessageID = r.shortstr()
		case FlagTimestamp:
			p.Timestamp = r.longlong()
		case FlagType:
			p.Type = r.shortstr()
		case FlagUserID:
			p.UserID = r.shortstr()
		case FlagAppID:
			p.AppID = r.shortstr()
		case FlagClusterID:
			p.ClusterID = r.shortstr()
		}
	}
	if r.err != nil {
		return errorf(SyntaxError, "content header: properties end early")
	}
	return nil
}

// Append appends the flags and the properties that they say are there.
func (p *Properties) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, p.Flags&flagsKnown)
	for f := uint16(FlagContentType); f >= FlagClusterID; f >>= 1 {
		if p.Flags&f == 0 {
			continue
		}
		switch f {
		case FlagContentType:
			dst = appendShortBytes(dst, p.ContentType)
		case FlagContentEncoding:
			dst = appendShortBytes(dst, p.ContentEncoding)
		case FlagHeaders:
			dst = appendLong(dst, p.Headers)
		case FlagDeliveryMode:
			dst = append(dst, p.DeliveryMode)
		case FlagPriority:
			dst = append(dst, p.Priority)
		case FlagCorrelationID:
			dst = appendShortBytes(dst, p.CorrelationID)
		case FlagReplyTo:
			dst = appendShortBytes(dst, p.ReplyTo)
		case FlagExpiration:
			dst = appendShortBytes(dst, p.Expiration)
		case FlagMessageID:
			dst = appendShortBytes(dst, p.MessageID)
		case FlagTimestamp:
			dst = binary.BigEndian.AppendUint64(dst, p.Timestamp)
		case FlagType:
			dst = appendShortBytes(dst, p.Type)
		case FlagUserID:
			dst = appendShortBytes(dst, p.UserID)
		case FlagAppID:
			dst = appendShortBytes(dst, p.AppID)
		case FlagClusterID:
			dst = appendShortBytes(dst, p.ClusterID)
		}
	}
	return dst
}
