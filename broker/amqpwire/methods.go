// Code generated from methods.tbl by gen.go; DO NOT EDIT.

package amqpwire

import (
	"bytes"
	"encoding/binary"
)

// Method identifiers: the class in the upper 16 bits, the method in the lower.
const (
	IDConnectionStart          MethodID = 10<<16 | 10
	IDConnectionStartOk        MethodID = 10<<16 | 11
	IDConnectionSecure         MethodID = 10<<16 | 20
	IDConnectionSecureOk       MethodID = 10<<16 | 21
	IDConnectionTune           MethodID = 10<<16 | 30
	IDConnectionTuneOk         MethodID = 10<<16 | 31
	IDConnectionOpen           MethodID = 10<<16 | 40
	IDConnectionOpenOk         MethodID = 10<<16 | 41
	IDConnectionClose          MethodID = 10<<16 | 50
	IDConnectionCloseOk        MethodID = 10<<16 | 51
	IDConnectionBlocked        MethodID = 10<<16 | 60
	IDConnectionUnblocked      MethodID = 10<<16 | 61
	IDConnectionUpdateSecret   MethodID = 10<<16 | 70
	IDConnectionUpdateSecretOk MethodID = 10<<16 | 71
	IDChannelOpen              MethodID = 20<<16 | 10
	IDChannelOpenOk            MethodID = 20<<16 | 11
	IDChannelFlow              MethodID = 20<<16 | 20
	IDChannelFlowOk            MethodID = 20<<16 | 21
	IDChannelClose             MethodID = 20<<16 | 40
	IDChannelCloseOk           MethodID = 20<<16 | 41
	IDAccessRequest            MethodID = 30<<16 | 10
	IDAccessRequestOk          MethodID = 30<<16 | 11
	IDExchangeDeclare          MethodID = 40<<16 | 10
	IDExchangeDeclareOk        MethodID = 40<<16 | 11
	IDExchangeDelete           MethodID = 40<<16 | 20
	IDExchangeDeleteOk         MethodID = 40<<16 | 21
	IDExchangeBind             MethodID = 40<<16 | 30
	IDExchangeBindOk           MethodID = 40<<16 | 31
	IDExchangeUnbind           MethodID = 40<<16 | 40
	IDExchangeUnbindOk         MethodID = 40<<16 | 51
	IDQueueDeclare             MethodID = 50<<16 | 10
	IDQueueDeclareOk           MethodID = 50<<16 | 11
	IDQueueBind                MethodID = 50<<16 | 20
	IDQueueBindOk              MethodID = 50<<16 | 21
	IDQueuePurge               MethodID = 50<<16 | 30
	IDQueuePurgeOk             MethodID = 50<<16 | 31
	IDQueueDelete              MethodID = 50<<16 | 40
	IDQueueDeleteOk            MethodID = 50<<16 | 41
	IDQueueUnbind              MethodID = 50<<16 | 50
	IDQueueUnbindOk            MethodID = 50<<16 | 51
	IDBasicQos                 MethodID = 60<<16 | 10
	IDBasicQosOk               MethodID = 60<<16 | 11
	IDBasicConsume             MethodID = 60<<16 | 20
	IDBasicConsumeOk           MethodID = 60<<16 | 21
	IDBasicCancel              MethodID = 60<<16 | 30
	IDBasicCancelOk            MethodID = 60<<16 | 31
	IDBasicPublish             MethodID = 60<<16 | 40
	IDBasicReturn              MethodID = 60<<16 | 50
	IDBasicDeliver             MethodID = 60<<16 | 60
	IDBasicGet                 MethodID = 60<<16 | 70
	IDBasicGetOk               MethodID = 60<<16 | 71
	IDBasicGetEmpty            MethodID = 60<<16 | 72
	IDBasicAck                 MethodID = 60<<16 | 80
	IDBasicReject              MethodID = 60<<16 | 90
	IDBasicRecoverAsync        MethodID = 60<<16 | 100
	IDBasicRecover             MethodID = 60<<16 | 110
	IDBasicRecoverOk           MethodID = 60<<16 | 111
	IDBasicNack                MethodID = 60<<16 | 120
	IDConfirmSelect            MethodID = 85<<16 | 10
	IDConfirmSelectOk          MethodID = 85<<16 | 11
	IDTxSelect                 MethodID = 90<<16 | 10
	IDTxSelectOk               MethodID = 90<<16 | 11
	IDTxCommit                 MethodID = 90<<16 | 20
	IDTxCommitOk               MethodID = 90<<16 | 21
	IDTxRollback               MethodID = 90<<16 | 30
	IDTxRollbackOk             MethodID = 90<<16 | 31
)

