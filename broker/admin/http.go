package admin

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/wire"
)

// Handler serves the API under /v1 to administrators, and to anybody who asks how the
// broker is: /healthz (200 when it can do its work, 503 otherwise) and /metrics.
//
// What it serves is put together at the first request: that takes as long as the rest of a broker's start, and most
// brokers of tests are never asked.
func Handler(s *Source, a *auth.Auth, link clock.Clock) http.Handler {
	served := sync.OnceValue(func() http.Handler { return handler(s, a, link) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { served().ServeHTTP(w, r) })
}

func handler(s *Source, a *auth.Auth, link clock.Clock) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/", guard(a, adminapi.Handler(s, adminapi.HandlerOptions{Clock: link, Closing: s.c.Closing})))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.c.Kernel.Err(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /metrics", metrics(s))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		st, err := s.Status(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"product": "rmq", "version": st.Version, "api": "/v1/status", "urls": st.URLs})
	})
	return mux
}

// guard lets administrators in, and everybody on this machine while there are no users. Who a rule
// allows to describe the cluster may look, but not at messages.
func guard(a *auth.Auth, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		login := auth.NewLogin("http", peer(r))
		login.User, login.Password = user, password
		if a.Begins(login) {
			next.ServeHTTP(w, r)
			return
		}
		id, err := a.Authenticate(login)
		switch {
		case err != nil:
			w.Header().Set("WWW-Authenticate", `Basic realm="rmq"`)
			refuse(w, http.StatusUnauthorized, adminapi.Error{
				Code: "unauthorized", Category: "auth", Message: "who are you: the user name and password are not known here",
				Hint: "give --user NAME and RMQ_PASSWORD",
			})
		case !a.Administers(id) && !(looks(r) && a.Access(id, login, adminapi.DefaultNamespace).Granted(acl.Describe, acl.Cluster, "")):
			refuse(w, http.StatusForbidden, adminapi.Error{
				Code: "denied", Category: "auth", Message: "user " + id.User + " is no administrator",
				Hint: "ask one of them for: rmq user alter " + id.User + " --tag administrator",
			})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// looks tells whether a request only looks, and at no message. It reads a path as the mux does, which
// unescapes each segment by itself: a name may hold a slash, and a call may be written "%6Cive".
func looks(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	path := strings.Split(r.URL.EscapedPath(), "/") // "", "v1", call, name, what of it
	for i, segment := range path {
		var err error
		if path[i], err = url.PathUnescape(segment); err != nil {
			return false
		}
	}
	switch {
	case len(path) > 4:
		return path[4] != "records" && path[4] != "messages"
	case len(path) > 2:
		return !slices.Contains([]string{"live", "trace", "retained", "snapshot", "record"}, path[2])
	}
	return true
}

func refuse(w http.ResponseWriter, status int, e adminapi.Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"schema": "rmq.error/1", "error": e})
}

func peer(r *http.Request) wire.Peer {
	if p, ok := wire.PeerFrom(r.Context()); ok {
		return p
	}
	if a, err := net.ResolveTCPAddr("tcp", r.RemoteAddr); err == nil {
		return wire.Peer{Remote: a}
	}
	return wire.Peer{Remote: &net.TCPAddr{IP: net.IPv4zero}} // from nowhere that is trusted
}
