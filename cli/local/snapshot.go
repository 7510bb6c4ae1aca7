package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/storage/snapshot"
	"github.com/robustmq/rmq/cli/env"
)

// NewSnapshot returns `rmq snapshot`.
func NewSnapshot(e *env.Env) *cobra.Command {
	cmd := env.Noun("snapshot", "All that a broker holds at one moment, in a file: to begin another broker with, and to compare",
		newSnapshotSave(e), newSnapshotLoad(e), newSnapshotList(e), newSnapshotShow(e), newSnapshotDiff(e), newSnapshotDelete(e))
	cmd.Long = "All that a broker holds at one moment, in a file: to begin another broker with (rmq up --snapshot NAME), to put one\nback that runs in memory (rmq snapshot load NAME), and to compare.\n\n" +
		"A snapshot has what outlives a restart: topics and their records, queues, sessions with what waits for them, retained\n" +
		"messages, groups, users and settings; nothing of what has durability memory, or dies with its connection. The hashes\n" +
		"of passwords are in it. One with a name is kept in the user's data directory; a path, or what ends in " + snapshotExt + ", is a file."
	return cmd
}

const snapshotExt = ".rmqsnap"

// snapshotDir is where snapshots with a name are.
func snapshotDir(e *env.Env) string {
	return filepath.Join(filepath.Dir(e.DataDir(env.DefaultName)), "snapshots")
}

// snapshotPath is the file that a name or path means.
func snapshotPath(e *env.Env, name string) (string, error) {
	if ext := filepath.Ext(name); ext == snapshotExt || ext == ".rmq" || strings.ContainsRune(name, filepath.Separator) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(e.Dir, name)
		}
		return name, nil
	}
	if err := env.CheckName(name); err != nil {
		return "", env.Failf(env.Usage, "%q is neither a name for a snapshot (letters, digits, - _ and .) nor a file "+snapshotExt, name)
	}
	return filepath.Join(snapshotDir(e), name+snapshotExt), nil
}

// snapshotted is one snapshot, as lists have it.
type snapshotted struct {
	Name string `json:"name"`
	Path string `json:"path"`
	ID   string `json:"id"`
	snapshot.About
	Bytes int64    `json:"bytes"`
	Notes []string `json:"notes,omitempty"`

	text map[string]string // of the notes
}

// readSnapshot reads a snapshot to its end, which tells whether it is whole.
func readSnapshot(name, path string) (s snapshotted, err error) {
	f, err := os.Open(path)
	if err != nil {
		return s, unreadable(err, name)
	}
	c, err := snapshot.Check(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return s, unreadable(err, name)
	}
	s = snapshotted{Name: name, Path: path, ID: c.ID.String(), About: c.About, Bytes: c.Bytes, text: map[string]string{}}
	for i := range c.Notes {
		s.text[c.Notes[i].Name] = string(c.Notes[i].Content)
		s.Notes = append(s.Notes, c.Notes[i].Name)
	}
	return s, nil
}

// unreadable says what to do about a snapshot that cannot be used.
func unreadable(err error, name string) error {
	f := &env.Failure{Err: err, What: fmt.Sprintf("snapshot %s: %v", name, err)}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Exit, f.What = env.NotFound, "there is no snapshot "+name
		f.Hint = "see those there are: rmq snapshot list   or take one: rmq snapshot save " + env.Quote(name)
	case errors.Is(err, snapshot.ErrVersion):
		f.Exit, f.Hint = env.Conflict, "use the release that wrote it, or a newer one"
	case errors.Is(err, snapshot.ErrCorrupt):
		f.Exit, f.Hint = env.Failed, "nothing can be begun with it; take another: rmq snapshot save NAME"
	default:
		return err
	}
	return f
}

func snapshotView(s snapshotted) env.View {
	fields := []env.Field{
		{Name: "name", Value: s.Name}, {Name: "path", Value: s.Path}, {Name: "id", Value: s.ID}, {Name: "taken", Value: s.Taken}, {Name: "size", Value: env.Bytes(s.Bytes)},
		{Name: "topics", Value: s.Streams}, {Name: "queues", Value: s.Queues}, {Name: "sessions", Value: s.Sessions},
	}
	return env.View{Schema: "rmq.snapshot/1", Data: s, Fields: fields, Warnings: lostWarning(s.About)}
}

// lostWarning says what is named in a snapshot and not in it.
func lostWarning(a snapshot.About) []string {
	if a.Lost == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d topics and queues have durability memory: of those there is no message in it", a.Lost)}
}

