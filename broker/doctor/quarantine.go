package doctor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/vfs"
)

// quarantine is a directory of what one repair takes away.
type quarantine struct {
	data, dir string
	readme    strings.Builder
}

// newQuarantine makes the directory, durably.
func newQuarantine(data string, now time.Time) (*quarantine, error) {
	q := &quarantine{data: data}
	for i := 0; ; i++ {
		name := now.UTC().Format("20060102T150405Z")
		if i > 0 {
			name += fmt.Sprintf("-%d", i)
		}
		q.dir = filepath.Join(data, QuarantineDir, name)
		if _, err := os.Stat(q.dir); errors.Is(err, os.ErrNotExist) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(q.dir, 0o750); err != nil {
		return nil, err
	}
	fmt.Fprintf(&q.readme, "What rmq doctor --repair took out of %s, %s.\n\n"+
		"Paths here are as they were there. To undo all of it: stop the broker, copy these files back over those in the\n"+
		"directory, and remove the files that are listed as new. What was written since is then lost.\n"+
		"To look into them: rmq log inspect FILE. When nobody misses anything, this directory can go.\n", data, now.UTC().Format(time.RFC3339))
	return q, errors.Join(vfs.OS{}.SyncDir(filepath.Dir(q.dir)), vfs.OS{}.SyncDir(data))
}

// note adds to README, durably.
func (q *quarantine) note(format string, args ...any) error {
	fmt.Fprintf(&q.readme, format, args...)
	if err := vfs.WriteFile(vfs.OS{}, filepath.Join(q.dir, "README"), []byte(q.readme.String())); err != nil {
		return err
	}
	return vfs.OS{}.SyncDir(q.dir)
}

// place is where a file of the data directory goes here; its directory is made, durably.
func (q *quarantine) place(path string) (string, error) {
	rel, err := filepath.Rel(q.data, path)
	if err != nil {
		return "", err
	}
	to := filepath.Join(q.dir, rel)
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return "", err
	}
	for d := filepath.Dir(to); len(d) >= len(q.dir); d = filepath.Dir(d) {
		if err := (vfs.OS{}).SyncDir(d); err != nil {
			return "", err
		}
	}
	return to, nil
}

// keep copies a file, durably; one that is not there is no error.
func (q *quarantine) keep(path string) (err error) {
	src, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // only read from
	to, err := q.place(path)
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if errors.Is(err, os.ErrExist) {
		return nil // an earlier step kept it as it was
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err == nil {
		err = dst.Sync()
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return err
	}
	return vfs.OS{}.SyncDir(filepath.Dir(to))
}

// take moves a file or directory here, durably.
func (q *quarantine) take(path string) error {
	to, err := q.place(path)
	if err != nil {
		return err
	}
	if err := os.Rename(path, to); err != nil {
		return err
	}
	return errors.Join(vfs.OS{}.SyncDir(filepath.Dir(to)), vfs.OS{}.SyncDir(filepath.Dir(path)))
}

// replace keeps a file and gives its name to another.
func (q *quarantine) replace(path, by string) error {
	if err := q.keep(path); err != nil {
		return err
	}
	if err := os.Rename(by, path); err != nil {
		return err
	}
	return vfs.OS{}.SyncDir(filepath.Dir(path))
}
