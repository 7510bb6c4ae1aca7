package filelog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// VERSION is text, so that whoever finds the directory can read what it is:
//
//	rmq data, format 1
//	store 3f9a0c5be81d7742
//
// Files of the log, segments and checkpoints say which store they are of, so that those of two
// directories are told apart. Lines after the second are for later releases of the same format.
const (
	versionFile   = "VERSION"
	lockName      = "LOCK"
	homeFormat    = 1
	versionPrefix = "rmq data, format "
	storePrefix   = "store "
	versionMax    = 4 << 10 // bytes
)

// NodeFile says which node of a cluster a directory is of, if it is of one. It is the broker's own;
// a node that joins has it before anything else.
const NodeFile = "NODE"

// ErrForeign: the directory holds files, and nothing says that they are ours.
var ErrForeign = errors.New("not an rmq data directory, and not empty")

// home is the data directory, locked.
type home struct {
	fs    vfs.FS
	dir   string
	lock  io.Closer
	fresh bool   // has no VERSION yet: nothing in it was ever acknowledged
	store uint64 // which directory it is, as VERSION says; 0: it does not
	// sameBoot: who had it open before had it open since the machine was last started.
	sameBoot bool
}

// openHome makes sure that dir is ours, of a format that we know, and that nobody else
// has it. It changes nothing in a directory of which that is not true.
func openHome(fsys vfs.FS, dir string) (*home, error) {
	h := &home{fs: fsys, dir: dir}
	if err := h.inspect(); err != nil {
		return nil, err
	}
	if err := h.mkdir(filepath.Join(dir, walDir)); err != nil {
		return nil, fmt.Errorf("filelog: make data directory: %w", err)
	}
	before, _ := vfs.ReadFile(fsys, filepath.Join(dir, lockName), versionMax) // missing the first time
	lock, err := fsys.Lock(filepath.Join(dir, lockName))
	if held, ok := errors.AsType[*vfs.HeldError](err); ok {
		if held.PID != 0 {
			return nil, fmt.Errorf("%w: %s is open in process %d", storage.ErrInUse, dir, held.PID)
		}
		return nil, fmt.Errorf("%w: %s", storage.ErrInUse, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("filelog: lock data directory: %w", err)
	}
	h.lock, h.sameBoot = lock, vfs.SameBoot(before)
	// Whoever held the lock until now may have written it.
	if err := h.inspect(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return h, nil
}

// inspect reads VERSION, or makes sure that there is nothing to lose.
func (h *home) inspect() error {
	entries, err := h.fs.ReadDir(h.dir)
	if errors.Is(err, fs.ErrNotExist) {
		h.fresh = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("filelog: read data directory: %w", err)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(entries, func(e vfs.Entry) bool { return e.Name == name })
	}
	if has(versionFile) {
		h.fresh = false
		return h.checkVersion()
	}
	h.fresh = true
	if has(segmentsDir) || has(checkpointFile) {
		return fmt.Errorf("%w: %s holds data, but no %s file", storage.ErrCorrupt, h.dir, versionFile)
	}
	for _, e := range entries {
		switch e.Name {
		case lockName, walDir, versionFile + ".tmp": // a first open that was interrupted
		case NodeFile, NodeFile + ".tmp":
		case "lost+found": // a file system of its own
		default:
			return fmt.Errorf("filelog: %s: %w: found %q; nothing was changed", h.dir, ErrForeign, e.Name)
		}
	}
	if has(walDir) {
		return h.checkUnused()
	}
	return nil
}

func (h *home) checkVersion() error {
	name := filepath.Join(h.dir, versionFile)
	b, err := vfs.ReadFile(h.fs, name, versionMax)
	if err != nil {
		return fmt.Errorf("filelog: %w", err)
	}
	line, rest, _ := strings.Cut(string(b), "\n")
	number, ok := strings.CutPrefix(line, versionPrefix)
	if !ok {
		return fmt.Errorf("filelog: %s: %w: it begins with %q", name, ErrForeign, line[:min(len(line), 40)])
	}
	switch format, err := strconv.Atoi(number); {
	case err != nil || format < 1:
		return fmt.Errorf("%w: %s says %q", storage.ErrCorrupt, name, line[:min(len(line), 40)])
	case format > homeFormat:
		return fmt.Errorf("%w: %s has format %d, this release reads up to %d", storage.ErrVersion, h.dir, format, homeFormat)
	}
	line, _, _ = strings.Cut(rest, "\n")
	if hex, ok := strings.CutPrefix(line, storePrefix); ok {
		h.store, _ = strconv.ParseUint(hex, 16, 64) // 0: nothing that we wrote; it is not looked at then
	}
	return nil
}

// checkUnused makes sure that a log without VERSION beside it holds no record: VERSION
// is written before the first.
func (h *home) checkUnused() error {
	dir := filepath.Join(h.dir, walDir)
	entries, err := h.fs.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("filelog: %w", err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name) != ".wal" {
			continue
		}
		used, err := h.used(filepath.Join(dir, e.Name), e.Size)
		if err != nil {
			return fmt.Errorf("filelog: %w", err)
		}
		if used {
			return fmt.Errorf("%w: %s holds data, but no %s file", storage.ErrCorrupt, h.dir, versionFile)
		}
	}
	return nil
}

func (h *home) used(path string, size int64) (_ bool, err error) {
	f, err := h.fs.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s := newScanner(f, size)
	if size < walBlock || s.header(1) != nil {
		return true, nil // a file has its name only once its header is durable
	}
	return s.next(), s.err
}

// mkdir makes a directory, with its parents' names durable.
func (h *home) mkdir(dir string) error {
	var made []string
	for d := dir; ; d = filepath.Dir(d) {
		_, err := h.fs.ReadDir(d)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || d == filepath.Dir(d) {
			break
		}
		made = append(made, d)
	}
	if err := h.fs.MkdirAll(dir); err != nil {
		return err
	}
	for _, d := range made {
		if err := h.fs.SyncDir(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// settle writes VERSION into a fresh directory, as the last step of making it, and makes
// sure that names are durable: an earlier open may have been killed before it had.
func (h *home) settle(store uint64) error {
	if h.fresh {
		text := fmt.Sprintf("%s%d\n%s%016x\n", versionPrefix, homeFormat, storePrefix, store)
		if err := vfs.WriteFile(h.fs, filepath.Join(h.dir, versionFile), []byte(text)); err != nil {
			return err
		}
	}
	if err := h.fs.SyncDir(h.dir); err != nil {
		return err
	}
	// That open may have made the directories above, too. They may be unreadable to us, as a
	// mount point's can be: then they were not made by us.
	for d := filepath.Clean(h.dir); d != filepath.Dir(d); d = filepath.Dir(d) {
		if err := h.fs.SyncDir(filepath.Dir(d)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}
