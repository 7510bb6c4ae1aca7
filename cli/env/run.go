package env

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// DefaultName is the broker that commands mean when none is named.
const DefaultName = "default"

// Run is how commands find a broker on this machine: a file that `rmq up` leaves while
// it runs. It holds nothing secret. One whose process is gone is stale, which every
// reader can tell, so a crash leaves nothing to clean up.
type Run struct {
	Name    string        `json:"name"`
	PID     int           `json:"pid"`
	Started time.Time     `json:"started"`
	URLs    adminapi.URLs `json:"urls"`
	DataDir string        `json:"data_dir,omitempty"`
	Log     string        `json:"log,omitempty"` // of a detached broker

	// Nodes are those of a cluster that one `rmq up` started; URLs are then of the first that is
	// up. Control is the socket on which that `rmq up` is told what to do with their processes;
	// "": they share its own.
	Nodes   []RunNode `json:"nodes,omitempty"`
	Control string    `json:"control,omitempty"`
}

// RunNode is one node of a cluster that runs on this machine.
type RunNode struct {
	ID       uint64        `json:"id"`
	PID      int           `json:"pid,omitempty"` // 0: it does not run
	State    string        `json:"state"`         // one of the constants below
	Since    time.Time     `json:"since"`         // it is in that state
	Restarts int           `json:"restarts,omitempty"`
	Last     string        `json:"last,omitempty"` // how it ended last
	URLs     adminapi.URLs `json:"urls"`
	DataDir  string        `json:"data_dir,omitempty"`
}

// States of a node's process.
const (
	NodeStarting = "starting"
	NodeUp       = "up"
	NodePaused   = "paused"
	NodeWaiting  = "waiting" // it died, and is started again in a while
	NodeStopped  = "stopped" // until somebody restarts it
)

// RunDir is where run files are: the user's runtime directory, or, on systems without
// one, the user's state directory.
func (e *Env) RunDir() string {
	if d := e.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "rmq")
	}
	return filepath.Join(e.StateDir(), "run")
}

// StateDir is where logs of detached brokers are.
func (e *Env) StateDir() string {
	switch {
	case e.Getenv("XDG_STATE_HOME") != "":
		return filepath.Join(e.Getenv("XDG_STATE_HOME"), "rmq")
	case e.Home != "":
		return filepath.Join(e.Home, ".local", "state", "rmq")
	}
	return filepath.Join(os.TempDir(), "rmq-"+strconv.Itoa(os.Getuid()))
}

// DataDir is where a broker keeps its data unless it is told otherwise.
func (e *Env) DataDir(name string) string {
	switch {
	case e.Getenv("XDG_DATA_HOME") != "":
		return filepath.Join(e.Getenv("XDG_DATA_HOME"), "rmq", name)
	case e.Home != "":
		return filepath.Join(e.Home, ".local", "share", "rmq", name)
	}
	return filepath.Join(e.StateDir(), "data", name)
}

// CheckName wants a name of a broker to be a plain file name.
func CheckName(name string) error {
	ok := name != "" && len(name) <= 64 && name[0] != '.' && name[0] != '-'
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}
	if !ok {
		return Failf(Usage, "%q is no name for a broker: letters, digits, - _ and . only", name)
	}
	return nil
}

func (e *Env) runFile(name string) string { return filepath.Join(e.RunDir(), name+".json") }

// ReadRun returns the run file of a broker, and whether there is one. It may be stale.
func (e *Env) ReadRun(name string) (Run, bool, error) {
	b, err := os.ReadFile(e.runFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return Run{}, false, nil
	}
	if err != nil {
		return Run{}, false, err
	}
	var r Run
	// One that was cut short by a full disk is as good as none.
	whole := json.Unmarshal(b, &r) == nil && r.PID > 0
	return r, whole, nil
}

// Runs lists the run files of brokers whose process is alive, by name.
func (e *Env) Runs() []Run {
	files, _ := filepath.Glob(filepath.Join(e.RunDir(), "*.json")) // no directory: none
	var runs []Run
	for _, f := range files {
		r, ok, err := e.ReadRun(strings.TrimSuffix(filepath.Base(f), ".json"))
		if err == nil && ok && Alive(r.PID) {
			runs = append(runs, r)
		}
	}
	slices.SortFunc(runs, func(a, b Run) int { return strings.Compare(a.Name, b.Name) })
	return runs
}

// WriteRun leaves a run file, in place of a stale one. false: a broker of that name
// that is alive was first.
func (e *Env) WriteRun(r Run) (won bool, err error) {
	dir := e.RunDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	// Linked: of two writers one wins.
	tmp, err := e.writeAside(r)
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(tmp) }() // a stray file is hidden, and harmless
	final := e.runFile(r.Name)
	for range 2 {
		err = os.Link(tmp, final)
		switch {
		case err == nil:
			return true, nil
		case !errors.Is(err, fs.ErrExist):
			// A file system without links: the last writer wins.
			return true, os.Rename(tmp, final)
		}
		if old, ok, err := e.ReadRun(r.Name); err == nil && ok && Alive(old.PID) && old.PID != r.PID && Listens(old.URLs.HTTP) {
			return false, nil
		}
		if err := os.Remove(final); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil // another one came first twice
}

// UpdateRun replaces the run file of a broker of this process.
func (e *Env) UpdateRun(r Run) error {
	tmp, err := e.writeAside(r)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, e.runFile(r.Name)); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

// writeAside writes a run file beside its place: a reader sees a whole file or none.
func (e *Env) writeAside(r Run) (path string, err error) {
	b, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(e.RunDir(), "."+r.Name+"-*")
	if err != nil {
		return "", err
	}
	_, err = tmp.Write(append(b, '\n'))
	if err = errors.Join(err, tmp.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("leave a run file: %w", err), os.Remove(tmp.Name()))
	}
	return tmp.Name(), nil
}

// Listens tells whether somebody takes connections at a URL.
func Listens(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return false
	}
	d := net.Dialer{Timeout: 2 * time.Second}
	c, err := d.DialContext(context.Background(), "tcp", u.Host)
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was said
	return true
}

// RemoveRun takes a run file away, if it is still that process's.
func (e *Env) RemoveRun(name string, pid int) {
	if r, ok, err := e.ReadRun(name); err == nil && ok && r.PID == pid {
		_ = os.Remove(e.runFile(name)) // one that stays is stale, and seen to be
	}
}
