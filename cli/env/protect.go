package env

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
)

// A protected context is for looking: what would change something on its broker is refused before
// it is sent. `--protected=false` says for one command that it is meant.

// Guard refuses what is done in a protected context, in a few words: "publish to kafka:orders".
func (e *Env) Guard(what string) error {
	if !e.Protected {
		return nil
	}
	return Explain(e.protected(what))
}

func (e *Env) protected(what string) *adminapi.Error {
	where := "settings protect this broker"
	if e.Context != "" {
		where = "context " + e.Context + " is protected"
	}
	return &adminapi.Error{
		Code: "protected", Category: adminapi.CategoryAuth, Message: where + ": it does not " + what,
		Hint: "if you mean it: the same with --protected=false",
	}
}

// guarded lets through to a protected broker only what asks.
type guarded struct {
	e    *Env
	next http.RoundTripper
}

func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	path := r.URL.EscapedPath()
	if i := strings.LastIndex(path, "/v1/"); i > 0 { // a broker may stand behind a path of a proxy
		path = path[i:]
	}
	if adminapi.Asks(r.Method, path) {
		return g.next.RoundTrip(r)
	}
	if r.Body != nil {
		_ = r.Body.Close() // nothing was sent of it
	}
	return nil, g.e.protected("change anything")
}

// Password is that of User: of RMQ_PASSWORD, or in the file of --password-file. "": there is none.
func (e *Env) Password() (string, error) {
	if p := e.Getenv("RMQ_PASSWORD"); p != "" || e.passwordFile == "" {
		return p, nil
	}
	b, err := os.ReadFile(e.PasswordFile())
	if err != nil {
		return "", Failf(Usage, "--password-file: %v", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// PasswordFile is the file of --password-file, whole; "": none was named.
func (e *Env) PasswordFile() string {
	if e.passwordFile == "" || filepath.IsAbs(e.passwordFile) {
		return e.passwordFile
	}
	return filepath.Join(e.Dir, e.passwordFile)
}
