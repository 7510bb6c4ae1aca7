package mqtt

import (
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// reasonOf is the adapter's one table from a kernel failure to a reason code, as
// CONNACK and DISCONNECT may carry it.
func reasonOf(err error) mqttwire.Reason {
	if isBanned(err) {
		return mqttwire.Banned
	}
	switch fault.KindOf(err) {
	case fault.Invalid, fault.Unsupported:
		return mqttwire.ImplementationError
	case fault.Denied:
		return mqttwire.NotAuthorized
	case fault.Unauthorized:
		return mqttwire.BadCredentials
	case fault.TooLarge:
		return mqttwire.PacketTooLarge
	case fault.Exhausted, fault.Full:
		return mqttwire.QuotaExceeded
	case fault.Unavailable, fault.Timeout:
		return mqttwire.ServerUnavailable
	case fault.Fenced:
		return mqttwire.SessionTakenOver
	}
	return mqttwire.UnspecifiedError
}

// reasonIn is reasonOf in a packet that may not carry every reason: what it may not
// carry becomes the nearest that it may.
func reasonIn(t mqttwire.Type, err error) mqttwire.Reason {
	r := reasonOf(err)
	switch {
	case r.AllowedIn(t):
		return r
	case r == mqttwire.Banned: // it stands in CONNACK alone
		return mqttwire.NotAuthorized
	case r == mqttwire.PacketTooLarge && mqttwire.QuotaExceeded.AllowedIn(t):
		return mqttwire.QuotaExceeded
	case r == mqttwire.ServerUnavailable && mqttwire.ImplementationError.AllowedIn(t):
		// Of the codes of PUBACK and SUBACK the one that does not blame the request.
		return mqttwire.ImplementationError
	}
	return mqttwire.UnspecifiedError
}