// String returns the method's name in the specification, "basic.publish".
func (id MethodID) String() string {
	switch id {
	case IDConnectionStart:
		return "connection.start"
	case IDConnectionStartOk:
		return "connection.start-ok"
	case IDConnectionSecure:
		return "connection.secure"
	case IDConnectionSecureOk:
		return "connection.secure-ok"
	case IDConnectionTune:
		return "connection.tune"
	case IDConnectionTuneOk:
		return "connection.tune-ok"
	case IDConnectionOpen:
		return "connection.open"
	case IDConnectionOpenOk:
		return "connection.open-ok"
	case IDConnectionClose:
		return "connection.close"
	case IDConnectionCloseOk:
		return "connection.close-ok"
	case IDConnectionBlocked:
		return "connection.blocked"
	case IDConnectionUnblocked:
		return "connection.unblocked"
	case IDConnectionUpdateSecret:
		return "connection.update-secret"
	case IDConnectionUpdateSecretOk:
		return "connection.update-secret-ok"
	case IDChannelOpen:
		return "channel.open"
	case IDChannelOpenOk:
		return "channel.open-ok"
	case IDChannelFlow:
		return "channel.flow"
	case IDChannelFlowOk:
		return "channel.flow-ok"
	case IDChannelClose:
		return "channel.close"
	case IDChannelCloseOk:
		return "channel.close-ok"
	case IDAccessRequest:
		return "access.request"
	case IDAccessRequestOk:
		return "access.request-ok"
	case IDExchangeDeclare:
		return "exchange.declare"
	case IDExchangeDeclareOk:
		return "exchange.declare-ok"
	case IDExchangeDelete:
		return "exchange.delete"
	case IDExchangeDeleteOk:
		return "exchange.delete-ok"
	case IDExchangeBind:
		return "exchange.bind"
	case IDExchangeBindOk:
		return "exchange.bind-ok"
	case IDExchangeUnbind:
		return "exchange.unbind"
	case IDExchangeUnbindOk:
		return "exchange.unbind-ok"
	case IDQueueDeclare:
		return "queue.declare"
	case IDQueueDeclareOk:
		return "queue.declare-ok"
	case IDQueueBind:
		return "queue.bind"
	case IDQueueBindOk:
		return "queue.bind-ok"
	case IDQueuePurge:
		return "queue.purge"
	case IDQueuePurgeOk:
		return "queue.purge-ok"
	case IDQueueDelete:
		return "queue.delete"
	case IDQueueDeleteOk:
		return "queue.delete-ok"
	case IDQueueUnbind:
		return "queue.unbind"
	case IDQueueUnbindOk:
		return "queue.unbind-ok"
	case IDBasicQos:
		return "basic.qos"
	case IDBasicQosOk:
		return "basic.qos-ok"
	case IDBasicConsume:
		return "basic.consume"
	case IDBasicConsumeOk:
		return "basic.consume-ok"
	case IDBasicCancel:
		return "basic.cancel"
	case IDBasicCancelOk:
		return "basic.cancel-ok"
	case IDBasicPublish:
		return "basic.publish"
	case IDBasicReturn:
		return "basic.return"
	case IDBasicDeliver:
		return "basic.deliver"
	case IDBasicGet:
		return "basic.get"
	case IDBasicGetOk:
		return "basic.get-ok"
	case IDBasicGetEmpty:
		return "basic.get-empty"
	case IDBasicAck:
		return "basic.ack"
	case IDBasicReject:
		return "basic.reject"
	case IDBasicRecoverAsync:
		return "basic.recover-async"
	case IDBasicRecover:
		return "basic.recover"
	case IDBasicRecoverOk:
		return "basic.recover-ok"
	case IDBasicNack:
		return "basic.nack"
	case IDConfirmSelect:
		return "confirm.select"
	case IDConfirmSelectOk:
		return "confirm.select-ok"
	case IDTxSelect:
		return "tx.select"
	case IDTxSelectOk:
		return "tx.select-ok"
	case IDTxCommit:
		return "tx.commit"
	case IDTxCommitOk:
		return "tx.commit-ok"
	case IDTxRollback:
		return "tx.rollback"
	case IDTxRollbackOk:
		return "tx.rollback-ok"
	}
	return unknownName(id)
}

// HasContent tells whether a content header and body follow the method.
func (id MethodID) HasContent() bool {
	switch id {
	case IDBasicPublish, IDBasicReturn, IDBasicDeliver, IDBasicGetOk:
		return true
	}
	return false
}

// newMethod returns an empty method, or nil for an identifier that is not known.
func newMethod(id MethodID) Method {
	switch id {
	case IDConnectionStart:
		return new(ConnectionStart)
	case IDConnectionStartOk:
		return new(ConnectionStartOk)
	case IDConnectionSecure:
		return new(ConnectionSecure)
	case IDConnectionSecureOk:
		return new(ConnectionSecureOk)
	case IDConnectionTune:
		return new(ConnectionTune)
	case IDConnectionTuneOk:
		return new(ConnectionTuneOk)
	case IDConnectionOpen:
		return new(ConnectionOpen)
	case IDConnectionOpenOk:
		return new(ConnectionOpenOk)
	case IDConnectionClose:
		return new(ConnectionClose)
	case IDConnectionCloseOk:
		return new(ConnectionCloseOk)
	case IDConnectionBlocked:
		return new(ConnectionBlocked)
	case IDConnectionUnblocked:
		return new(ConnectionUnblocked)
	case IDConnectionUpdateSecret:
		return new(ConnectionUpdateSecret)
	case IDConnectionUpdateSecretOk:
		return new(ConnectionUpdateSecretOk)
	case IDChannelOpen:
		return new(ChannelOpen)
	case IDChannelOpenOk:
		return new(ChannelOpenOk)
	case IDChannelFlow:
		return new(ChannelFlow)
	case IDChannelFlowOk:
		return new(ChannelFlowOk)
	case IDChannelClose:
		return new(ChannelClose)
	case IDChannelCloseOk:
		return new(ChannelCloseOk)
	case IDAccessRequest:
		return new(AccessRequest)
	case IDAccessRequestOk:
		return new(AccessRequestOk)
	case IDExchangeDeclare:
		return new(ExchangeDeclare)
	case IDExchangeDeclareOk:
		return new(ExchangeDeclareOk)
	case IDExchangeDelete:
		return new(ExchangeDelete)
	case IDExchangeDeleteOk:
		return new(ExchangeDeleteOk)
	case IDExchangeBind:
		return new(ExchangeBind)
	case IDExchangeBindOk:
		return new(ExchangeBindOk)
	case IDExchangeUnbind:
		return new(ExchangeUnbind)
	case IDExchangeUnbindOk:
		return new(ExchangeUnbindOk)
	case IDQueueDeclare:
		return new(QueueDeclare)
	case IDQueueDeclareOk:
		return new(QueueDeclareOk)
	case IDQueueBind:
		return new(QueueBind)
	case IDQueueBindOk:
		return new(QueueBindOk)
	case IDQueuePurge:
		return new(QueuePurge)
	case IDQueuePurgeOk:
		return new(QueuePurgeOk)
	case IDQueueDelete:
		return new(QueueDelete)
	case IDQueueDeleteOk:
		return new(QueueDeleteOk)
	case IDQueueUnbind:
		return new(QueueUnbind)
	case IDQueueUnbindOk:
		return new(QueueUnbindOk)
	case IDBasicQos:
		return new(BasicQos)
	case IDBasicQosOk:
		return new(BasicQosOk)
	case IDBasicConsume:
		return new(BasicConsume)
	case IDBasicConsumeOk:
		return new(BasicConsumeOk)
	case IDBasicCancel:
		return new(BasicCancel)
	case IDBasicCancelOk:
		return new(BasicCancelOk)
	case IDBasicPublish:
		return new(BasicPublish)
	case IDBasicReturn:
		return new(BasicReturn)
	case IDBasicDeliver:
		return new(BasicDeliver)
	case IDBasicGet:
		return new(BasicGet)
	case IDBasicGetOk:
		return new(BasicGetOk)
	case IDBasicGetEmpty:
		return new(BasicGetEmpty)
	case IDBasicAck:
		return new(BasicAck)
	case IDBasicReject:
		return new(BasicReject)
	case IDBasicRecoverAsync:
		return new(BasicRecoverAsync)
	case IDBasicRecover:
		return new(BasicRecover)
	case IDBasicRecoverOk:
		return new(BasicRecoverOk)
	case IDBasicNack:
		return new(BasicNack)
	case IDConfirmSelect:
		return new(ConfirmSelect)
	case IDConfirmSelectOk:
		return new(ConfirmSelectOk)
	case IDTxSelect:
		return new(TxSelect)
	case IDTxSelectOk:
		return new(TxSelectOk)
	case IDTxCommit:
		return new(TxCommit)
	case IDTxCommitOk:
		return new(TxCommitOk)
	case IDTxRollback:
		return new(TxRollback)
	case IDTxRollbackOk:
		return new(TxRollbackOk)
	}
	return nil
}