func newSnapshotSave(e *env.Env) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "save NAME",
		Short: "Take a snapshot of a running broker",
		Long: "Take a snapshot of a running broker, here or elsewhere (--url). Publishes wait for milliseconds, connections stay.\n" +
			"Of a cluster none can be taken: its other nodes go on meanwhile.\n\n" +
			"NAME is a name, or a file that ends in " + snapshotExt + "; - writes it to standard output.",
		Example: "  rmq snapshot save before\n  rmq snapshot save ./orders" + snapshotExt + " --url http://10.0.0.7:15672",
		Args:    env.Exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := snapshotPath(e, args[0])
			if err != nil && args[0] != "-" {
				return err
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			if args[0] == "-" {
				return c.Snapshot(cmd.Context(), e.Out)
			}
			if _, err := os.Stat(path); err == nil && !force {
				f := env.Failf(env.Conflict, "there is a snapshot %s already", args[0])
				f.Hint = "replace it: rmq snapshot save " + env.Quote(args[0]) + " --force"
				return f
			}
			if err := writeWhole(path, func(w io.Writer) error { return c.Snapshot(cmd.Context(), w) }, func(tmp string) error {
				_, err := readSnapshot(args[0], tmp) // what came over a network may be cut short
				return err
			}); err != nil {
				return err
			}
			s, err := readSnapshot(args[0], path)
			if err != nil {
				return err
			}
			if e.Output == "" {
				for _, w := range lostWarning(s.About) {
					e.Say("warning: %s", w)
				}
				e.Say("saved %s: %d topics, %d queues, %d sessions, %s; begin with it: rmq up --snapshot %s", path, s.Streams, s.Queues, s.Sessions, env.Bytes(s.Bytes), env.Quote(args[0]))
				return nil
			}
			return e.Print(snapshotView(s))
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace what there is")
	e.BrokerFlags(cmd.Flags())
	return cmd
}

// loadWait bounds how long a broker may take to begin anew, and loadLook is how long between two looks whether it has.
const (
	loadWait = time.Minute
	loadLook = 50 * time.Millisecond
)

func newSnapshotLoad(e *env.Env) *cobra.Command {
	var change env.Change
	cmd := &cobra.Command{
		Use:   "load NAME",
		Short: "Have a running broker hold what a snapshot does, and nothing else",
		Long: "Have a running broker hold what a snapshot does, and nothing else. It ends its connections, begins anew in the same\n" +
			"process, and has the same ports: clients connect again, as to a broker that was restarted. What it held is gone, unless\n" +
			"it was saved before. A virtual clock shows when the snapshot was taken.\n\n" +
			"The broker is one that is alone and keeps everything in memory: rmq up --memory, rmq test. One with a data directory is\n" +
			"begun with a snapshot in another: rmq up --data DIR --snapshot NAME.",
		Example:           "  rmq snapshot load before\n  rmq snapshot load ./orders" + snapshotExt + " --yes",
		Args:              env.Exactly("NAME"),
		ValidArgsFunction: completeSnapshots(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, err := wholeSnapshot(e, args[0])
			if err != nil {
				return err
			}
			c, err := e.PatientAdmin()
			if err != nil {
				return err
			}
			what := fmt.Sprintf("have the broker hold what snapshot %s does, and lose what it holds", args[0])
			if err := e.Confirm(change, what); err != nil {
				return err
			}
			if change.DryRun {
				e.Say("would %s: %d topics, %d queues, %d sessions", what, s.Streams, s.Queues, s.Sessions)
				return e.PrintMachine(env.View{Schema: "rmq.done/1", Data: env.Done{Name: args[0], DryRun: true}})
			}
			f, err := os.Open(s.Path)
			if err != nil {
				return err
			}
			loaded, err := c.Load(ctx, bufio.NewReaderSize(f, 1<<20))
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			if err := begunAnew(ctx, e, loaded.Number); err != nil {
				return err
			}
			for _, w := range lostWarning(s.About) {
				e.Say("warning: %s", w)
			}
			e.Say("loaded %s: %d topics, %d queues, %d sessions; clients connect again to the same ports", args[0], s.Streams, s.Queues, s.Sessions)
			return e.PrintMachine(env.View{Schema: adminapi.SchemaLoaded, Data: loaded})
		},
	}
	change.Flags(cmd.Flags(), true)
	e.BrokerFlags(cmd.Flags())
	return cmd
}

