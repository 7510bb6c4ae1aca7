package adminapi

import "net/http"

// The calls that are POSTs because their question does not fit in an address, and change nothing.
const (
	pathExplain    = "/v1/explain"
	pathTestAccess = "/v1/acl/test"
	pathWant       = "/v1/want"
)

// Asks tells whether a call of this API only asks: whoever makes it leaves the broker as it was.
func Asks(method, path string) bool {
	switch method {
	case http.MethodGet, http.MethodHead:
		return true
	case http.MethodPost:
		return path == pathExplain || path == pathTestAccess || path == pathWant
	}
	return false
}