// ConnectionStart is connection.start.
type ConnectionStart struct {
	VersionMajor     uint8
	VersionMinor     uint8
	ServerProperties Table
	Mechanisms       []byte
	Locales          []byte
}

func (*ConnectionStart) ID() MethodID { return IDConnectionStart }

func (m *ConnectionStart) appendArgs(dst []byte) []byte {
	dst = append(dst, m.VersionMajor)
	dst = append(dst, m.VersionMinor)
	dst = m.ServerProperties.Append(dst)
	dst = appendLong(dst, m.Mechanisms)
	dst = appendLong(dst, m.Locales)
	return dst
}

func (m *ConnectionStart) decodeArgs(r *reader) {
	m.VersionMajor = r.octet()
	m.VersionMinor = r.octet()
	m.ServerProperties = r.table()
	m.Mechanisms = bytes.Clone(r.longstr())
	m.Locales = bytes.Clone(r.longstr())
}

// ConnectionStartOk is connection.start-ok.
type ConnectionStartOk struct {
	ClientProperties Table
	Mechanism        string
	Response         []byte
	Locale           string
}

func (*ConnectionStartOk) ID() MethodID { return IDConnectionStartOk }

func (m *ConnectionStartOk) appendArgs(dst []byte) []byte {
	dst = m.ClientProperties.Append(dst)
	dst = appendShort(dst, m.Mechanism)
	dst = appendLong(dst, m.Response)
	dst = appendShort(dst, m.Locale)
	return dst
}

func (m *ConnectionStartOk) decodeArgs(r *reader) {
	m.ClientProperties = r.table()
	m.Mechanism = string(r.shortstr())
	m.Response = bytes.Clone(r.longstr())
	m.Locale = string(r.shortstr())
}

// ConnectionSecure is connection.secure.
type ConnectionSecure struct {
	Challenge []byte
}

func (*ConnectionSecure) ID() MethodID { return IDConnectionSecure }

func (m *ConnectionSecure) appendArgs(dst []byte) []byte {
	dst = appendLong(dst, m.Challenge)
	return dst
}

func (m *ConnectionSecure) decodeArgs(r *reader) {
	m.Challenge = bytes.Clone(r.longstr())
}

// ConnectionSecureOk is connection.secure-ok.
type ConnectionSecureOk struct {
	Response []byte
}

func (*ConnectionSecureOk) ID() MethodID { return IDConnectionSecureOk }

func (m *ConnectionSecureOk) appendArgs(dst []byte) []byte {
	dst = appendLong(dst, m.Response)
	return dst
}

func (m *ConnectionSecureOk) decodeArgs(r *reader) {
	m.Response = bytes.Clone(r.longstr())
}

// ConnectionTune is connection.tune.
type ConnectionTune struct {
	ChannelMax uint16
	FrameMax   uint32
	Heartbeat  uint16
}

func (*ConnectionTune) ID() MethodID { return IDConnectionTune }

func (m *ConnectionTune) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.ChannelMax)
	dst = binary.BigEndian.AppendUint32(dst, m.FrameMax)
	dst = binary.BigEndian.AppendUint16(dst, m.Heartbeat)
	return dst
}

func (m *ConnectionTune) decodeArgs(r *reader) {
	m.ChannelMax = r.short()
	m.FrameMax = r.long()
	m.Heartbeat = r.short()
}

// ConnectionTuneOk is connection.tune-ok.
type ConnectionTuneOk struct {
	ChannelMax uint16
	FrameMax   uint32
	Heartbeat  uint16
}

func (*ConnectionTuneOk) ID() MethodID { return IDConnectionTuneOk }

func (m *ConnectionTuneOk) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.ChannelMax)
	dst = binary.BigEndian.AppendUint32(dst, m.FrameMax)
	dst = binary.BigEndian.AppendUint16(dst, m.Heartbeat)
	return dst
}

func (m *ConnectionTuneOk) decodeArgs(r *reader) {
	m.ChannelMax = r.short()
	m.FrameMax = r.long()
	m.Heartbeat = r.short()
}

// ConnectionOpen is connection.open.
type ConnectionOpen struct {
	VirtualHost string
}

func (*ConnectionOpen) ID() MethodID { return IDConnectionOpen }

func (m *ConnectionOpen) appendArgs(dst []byte) []byte {
	dst = appendShort(dst, m.VirtualHost)
	dst = appendShort(dst, "")
	dst = append(dst, 0)
	return dst
}

func (m *ConnectionOpen) decodeArgs(r *reader) {
	m.VirtualHost = string(r.shortstr())
	r.shortstr()
	r.octet()
}

// ConnectionOpenOk is connection.open-ok.
type ConnectionOpenOk struct {
}

func (*ConnectionOpenOk) ID() MethodID { return IDConnectionOpenOk }