// begunAnew waits until a broker has loaded so many snapshots.
func begunAnew(ctx context.Context, e *env.Env, number int) error {
	limited, cancel := context.WithTimeout(ctx, loadWait)
	defer cancel()
	for {
		c, err := e.Admin()
		if err != nil {
			return err
		}
		st, err := c.Status(limited)
		switch {
		case err == nil && st.Loads >= number && st.LoadFailed != "":
			return env.Failf(env.Failed, "the snapshot was not loaded, and the broker holds what it held: %s", st.LoadFailed)
		case err == nil && st.Loads >= number:
			return nil
		}
		select {
		case <-time.After(loadLook):
		case <-limited.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			f := env.Failf(env.TimedOut, "the broker has not begun anew after %v", loadWait)
			f.Hint = "see how it is: rmq status   and what it says: rmq logs"
			return f
		}
	}
}

// writeWhole writes a file that is there as a whole, and only if check likes it, or not at all. It may hold
// secrets: nobody else reads it.
func writeWhole(path string, write func(io.Writer) error, check func(tmp string) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = check(f.Name())
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it is of no use, and the error is told
	}
	return err
}

func newSnapshotList(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the snapshots that have a name",
		Example: "  rmq snapshot list\n  rmq snapshot list -o json",
		Args:    env.Exactly(),
		RunE: func(*cobra.Command, []string) error {
			v := env.View{Schema: "rmq.snapshots/1", Empty: "no snapshots; take one: rmq snapshot save NAME"}
			all := []snapshotted{}
			t := env.Table{Head: []string{"NAME", "ID", "TAKEN", "SIZE", "TOPICS", "QUEUES", "SESSIONS"}}
			for _, name := range snapshotNames(e) {
				s, err := readSnapshot(name, filepath.Join(snapshotDir(e), name+snapshotExt))
				if err != nil {
					v.Warnings = append(v.Warnings, env.Explain(err).What)
					continue
				}
				all = append(all, s)
				t.Rows = append(t.Rows, []any{s.Name, s.ID, env.Ago{At: s.Taken, Now: e.Now()}, env.Bytes(s.Bytes), s.Streams, s.Queues, s.Sessions})
			}
			v.Data, v.Tables = all, []env.Table{t}
			return e.Print(v)
		},
	}
}

func newSnapshotShow(e *env.Env) *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show what a snapshot is of, and the notes in it",
		Long: "Show what a snapshot is of, and the notes in it: those of a bundle, which a test leaves that has failed, are its\n" +
			"timeline, what its broker said, and what that held. --note prints one of them.",
		Example:           "  rmq snapshot show before\n  rmq snapshot show ./TestOrders-1.rmq --note timeline",
		Args:              env.Exactly("NAME"),
		ValidArgsFunction: completeSnapshots(e),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := snapshotPath(e, args[0])
			if err != nil {
				return err
			}
			s, err := readSnapshot(args[0], path)
			if err != nil {
				return err
			}
			if note == "" {
				v := snapshotView(s)
				if len(s.Notes) > 0 {
					v.Fields = append(v.Fields, env.Field{Name: "notes", Value: strings.Join(s.Notes, " ")})
				}
				return e.Print(v)
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }() // read only
			c, err := snapshot.Check(f)
			if err != nil {
				return unreadable(err, args[0])
			}
			text, ok := c.Note(note)
			switch {
			case !ok && len(s.Notes) == 0:
				return env.Failf(env.NotFound, "%s has no notes", args[0])
			case !ok:
				f := env.Failf(env.NotFound, "%s has no note %s", args[0], note)
				f.Hint = "it has " + strings.Join(s.Notes, ", ")
				return f
			case e.Output == env.FormatJSON || e.Output == env.FormatYAML:
				return e.Print(env.View{Schema: "rmq.snapshot-note/1", Data: struct {
					Name string `json:"name"`
					Text string `json:"text"`
				}{note, string(text)}})
			}
			_, err = e.Out.Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "print this one")
	return cmd
}

// snapshotNames are those of the user's data directory, in order.
func snapshotNames(e *env.Env) (names []string) {
	entries, _ := os.ReadDir(snapshotDir(e)) // none, where there is no directory
	for _, f := range entries {
		if name, ok := strings.CutSuffix(f.Name(), snapshotExt); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func completeSnapshots(e *env.Env) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return slices.DeleteFunc(snapshotNames(e), func(n string) bool { return !strings.HasPrefix(n, typed) }), cobra.ShellCompDirectiveDefault
	}
}

