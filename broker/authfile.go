package broker

import (
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/clock"
)

// authEvery is how often it is looked whether the configuration of authentication has changed.
const authEvery = 5 * time.Second

// authFile has an Auth follow a configuration that may change. What cannot be used changes nothing.
type authFile struct {
	read func() (auth.Config, error)
	auth *auth.Auth
	link clock.Clock
	log  *slog.Logger

	mu      sync.Mutex
	timer   clock.Timer
	closed  bool
	used    auth.Config // what the Auth goes by
	problem string      // why what is there now is not used; "": it is
}

// followAuth begins with the configuration that a has already.
func followAuth(read func() (auth.Config, error), used auth.Config, a *auth.Auth, link clock.Clock, log *slog.Logger) *authFile {
	f := &authFile{read: read, used: used, auth: a, link: link, log: log}
	f.timer = link.AfterFunc(authEvery, f.tick)
	return f
}

func (f *authFile) tick() {
	_ = f.reload(false) // logged, and told by Status
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.timer = f.link.AfterFunc(authEvery, f.tick)
	}
}

// reload reads the configuration now, and takes it where it has changed, or again is set: the files that
// it names may have. The error says why what it holds is not used.
func (f *authFile) reload(again bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	cfg, err := f.read()
	if err == nil && (again || f.problem != "" || !reflect.DeepEqual(cfg, f.used)) {
		if err = f.auth.Configure(cfg); err == nil {
			f.used = cfg
		}
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != f.problem {
		if f.problem = text; err != nil {
			f.log.Warn("who knows clients cannot be read again: what was read before stays in use", "error", err)
		} else {
			f.log.Info("who knows clients is in order again")
		}
	}
	return err
}

// warning is for Status; "": all is well.
func (f *authFile) warning() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.problem == "" {
		return ""
	}
	return "authentication goes by what was read before: " + f.problem
}

func (f *authFile) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.timer.Stop()
}