func (m *ConnectionOpenOk) appendArgs(dst []byte) []byte {
	dst = appendShort(dst, "")
	return dst
}

func (m *ConnectionOpenOk) decodeArgs(r *reader) {
	r.shortstr()
}

// ConnectionClose is connection.close.
type ConnectionClose struct {
	ReplyCode uint16
	ReplyText string
	ClassID   uint16
	MethodID  uint16
}

func (*ConnectionClose) ID() MethodID { return IDConnectionClose }

func (m *ConnectionClose) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.ReplyCode)
	dst = appendShort(dst, m.ReplyText)
	dst = binary.BigEndian.AppendUint16(dst, m.ClassID)
	dst = binary.BigEndian.AppendUint16(dst, m.MethodID)
	return dst
}

func (m *ConnectionClose) decodeArgs(r *reader) {
	m.ReplyCode = r.short()
	m.ReplyText = string(r.shortstr())
	m.ClassID = r.short()
	m.MethodID = r.short()
}

// ConnectionCloseOk is connection.close-ok.
type ConnectionCloseOk struct {
}

func (*ConnectionCloseOk) ID() MethodID { return IDConnectionCloseOk }

func (m *ConnectionCloseOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *ConnectionCloseOk) decodeArgs(r *reader) {
}

// ConnectionBlocked is connection.blocked.
type ConnectionBlocked struct {
	Reason string
}

func (*ConnectionBlocked) ID() MethodID { return IDConnectionBlocked }

func (m *ConnectionBlocked) appendArgs(dst []byte) []byte {
	dst = appendShort(dst, m.Reason)
	return dst
}

func (m *ConnectionBlocked) decodeArgs(r *reader) {
	m.Reason = string(r.shortstr())
}

// ConnectionUnblocked is connection.unblocked.
type ConnectionUnblocked struct {
}

func (*ConnectionUnblocked) ID() MethodID { return IDConnectionUnblocked }

func (m *ConnectionUnblocked) appendArgs(dst []byte) []byte {
	return dst
}

func (m *ConnectionUnblocked) decodeArgs(r *reader) {
}

// ConnectionUpdateSecret is connection.update-secret.
type ConnectionUpdateSecret struct {
	NewSecret []byte
	Reason    string
}

func (*ConnectionUpdateSecret) ID() MethodID { return IDConnectionUpdateSecret }

func (m *ConnectionUpdateSecret) appendArgs(dst []byte) []byte {
	dst = appendLong(dst, m.NewSecret)
	dst = appendShort(dst, m.Reason)
	return dst
}

func (m *ConnectionUpdateSecret) decodeArgs(r *reader) {
	m.NewSecret = bytes.Clone(r.longstr())
	m.Reason = string(r.shortstr())
}

// ConnectionUpdateSecretOk is connection.update-secret-ok.
type ConnectionUpdateSecretOk struct {
}

func (*ConnectionUpdateSecretOk) ID() MethodID { return IDConnectionUpdateSecretOk }

func (m *ConnectionUpdateSecretOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *ConnectionUpdateSecretOk) decodeArgs(r *reader) {
}

// ChannelOpen is channel.open.
type ChannelOpen struct {
}

func (*ChannelOpen) ID() MethodID { return IDChannelOpen }

func (m *ChannelOpen) appendArgs(dst []byte) []byte {
	dst = appendShort(dst, "")
	return dst
}

func (m *ChannelOpen) decodeArgs(r *reader) {
	r.shortstr()
}

// ChannelOpenOk is channel.open-ok.
type ChannelOpenOk struct {
}

func (*ChannelOpenOk) ID() MethodID { return IDChannelOpenOk }

func (m *ChannelOpenOk) appendArgs(dst []byte) []byte {
	dst = appendLong(dst, nil)
	return dst
}

func (m *ChannelOpenOk) decodeArgs(r *reader) {
	r.longstr()
}

// ChannelFlow is channel.flow.
type ChannelFlow struct {
	Active bool
}

func (*ChannelFlow) ID() MethodID { return IDChannelFlow }

func (m *ChannelFlow) appendArgs(dst []byte) []byte {
	dst = append(dst, bit(m.Active, 0))
	return dst
}

func (m *ChannelFlow) decodeArgs(r *reader) {
	bits := r.octet()
	m.Active = bits&1 != 0
}

// ChannelFlowOk is channel.flow-ok.
type ChannelFlowOk struct {
	Active bool
}

func (*ChannelFlowOk) ID() MethodID { return IDChannelFlowOk }

func (m *ChannelFlowOk) appendArgs(dst []byte) []byte {
	dst = append(dst, bit(m.Active, 0))
	return dst
}

func (m *ChannelFlowOk) decodeArgs(r *reader) {
	bits := r.octet()
	m.Active = bits&1 != 0
}

// ChannelClose is channel.close.
type ChannelClose struct {
	ReplyCode uint16
	ReplyText string
	ClassID   uint16
	MethodID  uint16
}

func (*ChannelClose) ID() MethodID { return IDChannelClose }

func (m *ChannelClose) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.ReplyCode)
	dst = appendShort(dst, m.ReplyText)
	dst = binary.BigEndian.AppendUint16(dst, m.ClassID)
	dst = binary.BigEndian.AppendUint16(dst, m.MethodID)
	return dst
}

func (m *ChannelClose) decodeArgs(r *reader) {
	m.ReplyCode = r.short()
	m.ReplyText = string(r.shortstr())
	m.ClassID = r.short()
	m.MethodID = r.short()
}

// ChannelCloseOk is channel.close-ok.
type ChannelCloseOk struct {
}

func (*ChannelCloseOk) ID() MethodID { return IDChannelCloseOk }

func (m *ChannelCloseOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *ChannelCloseOk) decodeArgs(r *reader) {
}

// AccessRequest is access.request.
type AccessRequest struct {
	Realm     string
	Exclusive bool
	Passive   bool
	Active    bool
	Write     bool
	Read      bool
}

func (*AccessRequest) ID() MethodID { return IDAccessRequest }

func (m *AccessRequest) appendArgs(dst []byte) []byte {
	dst = appendShort(dst, m.Realm)
	dst = append(dst, bit(m.Exclusive, 0)|bit(m.Passive, 1)|bit(m.Active, 2)|bit(m.Write, 3)|bit(m.Read, 4))
	return dst
}

