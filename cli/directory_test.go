//go:build unix

package cli_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/cli/env"
)

// These tests give `rmq up` data directories that no broker left like that, as people and
// their tools do. It says one thing, in one line, with a hint that can be pasted, and deletes nothing.

// aged leaves in dir what a broker leaves that has run for long.
func aged(t *testing.T, dir string) {
	t.Helper()
	kerneltest.Directory(t, dir, 1, func(k *kernel.Kernel) {
		for _, name := range []string{"orders", "audit"} {
			if _, err := k.CreateStream(t.Context(), kernel.StreamSpec{Namespace: "/", Address: name, Partitions: 1}); err != nil {
				t.Fatal(err)
			}
			kerneltest.Fill(t, k, name, 150)
		}
	})
}

// content is a directory's files by path: the sum of each. LOCK is left out: it says who has it
// open. So is what holds nothing: spares and indexes are made anew.
func content(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	all := make(map[string][sha256.Size]byte)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LOCK" || filepath.Ext(path) == ".spare" || filepath.Ext(path) == ".idx" {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path) // it is below dir
		all[filepath.ToSlash(rel)] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// rmq is the program, for a user who has a home of their own. uid 0 is whoever runs the test.
func rmq(t *testing.T, uid int, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home := open(t)
	cmd := exec.CommandContext(t.Context(), exe, args...)
	if uid != 0 {
		// The program lies where only we get.
		cmd.Path = filepath.Join(open(t), "rmq")
		if err := copyFile(cmd.Path, exe); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	cmd.Args[0], cmd.Dir = "rmq", home
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home, "XDG_STATE_HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	return cmd
}

// open is a temporary directory that every user may write to.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rmq") //nolint:usetesting // that of a test is its user's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// patience bounds what a test waits for; reached only when it fails.
const patience = time.Minute

// refused runs `rmq up` on a directory that it must refuse, and returns what it says.
func refused(t *testing.T, uid int, dir string) (what, hint string, exit int) {
	t.Helper()
	cmd := rmq(t, uid, "up", "--data", dir, "--any-port")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Signal(os.Interrupt) })
	defer late.Stop()
	_ = cmd.Run() // its exit code says it
	said := regexp.MustCompile(`^rmq: ([^\n]+)\nhint: ([^\n]+)\n$`).FindStringSubmatch(errs.String())
	if out.Len() > 0 || said == nil {
		t.Fatalf("it says more, or less, than one thing with a hint:\n%s%s", &out, &errs)
	}
	return said[1], said[2], cmd.ProcessState.ExitCode()
}

// broker is a `rmq up` in the foreground.
type broker struct {
	t    *testing.T
	cmd  *exec.Cmd
	errs bytes.Buffer // read it after end
}

// begin starts a broker on a directory, and returns when it is up.
func begin(t *testing.T, dir string) *broker {
	t.Helper()
	b := &broker{t: t, cmd: rmq(t, 0, "up", "--data", dir, "--any-port", "--json")}
	b.cmd.Stderr = &b.errs
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.cmd.Process.Kill() }) // if the test failed
	var status struct {
		Data struct{ Ready bool }
	}
	if err := json.NewDecoder(out).Decode(&status); err != nil || !status.Data.Ready {
		_ = b.cmd.Wait()
		t.Fatalf("not up: %v\n%s", err, &b.errs)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the broker
	return b
}

// run runs another command against the broker.
func (b *broker) run(args ...string) (stdout, stderr string, exit int) {
	b.t.Helper()
	cmd := rmq(b.t, 0, args...)
	cmd.Env, cmd.Dir = b.cmd.Env, b.cmd.Dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Stdin = &out, &errs, strings.NewReader("")
	_ = cmd.Run() // its exit code says it
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// end presses Ctrl-C and returns what the broker has said, and its exit code.
func (b *broker) end() (stderr string, exit int) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(os.Interrupt); err != nil {
		b.t.Fatal(err)
	}
	_ = b.cmd.Wait() // its exit code says it
	return b.errs.String(), b.cmd.ProcessState.ExitCode()
}