func newSnapshotDelete(e *env.Env) *cobra.Command {
	var change env.Change
	var ifExists bool
	cmd := &cobra.Command{
		Use:               "delete NAME",
		Short:             "Delete a snapshot",
		Example:           "  rmq snapshot delete before --if-exists",
		Args:              env.Exactly("NAME"),
		ValidArgsFunction: completeSnapshots(e),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := snapshotPath(e, args[0])
			if err != nil {
				return err
			}
			done := env.Done{Name: args[0], DryRun: change.DryRun}
			switch _, err := os.Stat(path); {
			case errors.Is(err, fs.ErrNotExist) && ifExists:
				return e.PrintMachine(env.View{Schema: "rmq.done/1", Data: done})
			case err != nil:
				return unreadable(err, args[0])
			}
			if err := e.Confirm(change, "delete snapshot "+args[0]); err != nil {
				return err
			}
			if !change.DryRun {
				if err := os.Remove(path); err != nil {
					return err
				}
				done.Done = true
			} else {
				e.Say("would delete %s", path)
			}
			return e.PrintMachine(env.View{Schema: "rmq.done/1", Data: done})
		},
	}
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "none of that name is no failure")
	change.Flags(cmd.Flags(), true)
	return cmd
}

// difference is one thing that two snapshots do not have alike.
type difference struct {
	What string `json:"what"` // topic, queue, …
	Name string `json:"name"`
	A    string `json:"a"` // "": it is not there
	B    string `json:"b"`
}

func newSnapshotDiff(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "diff A B",
		Short: "Tell what two snapshots do not have alike",
		Long: "Tell what two snapshots do not have alike: topics with their offsets, queues with how much waits, exchanges and\n" +
			"bindings, sessions, retained messages, groups with their offsets, users, rules and settings. What is secret is\n" +
			"compared and not shown.\n\nThe exit code is 9 when they differ.",
		Example:           "  rmq snapshot diff before after\n  rmq snapshot diff ./before" + snapshotExt + " ./after" + snapshotExt + " -o json",
		Args:              env.Exactly("A", "B"),
		ValidArgsFunction: completeSnapshots(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			var inventories [2]map[thing]held
			var abouts [2]snapshotted
			for i, name := range args {
				path, err := snapshotPath(e, name)
				if err != nil {
					return err
				}
				if abouts[i], err = readSnapshot(name, path); err != nil {
					return err
				}
				if inventories[i], err = inventoryOf(cmd.Context(), path); err != nil {
					return err
				}
			}
			diffs := compare(inventories[0], inventories[1])
			t := env.Table{Head: []string{"WHAT", "NAME", "A", "B"}}
			for _, d := range diffs {
				t.Rows = append(t.Rows, []any{d.What, d.Name, orNone(d.A), orNone(d.B)})
			}
			err := e.Print(env.View{
				Schema: "rmq.snapshot-diff/1", Data: struct {
					A           snapshotted  `json:"a"`
					B           snapshotted  `json:"b"`
					Differences []difference `json:"differences"`
				}{abouts[0], abouts[1], diffs},
				Tables: []env.Table{t}, Empty: "they hold the same",
			})
			if err == nil && len(diffs) > 0 {
				err = env.Failf(env.Negative, "they differ (%d)", len(diffs))
			}
			return err
		},
	}
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// compare lists what is not alike, by what it is and its name.
func compare(a, b map[thing]held) []difference {
	diffs := []difference{}
	for t, x := range a {
		y, ok := b[t]
		switch {
		case !ok:
			diffs = append(diffs, difference{t.what, t.name, x.text, ""})
		case x.text != y.text:
			diffs = append(diffs, difference{t.what, t.name, x.text, y.text})
		case x.rest != y.rest:
			diffs = append(diffs, difference{t.what, t.name, x.text, y.text + " (differs in what is not shown)"})
		}
	}
	for t, y := range b {
		if _, ok := a[t]; !ok {
			diffs = append(diffs, difference{t.what, t.name, "", y.text})
		}
	}
	slices.SortFunc(diffs, func(a, b difference) int {
		return strings.Compare(a.What+"\x00"+a.Name, b.What+"\x00"+b.Name)
	})
	return diffs
}

// wholeSnapshot reads a snapshot to its end, by its name or path.
func wholeSnapshot(e *env.Env, name string) (s snapshotted, err error) {
	path, err := snapshotPath(e, name)
	if err != nil {
		return s, err
	}
	return readSnapshot(name, path)
}

// inventoryWait bounds how long a snapshot is looked into.
const inventoryWait = time.Minute

func inventoryOf(ctx context.Context, path string) (map[thing]held, error) {
	ctx, cancel := context.WithTimeout(ctx, inventoryWait)
	defer cancel()
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	return inventory(ctx, f)
}