func (m *AccessRequest) decodeArgs(r *reader) {
	m.Realm = string(r.shortstr())
	bits := r.octet()
	m.Exclusive = bits&1 != 0
	m.Passive = bits&2 != 0
	m.Active = bits&4 != 0
	m.Write = bits&8 != 0
	m.Read = bits&16 != 0
}

// AccessRequestOk is access.request-ok.
type AccessRequestOk struct {
	Ticket uint16
}

func (*AccessRequestOk) ID() MethodID { return IDAccessRequestOk }

func (m *AccessRequestOk) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.Ticket)
	return dst
}

func (m *AccessRequestOk) decodeArgs(r *reader) {
	m.Ticket = r.short()
}

// ExchangeDeclare is exchange.declare.
type ExchangeDeclare struct {
	Exchange   string
	Type       string
	Passive    bool
	Durable    bool
	AutoDelete bool
	Internal   bool
	NoWait     bool
	Arguments  Table
}

func (*ExchangeDeclare) ID() MethodID { return IDExchangeDeclare }

func (m *ExchangeDeclare) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = appendShort(dst, m.Exchange)
	dst = appendShort(dst, m.Type)
	dst = append(dst, bit(m.Passive, 0)|bit(m.Durable, 1)|bit(m.AutoDelete, 2)|bit(m.Internal, 3)|bit(m.NoWait, 4))
	dst = m.Arguments.Append(dst)
	return dst
}

func (m *ExchangeDeclare) decodeArgs(r *reader) {
	r.short()
	m.Exchange = string(r.shortstr())
	m.Type = string(r.shortstr())
	bits := r.octet()
	m.Passive = bits&1 != 0
	m.Durable = bits&2 != 0
	m.AutoDelete = bits&4 != 0
	m.Internal = bits&8 != 0
	m.NoWait = bits&16 != 0
	m.Arguments = r.table()
}

// ExchangeDeclareOk is exchange.declare-ok.
type ExchangeDeclareOk struct {
}

func (*ExchangeDeclareOk) ID() MethodID { return IDExchangeDeclareOk }

func (m *ExchangeDeclareOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *ExchangeDeclareOk) decodeArgs(r *reader) {
}

// ExchangeDelete is exchange.delete.
type ExchangeDelete struct {
	Exchange string
	IfUnused bool
	NoWait   bool
}

func (*ExchangeDelete) ID() MethodID { return IDExchangeDelete }

func (m *ExchangeDelete) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = appendShort(dst, m.Exchange)
	dst = append(dst, bit(m.IfUnused, 0)|bit(m.NoWait, 1))
	return dst
}

func (m *ExchangeDelete) decodeArgs(r *reader) {
	r.short()
	m.Exchange = string(r.shortstr())
	bits := r.octet()
	m.IfUnused = bits&1 != 0
	m.NoWait = bits&2 != 0
}

// ExchangeDeleteOk is exchange.delete-ok.
type ExchangeDeleteOk struct {
}

func (*ExchangeDeleteOk) ID() MethodID { return IDExchangeDeleteOk }

func (m *ExchangeDeleteOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *ExchangeDeleteOk) decodeArgs(r *reader) {
}

// ExchangeBind is exchange.bind.
type ExchangeBind struct {
	Destination string
	Source      string
	RoutingKey  string
	NoWait      bool
	Arguments   Table
}

func (*ExchangeBind) ID() MethodID { return IDExchangeBind }

func (m *ExchangeBind) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = appendShort(dst, m.Destination)
	dst = appendShort(dst, m.Source)
	dst = appendShort(dst, m.RoutingKey)
	dst = append(dst, bit(m.NoWait, 0))
	dst = m.Arguments.Append(dst)
	return dst
}

func (m *ExchangeBind) decodeArgs(r *reader) {
	r.short()
	m.Destination = string(r.shortstr())
	m.Source = string(r.shortstr())
	m.RoutingKey = string(r.shortstr())
	bits := r.octet()
	m.NoWait = bits&1 != 0
	m.Arguments = r.table()
}

// ExchangeBindOk is exchange.bind-ok.
type ExchangeBindOk struct {
}

func (*ExchangeBindOk) ID() MethodID { return IDExchangeBindOk }

func (m *ExchangeBindOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *ExchangeBindOk) decodeArgs(r *reader) {
}

// ExchangeUnbind is exchange.unbind.
type ExchangeUnbind struct {
	Destination string
	Source      string
	RoutingKey  string
	NoWait      bool
	Arguments   Table
}

func (*ExchangeUnbind) ID() MethodID { return IDExchangeUnbind }

func (m *ExchangeUnbind) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = appendShort(dst, m.Destination)
	dst = appendShort(dst, m.Source)
	dst = appendShort(dst, m.RoutingKey)
	dst = append(dst, bit(m.NoWait, 0))
	dst = m.Arguments.Append(dst)
	return dst
}

func (m *ExchangeUnbind) decodeArgs(r *reader) {
	r.short()
	m.Destination = string(r.shortstr())
	m.Source = string(r.shortstr())
	m.RoutingKey = string(r.shortstr())
	bits := r.octet()
	m.NoWait = bits&1 != 0
	m.Arguments = r.table()
}

// ExchangeUnbindOk is exchange.unbind-ok.
type ExchangeUnbindOk struct {
}

func (*ExchangeUnbindOk) ID() MethodID { return IDExchangeUnbindOk }

func (m *ExchangeUnbindOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *ExchangeUnbindOk) decodeArgs(r *reader) {
}

// QueueDeclare is queue.declare.
type QueueDeclare struct {
	Queue      string
	Passive    bool
	Durable    bool
	Exclusive  bool
	AutoDelete bool
	NoWait     bool
	Arguments  Table
}

func (*QueueDeclare) ID() MethodID { return IDQueueDeclare }

func (m *QueueDeclare) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = appendShort(dst, m.Queue)
	dst = append(dst, bit(m.Passive, 0)|bit(m.Durable, 1)|bit(m.Exclusive, 2)|bit(m.AutoDelete, 3)|bit(m.NoWait, 4))
	dst = m.Arguments.Append(dst)
	return dst
}