func copied(t *testing.T, from string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// otherUser is one that may not do what the test's user may. Root becomes it; who is not root
// is it.
func otherUser() int {
	if os.Geteuid() == 0 {
		return 65534
	}
	return 0
}

// A directory whose files this user may not write, or may not see, or whose parent takes no new
// ones.
func TestDirectoryWithoutPermission(t *testing.T) {
	uid := otherUser()
	t.Run("read-only", func(t *testing.T) {
		parent := open(t)
		dir := filepath.Join(parent, "data")
		aged(t, dir)
		ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if uid != 0 {
				err = os.Chown(path, uid, uid)
			}
			if d.IsDir() {
				t.Cleanup(func() { _ = os.Chmod(path, 0o700) }) // so that it can be removed
			}
			return err
		}))
		before := content(t, dir)
		for path := range before {
			ok(t, os.Chmod(filepath.Join(dir, path), 0o400))
		}
		ok(t, os.Chmod(filepath.Join(dir, "wal"), 0o500))
		ok(t, os.Chmod(dir, 0o500))
		what, hint, exit := refused(t, uid, dir)
		if exit != env.Auth || !strings.HasSuffix(what, "permission denied") || !strings.Contains(hint, "chmod -R u+rwX "+dir+" ") {
			t.Errorf("exit %d\n%s\n%s", exit, what, hint)
		}
		if after := content(t, dir); !maps.Equal(after, before) {
			t.Error("it has changed")
		}
	})
	t.Run("parent", func(t *testing.T) {
		parent := open(t)
		if uid != 0 {
			ok(t, os.Chown(parent, uid, uid))
		}
		ok(t, os.Chmod(parent, 0o500))
		what, hint, exit := refused(t, uid, filepath.Join(parent, "data"))
		if exit != env.Auth || !strings.HasSuffix(what, "permission denied") || hint == "" {
			t.Errorf("exit %d\n%s\n%s", exit, what, hint)
		}
	})
	t.Run("another owner's", func(t *testing.T) {
		if uid == 0 {
			t.Skip("only root can make a directory that is another user's")
		}
		dir := filepath.Join(open(t), "data")
		aged(t, dir)
		ok(t, os.Chmod(dir, 0o700))
		before := content(t, dir)
		what, hint, exit := refused(t, uid, dir)
		if exit != env.Auth || !strings.HasSuffix(what, "permission denied") || !strings.HasPrefix(hint, "it is root's: sudo -u root rmq up --data "+dir+" ") {
			t.Errorf("exit %d\n%s\n%s", exit, what, hint)
		}
		if after := content(t, dir); !maps.Equal(after, before) {
			t.Error("it has changed")
		}
	})
}

// What is no directory of ours, also to root.
func TestDirectoryThatIsNone(t *testing.T) {
	tests := []struct {
		name string
		make func(dir string) error
		exit int
		what string
	}{
		{"a file", func(dir string) error { return os.WriteFile(dir, []byte("text"), 0o600) }, env.Usage, "data is no directory"},
		{"a file where wal should be", func(dir string) error {
			return errorsOf(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "wal"), []byte("text"), 0o600))
		}, env.Usage, "wal"},
		{"somebody's files", func(dir string) error {
			return errorsOf(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "thesis.doc"), []byte("years"), 0o600))
		}, env.Usage, `not an rmq data directory, and not empty: found "thesis.doc"; nothing was changed`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			parent := t.TempDir()
			ok(t, tt.make(filepath.Join(parent, "data")))
			before := content(t, parent)
			what, hint, exit := refused(t, 0, filepath.Join(parent, "data"))
			if exit != tt.exit || !strings.Contains(what, tt.what) || !strings.Contains(hint, "rmq up --data DIR") {
				t.Errorf("exit %d\n%s\n%s", exit, what, hint)
			}
			if after := content(t, parent); !maps.Equal(after, before) {
				t.Errorf("it has changed: %v", slices.Sorted(maps.Keys(after)))
			}
		})
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Parts of two data directories in one: whichever part is the other's, none is written to, and none
// is cut to fit.
func TestDirectoryOfTwo(t *testing.T) {
	one, other := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "data")
	aged(t, one)
	aged(t, other)
	for _, part := range []string{"wal", "checkpoints.db", "VERSION"} {
		t.Run(part, func(t *testing.T) {
			dir := copied(t, one)
			replace(t, dir, other, part)
			before := content(t, dir)
			what, hint, exit := refused(t, 0, dir)
			if exit != env.Conflict || !strings.Contains(what, "files of two data directories are mixed") || !strings.Contains(hint, "rmq doctor "+dir+" ") {
				t.Errorf("exit %d\n%s\n%s", exit, what, hint)
			}
			if after := content(t, dir); !maps.Equal(after, before) {
				t.Error("it has changed")
			}
		})
	}
	// Segments are a stream's each: those streams are fenced, and everything else goes on.
	t.Run("segments", func(t *testing.T) {
		dir := copied(t, one)
		replace(t, dir, other, "segments")
		before := content(t, filepath.Join(dir, "segments"))
		b := begin(t, dir)
		_, told, _ := b.run("status", "-o", "table")
		for _, stream := range []string{"orders", "audit"} {
			if !strings.Contains(told, stream+"/0 is damaged: ") || !strings.Contains(told, "it is of another log, or of another data directory") {
				t.Errorf("status does not tell of %s:\n%s", stream, told)
			}
		}
		if said, exit := b.end(); exit != env.OK || strings.Count(said, "level=ERROR msg=fenced") != 2 {
			t.Errorf("exit %d\n%s", exit, said)
		}
		if after := content(t, filepath.Join(dir, "segments")); !maps.Equal(after, before) {
			t.Error("it has changed")
		}
	})
}