func (m *QueueDeclare) decodeArgs(r *reader) {
	r.short()
	m.Queue = string(r.shortstr())
	bits := r.octet()
	m.Passive = bits&1 != 0
	m.Durable = bits&2 != 0
	m.Exclusive = bits&4 != 0
	m.AutoDelete = bits&8 != 0
	m.NoWait = bits&16 != 0
	m.Arguments = r.table()
}

// QueueDeclareOk is queue.declare-ok.
type QueueDeclareOk struct {
	Queue         string
	MessageCount  uint32
	ConsumerCount uint32
}

func (*QueueDeclareOk) ID() MethodID { return IDQueueDeclareOk }

func (m *QueueDeclareOk) appendArgs(dst []byte) []byte {
	dst = appendShort(dst, m.Queue)
	dst = binary.BigEndian.AppendUint32(dst, m.MessageCount)
	dst = binary.BigEndian.AppendUint32(dst, m.ConsumerCount)
	return dst
}

func (m *QueueDeclareOk) decodeArgs(r *reader) {
	m.Queue = string(r.shortstr())
	m.MessageCount = r.long()
	m.ConsumerCount = r.long()
}

// QueueBind is queue.bind.
type QueueBind struct {
	Queue      string
	Exchange   string
	RoutingKey string
	NoWait     bool
	Arguments  Table
}

func (*QueueBind) ID() MethodID { return IDQueueBind }

func (m *QueueBind) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = appendShort(dst, m.Queue)
	dst = appendShort(dst, m.Exchange)
	dst = appendShort(dst, m.RoutingKey)
	dst = append(dst, bit(m.NoWait, 0))
	dst = m.Arguments.Append(dst)
	return dst
}

func (m *QueueBind) decodeArgs(r *reader) {
	r.short()
	m.Queue = string(r.shortstr())
	m.Exchange = string(r.shortstr())
	m.RoutingKey = string(r.shortstr())
	bits := r.octet()
	m.NoWait = bits&1 != 0
	m.Arguments = r.table()
}

// QueueBindOk is queue.bind-ok.
type QueueBindOk struct {
}

func (*QueueBindOk) ID() MethodID { return IDQueueBindOk }

func (m *QueueBindOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *QueueBindOk) decodeArgs(r *reader) {
}

// QueuePurge is queue.purge.
type QueuePurge struct {
	Queue  string
	NoWait bool
}

func (*QueuePurge) ID() MethodID { return IDQueuePurge }

func (m *QueuePurge) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = appendShort(dst, m.Queue)
	dst = append(dst, bit(m.NoWait, 0))
	return dst
}

func (m *QueuePurge) decodeArgs(r *reader) {
	r.short()
	m.Queue = string(r.shortstr())
	bits := r.octet()
	m.NoWait = bits&1 != 0
}

// QueuePurgeOk is queue.purge-ok.
type QueuePurgeOk struct {
	MessageCount uint32
}

func (*QueuePurgeOk) ID() MethodID { return IDQueuePurgeOk }

func (m *QueuePurgeOk) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, m.MessageCount)
	return dst
}

func (m *QueuePurgeOk) decodeArgs(r *reader) {
	m.MessageCount = r.long()
}

// QueueDelete is queue.delete.
type QueueDelete struct {
	Queue    string
	IfUnused bool
	IfEmpty  bool
	NoWait   bool
}

func (*QueueDelete) ID() MethodID { return IDQueueDelete }

func (m *QueueDelete) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = appendShort(dst, m.Queue)
	dst = append(dst, bit(m.IfUnused, 0)|bit(m.IfEmpty, 1)|bit(m.NoWait, 2))
	return dst
}

func (m *QueueDelete) decodeArgs(r *reader) {
	r.short()
	m.Queue = string(r.shortstr())
	bits := r.octet()
	m.IfUnused = bits&1 != 0
	m.IfEmpty = bits&2 != 0
	m.NoWait = bits&4 != 0
}

// QueueDeleteOk is queue.delete-ok.
type QueueDeleteOk struct {
	MessageCount uint32
}

func (*QueueDeleteOk) ID() MethodID { return IDQueueDeleteOk }

func (m *QueueDeleteOk) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, m.MessageCount)
	return dst
}

func (m *QueueDeleteOk) decodeArgs(r *reader) {
	m.MessageCount = r.long()
}

// QueueUnbind is queue.unbind.
type QueueUnbind struct {
	Queue      string
	Exchange   string
	RoutingKey string
	Arguments  Table
}

func (*QueueUnbind) ID() MethodID { return IDQueueUnbind }

func (m *QueueUnbind) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = appendShort(dst, m.Queue)
	dst = appendShort(dst, m.Exchange)
	dst = appendShort(dst, m.RoutingKey)
	dst = m.Arguments.Append(dst)
	return dst
}

func (m *QueueUnbind) decodeArgs(r *reader) {
	r.short()
	m.Queue = string(r.shortstr())
	m.Exchange = string(r.shortstr())
	m.RoutingKey = string(r.shortstr())
	m.Arguments = r.table()
}

// QueueUnbindOk is queue.unbind-ok.
type QueueUnbindOk struct {
}

func (*QueueUnbindOk) ID() MethodID { return IDQueueUnbindOk }

func (m *QueueUnbindOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *QueueUnbindOk) decodeArgs(r *reader) {
}

// BasicQos is basic.qos.
type BasicQos struct {
	PrefetchSize  uint32
	PrefetchCount uint16
	Global        bool
}

func (*BasicQos) ID() MethodID { return IDBasicQos }

func (m *BasicQos) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, m.PrefetchSize)
	dst = binary.BigEndian.AppendUint16(dst, m.PrefetchCount)
	dst = append(dst, bit(m.Global, 0))
	return dst
}

func (m *BasicQos) decodeArgs(r *reader) {
	m.PrefetchSize = r.long()
	m.PrefetchCount = r.short()
	bits := r.octet()
	m.Global = bits&1 != 0
}

// BasicQosOk is basic.qos-ok.
type BasicQosOk struct {
}