// replace puts a part of one directory into another.
func replace(t *testing.T, dir, from, part string) {
	t.Helper()
	ok(t, os.RemoveAll(filepath.Join(dir, part)))
	if info, err := os.Stat(filepath.Join(from, part)); err == nil && info.IsDir() {
		ok(t, os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join(from, part))))
		return
	}
	ok(t, copyFile(filepath.Join(dir, part), filepath.Join(from, part)))
}

// A file that was removed by hand, one by one: what is lost with it is said, and what is left stays.
func TestDirectoryThatLacksAFile(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "data")
	aged(t, whole)
	all := slices.Sorted(maps.Keys(content(t, whole)))
	logs := slices.DeleteFunc(slices.Clone(all), func(path string) bool { return !strings.HasPrefix(path, "wal/") })
	segments := slices.DeleteFunc(slices.Clone(all), func(path string) bool { return !strings.HasPrefix(path, "segments/") })
	if len(logs) == 0 || len(segments) < 6 {
		t.Fatalf("the directory holds %q", all)
	}
	tests := []struct {
		name   string
		remove []string
		what   string
	}{
		{"VERSION", []string{"VERSION"}, "holds data, but no VERSION file"},
		{"checkpoints.db", []string{"checkpoints.db"}, "checkpoints.db"},
		{"the log", logs, "holds no log files"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copied(t, whole)
			for _, path := range tt.remove {
				ok(t, os.Remove(filepath.Join(dir, path)))
			}
			before := content(t, dir)
			what, hint, exit := refused(t, 0, dir)
			if exit != env.Failed || !strings.Contains(what, tt.what) || !strings.Contains(hint, "rmq doctor "+dir+" ") {
				t.Errorf("exit %d\n%s\n%s", exit, what, hint)
			}
			after := content(t, dir)
			for _, log := range logs { // an open that comes that far leaves a mark behind the last record
				if tt.name == "checkpoints.db" && after[log] != [sha256.Size]byte{} {
					after[log] = before[log]
				}
			}
			if !maps.Equal(after, before) {
				t.Error("it has changed")
			}
		})
	}
	for _, path := range []string{segments[0], segments[len(segments)/4], segments[len(segments)-1]} {
		t.Run(path, func(t *testing.T) {
			dir := copied(t, whole)
			ok(t, os.Remove(filepath.Join(dir, path)))
			before := content(t, filepath.Join(dir, "segments"))
			b := begin(t, dir)
			_, told, _ := b.run("status", "-o", "table")
			if n := strings.Count(told, " is damaged: "); n != 1 {
				t.Errorf("status tells of %d damages:\n%s", n, told)
			}
			if said, exit := b.end(); exit != env.OK || strings.Count(said, "level=ERROR msg=fenced") != 1 {
				t.Errorf("exit %d\n%s", exit, said)
			}
			if after := content(t, filepath.Join(dir, "segments")); !maps.Equal(after, before) {
				t.Error("it has changed")
			}
		})
	}
}

// A directory that is removed, or moved, beneath a broker: whoever writes is told so, the broker says
// it once, and makes nothing in its place.
func TestDirectoryThatVanishes(t *testing.T) {
	for name, vanish := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"moved":   func(dir string) error { return os.Rename(dir, dir+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "data")
			b := begin(t, dir)
			for _, args := range [][]string{{"topic", "create", "orders"}, {"produce", "kafka:orders", "1"}, {"produce", "mqtt:a/b", "1", "--qos", "1"}} {
				if _, errs, exit := b.run(args...); exit != env.OK {
					t.Fatalf("%q: exit %d %s", args, exit, errs)
				}
			}
			ok(t, vanish(dir))
			left, err := os.ReadDir(parent)
			ok(t, err)
			for _, args := range [][]string{{"produce", "mqtt:a/b", "2", "--qos", "1", "--timeout", "5s"}, {"topic", "create", "audit"}, {"queue", "create", "jobs"}} {
				if out, errs, exit := b.run(args...); exit == env.OK || !strings.HasPrefix(errs, "rmq: ") {
					t.Errorf("%q: exit %d %s%s", args, exit, out, errs)
				}
			}
			said, exit := b.end()
			if exit != env.Failed || strings.Count(said, "level=ERROR") != 1 || !strings.Contains(said, "removed, or moved away, while it was open") {
				t.Errorf("exit %d\n%s", exit, said)
			}
			if !strings.Contains(said, "\nhint: nothing was made in its place; see what is left: rmq doctor "+dir+" ") {
				t.Errorf("no hint in\n%s", said)
			}
			if now, err := os.ReadDir(parent); err != nil || len(now) != len(left) {
				t.Errorf("there is %v, and was %v; %v", now, left, err)
			}
		})
	}
}