func (*BasicQosOk) ID() MethodID { return IDBasicQosOk }

func (m *BasicQosOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *BasicQosOk) decodeArgs(r *reader) {
}

// BasicConsume is basic.consume.
type BasicConsume struct {
	Queue       string
	ConsumerTag string
	NoLocal     bool
	NoAck       bool
	Exclusive   bool
	NoWait      bool
	Arguments   Table
}

func (*BasicConsume) ID() MethodID { return IDBasicConsume }

func (m *BasicConsume) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = appendShort(dst, m.Queue)
	dst = appendShort(dst, m.ConsumerTag)
	dst = append(dst, bit(m.NoLocal, 0)|bit(m.NoAck, 1)|bit(m.Exclusive, 2)|bit(m.NoWait, 3))
	dst = m.Arguments.Append(dst)
	return dst
}

func (m *BasicConsume) decodeArgs(r *reader) {
	r.short()
	m.Queue = string(r.shortstr())
	m.ConsumerTag = string(r.shortstr())
	bits := r.octet()
	m.NoLocal = bits&1 != 0
	m.NoAck = bits&2 != 0
	m.Exclusive = bits&4 != 0
	m.NoWait = bits&8 != 0
	m.Arguments = r.table()
}

// BasicConsumeOk is basic.consume-ok.
type BasicConsumeOk struct {
	ConsumerTag string
}

func (*BasicConsumeOk) ID() MethodID { return IDBasicConsumeOk }

func (m *BasicConsumeOk) appendArgs(dst []byte) []byte {
	dst = appendShort(dst, m.ConsumerTag)
	return dst
}

func (m *BasicConsumeOk) decodeArgs(r *reader) {
	m.ConsumerTag = string(r.shortstr())
}

// BasicCancel is basic.cancel.
type BasicCancel struct {
	ConsumerTag string
	NoWait      bool
}

func (*BasicCancel) ID() MethodID { return IDBasicCancel }

func (m *BasicCancel) appendArgs(dst []byte) []byte {
	dst = appendShort(dst, m.ConsumerTag)
	dst = append(dst, bit(m.NoWait, 0))
	return dst
}

func (m *BasicCancel) decodeArgs(r *reader) {
	m.ConsumerTag = string(r.shortstr())
	bits := r.octet()
	m.NoWait = bits&1 != 0
}

// BasicCancelOk is basic.cancel-ok.
type BasicCancelOk struct {
	ConsumerTag string
}

func (*BasicCancelOk) ID() MethodID { return IDBasicCancelOk }

func (m *BasicCancelOk) appendArgs(dst []byte) []byte {
	dst = appendShort(dst, m.ConsumerTag)
	return dst
}

func (m *BasicCancelOk) decodeArgs(r *reader) {
	m.ConsumerTag = string(r.shortstr())
}

// BasicPublish is basic.publish.
type BasicPublish struct {
	Exchange   string
	RoutingKey string
	Mandatory  bool
	Immediate  bool
}

func (*BasicPublish) ID() MethodID { return IDBasicPublish }

func (m *BasicPublish) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = appendShort(dst, m.Exchange)
	dst = appendShort(dst, m.RoutingKey)
	dst = append(dst, bit(m.Mandatory, 0)|bit(m.Immediate, 1))
	return dst
}

func (m *BasicPublish) decodeArgs(r *reader) {
	r.short()
	m.Exchange = string(r.shortstr())
	m.RoutingKey = string(r.shortstr())
	bits := r.octet()
	m.Mandatory = bits&1 != 0
	m.Immediate = bits&2 != 0
}

// BasicReturn is basic.return.
type BasicReturn struct {
	ReplyCode  uint16
	ReplyText  string
	Exchange   string
	RoutingKey string
}

func (*BasicReturn) ID() MethodID { return IDBasicReturn }

func (m *BasicReturn) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, m.ReplyCode)
	dst = appendShort(dst, m.ReplyText)
	dst = appendShort(dst, m.Exchange)
	dst = appendShort(dst, m.RoutingKey)
	return dst
}

func (m *BasicReturn) decodeArgs(r *reader) {
	m.ReplyCode = r.short()
	m.ReplyText = string(r.shortstr())
	m.Exchange = string(r.shortstr())
	m.RoutingKey = string(r.shortstr())
}

// BasicDeliver is basic.deliver.
type BasicDeliver struct {
	ConsumerTag string
	DeliveryTag uint64
	Redelivered bool
	Exchange    string
	RoutingKey  string
}

func (*BasicDeliver) ID() MethodID { return IDBasicDeliver }

func (m *BasicDeliver) appendArgs(dst []byte) []byte {
	dst = appendShort(dst, m.ConsumerTag)
	dst = binary.BigEndian.AppendUint64(dst, m.DeliveryTag)
	dst = append(dst, bit(m.Redelivered, 0))
	dst = appendShort(dst, m.Exchange)
	dst = appendShort(dst, m.RoutingKey)
	return dst
}

func (m *BasicDeliver) decodeArgs(r *reader) {
	m.ConsumerTag = string(r.shortstr())
	m.DeliveryTag = r.longlong()
	bits := r.octet()
	m.Redelivered = bits&1 != 0
	m.Exchange = string(r.shortstr())
	m.RoutingKey = string(r.shortstr())
}

// BasicGet is basic.get.
type BasicGet struct {
	Queue string
	NoAck bool
}

func (*BasicGet) ID() MethodID { return IDBasicGet }

func (m *BasicGet) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = appendShort(dst, m.Queue)
	dst = append(dst, bit(m.NoAck, 0))
	return dst
}

func (m *BasicGet) decodeArgs(r *reader) {
	r.short()
	m.Queue = string(r.shortstr())
	bits := r.octet()
	m.NoAck = bits&1 != 0
}

// BasicGetOk is basic.get-ok.
type BasicGetOk struct {
	DeliveryTag  uint64
	Redelivered  bool
	Exchange     string
	RoutingKey   string
	MessageCount uint32
}

func (*BasicGetOk) ID() MethodID { return IDBasicGetOk }

func (m *BasicGetOk) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, m.DeliveryTag)
	dst = append(dst, bit(m.Redelivered, 0))
	dst = appendShort(dst, m.Exchange)
	dst = appendShort(dst, m.RoutingKey)
	dst = binary.BigEndian.AppendUint32(dst, m.MessageCount)
	return dst
}

func (m *BasicGetOk) decodeArgs(r *reader) {
	m.DeliveryTag = r.longlong()
	bits := r.octet()
	m.Redelivered = bits&1 != 0
	m.Exchange = string(r.shortstr())
	m.RoutingKey = string(r.shortstr())
	m.MessageCount = r.long()
}

// BasicGetEmpty is basic.get-empty.
type BasicGetEmpty struct {
}

func (*BasicGetEmpty) ID() MethodID { return IDBasicGetEmpty }

func (m *BasicGetEmpty) appendArgs(dst []byte) []byte {
	dst = appendShort(dst, "")
	return dst
}

func (m *BasicGetEmpty) decodeArgs(r *reader) {
	r.shortstr()
}

// BasicAck is basic.ack.
type BasicAck struct {
	DeliveryTag uint64
	Multiple    bool
}

func (*BasicAck) ID() MethodID { return IDBasicAck }

func (m *BasicAck) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, m.DeliveryTag)
	dst = append(dst, bit(m.Multiple, 0))
	return dst
}

func (m *BasicAck) decodeArgs(r *reader) {
	m.DeliveryTag = r.longlong()
	bits := r.octet()
	m.Multiple = bits&1 != 0
}

// BasicReject is basic.reject.
type BasicReject struct {
	DeliveryTag uint64
	Requeue     bool
}

func (*BasicReject) ID() MethodID { return IDBasicReject }

func (m *BasicReject) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, m.DeliveryTag)
	dst = append(dst, bit(m.Requeue, 0))
	return dst
}

func (m *BasicReject) decodeArgs(r *reader) {
	m.DeliveryTag = r.longlong()
	bits := r.octet()
	m.Requeue = bits&1 != 0
}

// BasicRecoverAsync is basic.recover-async.
type BasicRecoverAsync struct {
	Requeue bool
}

func (*BasicRecoverAsync) ID() MethodID { return IDBasicRecoverAsync }

func (m *BasicRecoverAsync) appendArgs(dst []byte) []byte {
	dst = append(dst, bit(m.Requeue, 0))
	return dst
}

func (m *BasicRecoverAsync) decodeArgs(r *reader) {
	bits := r.octet()
	m.Requeue = bits&1 != 0
}

// BasicRecover is basic.recover.
type BasicRecover struct {
	Requeue bool
}

func (*BasicRecover) ID() MethodID { return IDBasicRecover }

func (m *BasicRecover) appendArgs(dst []byte) []byte {
	dst = append(dst, bit(m.Requeue, 0))
	return dst
}

func (m *BasicRecover) decodeArgs(r *reader) {
	bits := r.octet()
	m.Requeue = bits&1 != 0
}

// BasicRecoverOk is basic.recover-ok.
type BasicRecoverOk struct {
}

func (*BasicRecoverOk) ID() MethodID { return IDBasicRecoverOk }

func (m *BasicRecoverOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *BasicRecoverOk) decodeArgs(r *reader) {
}

// BasicNack is basic.nack.
type BasicNack struct {
	DeliveryTag uint64
	Multiple    bool
	Requeue     bool
}

func (*BasicNack) ID() MethodID { return IDBasicNack }

func (m *BasicNack) appendArgs(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, m.DeliveryTag)
	dst = append(dst, bit(m.Multiple, 0)|bit(m.Requeue, 1))
	return dst
}

func (m *BasicNack) decodeArgs(r *reader) {
	m.DeliveryTag = r.longlong()
	bits := r.octet()
	m.Multiple = bits&1 != 0
	m.Requeue = bits&2 != 0
}

// ConfirmSelect is confirm.select.
type ConfirmSelect struct {
	NoWait bool
}

func (*ConfirmSelect) ID() MethodID { return IDConfirmSelect }

func (m *ConfirmSelect) appendArgs(dst []byte) []byte {
	dst = append(dst, bit(m.NoWait, 0))
	return dst
}

func (m *ConfirmSelect) decodeArgs(r *reader) {
	bits := r.octet()
	m.NoWait = bits&1 != 0
}

// ConfirmSelectOk is confirm.select-ok.
type ConfirmSelectOk struct {
}

func (*ConfirmSelectOk) ID() MethodID { return IDConfirmSelectOk }

func (m *ConfirmSelectOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *ConfirmSelectOk) decodeArgs(r *reader) {
}

// TxSelect is tx.select.
type TxSelect struct {
}

func (*TxSelect) ID() MethodID { return IDTxSelect }

func (m *TxSelect) appendArgs(dst []byte) []byte {
	return dst
}

func (m *TxSelect) decodeArgs(r *reader) {
}

// TxSelectOk is tx.select-ok.
type TxSelectOk struct {
}

func (*TxSelectOk) ID() MethodID { return IDTxSelectOk }

func (m *TxSelectOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *TxSelectOk) decodeArgs(r *reader) {
}

// TxCommit is tx.commit.
type TxCommit struct {
}

func (*TxCommit) ID() MethodID { return IDTxCommit }

func (m *TxCommit) appendArgs(dst []byte) []byte {
	return dst
}

func (m *TxCommit) decodeArgs(r *reader) {
}

// TxCommitOk is tx.commit-ok.
type TxCommitOk struct {
}

func (*TxCommitOk) ID() MethodID { return IDTxCommitOk }

func (m *TxCommitOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *TxCommitOk) decodeArgs(r *reader) {
}

// TxRollback is tx.rollback.
type TxRollback struct {
}

func (*TxRollback) ID() MethodID { return IDTxRollback }

func (m *TxRollback) appendArgs(dst []byte) []byte {
	return dst
}

func (m *TxRollback) decodeArgs(r *reader) {
}

// TxRollbackOk is tx.rollback-ok.
type TxRollbackOk struct {
}

func (*TxRollbackOk) ID() MethodID { return IDTxRollbackOk }

func (m *TxRollbackOk) appendArgs(dst []byte) []byte {
	return dst
}

func (m *TxRollbackOk) decodeArgs(r *reader) {
}
