package matrix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/meta"
	"github.com/robustmq/rmq/broker/vfs"
)

// RotReport is what the corruption matrix tried and found.
type RotReport struct {
	Points   map[string]int // by kind of file and of damage
	Outcomes map[Outcome]int
	Promises int
	// Silent are the points at which something acknowledged was lost, or something wrong was
	// read, and nobody was told.
	Silent []string
	// Unnamed are refusals that do not say which file, or that came out otherwise than in an orderly
	// way: another error, something deleted.
	Unnamed []string
}

// Outcome is what became of one damage.
type Outcome string

const (
	Whole   Outcome = "nothing lost"     // recovered, or of no consequence
	Fenced  Outcome = "partition fenced" // or some
	Shard   Outcome = "shard fenced"     // or some
	Refused Outcome = "the broker refuses the directory"
	Beyond  Outcome = "lost, as no format could tell" // see known
	Bad     Outcome = "bad"
)

func (r *RotReport) String() string {
	points := 0
	for _, n := range r.Points {
		points += n
	}
	return fmt.Sprintf("%d points %v: %v; %d promises checked, %d silent, %d untold", points, r.Points, r.Outcomes, r.Promises, len(r.Silent), len(r.Unnamed))
}

// RotOptions bound a run of the corruption matrix.
type RotOptions struct {
	// Dir is a directory of the machine for the checkpoints: bbolt goes past package vfs.
	Dir string
	// Killed has the damaged directory be one that a killed process left.
	Killed bool
	// Positions is how many bytes are damaged in each file, one at a time, headers aside.
	Positions int
	// Only chooses among the damages; nil: all.
	Only func(kind, what string) bool
	// Lenient stands between the engine and the damaged disk: a bug.
	Lenient func(vfs.FS) vfs.FS
}

// Rot runs the script once, and then damages each file of what it has left, in every way and at
// a number of positions.
func Rot(o RotOptions) (RotReport, error) {
	r := &rot{
		opt: o, model: newModel(), mem: vfs.NewMem(),
		report: RotReport{Points: make(map[string]int), Outcomes: make(map[Outcome]int)},
	}
	if err := r.script(); err != nil {
		return r.report, err
	}
	var all []harm
	for _, f := range slices.Sorted(maps.Keys(r.files)) {
		for _, h := range r.harms(f) {
			if o.Only == nil || o.Only(kind(f), h.what) {
				all = append(all, h)
			}
		}
	}
	var wg sync.WaitGroup
	next := make(chan harm)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for h := range next {
				r.try(h)
			}
		})
	}
	for _, h := range all {
		next <- h
	}
	close(next)
	wg.Wait()
	return r.report, nil
}

type rot struct {
	opt   RotOptions
	model *model
	mem   *vfs.Mem
	files map[string][]byte // all that the script left, by path; checkpoints too
	older map[string][]byte // as they were in its middle

	mu     sync.Mutex
	report RotReport
	tries  int
}

// checkpoints is the path of the checkpoint file; its bytes lie in files, and are put into a file
// of the machine for each opening.
var checkpoints = filepath.Join(dataDir, "checkpoints.db")

// script runs the script to its end: an orderly one, or a kill after the kernel was closed, when
// its checkpoints are at rest and the log does not say that it was let go of.
func (r *rot) script() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	db := filepath.Join(r.opt.Dir, "script.db")
	open := func(string) (filelog.CheckpointStore, error) { return meta.Open(db) }
	s := &script{model: r.model, enough: func() bool { return false }}
	for life := range 2 {
		n, err := openNode(ctx, nodeOptions{fs: r.mem, checkpoints: open})
		if err != nil {
			return err
		}
		s.node = n
		err = s.run(ctx, 13*life, 13)
		s.under.Wait()
		r.model.crashed(false) // settlements have no answers
		killed := r.opt.Killed && life == 1
		left := r.mem
		if killed {
			err = errors.Join(err, n.Kernel.Close(ctx))
			left = r.mem.Clone()
		} else {
			err = errors.Join(err, n.close(ctx))
		}
		if err != nil {
			return err
		}
		r.older, r.files = r.files, make(map[string][]byte)
		if err := r.collect(left, dataDir); err != nil {
			return err
		}
		if r.files[checkpoints], err = os.ReadFile(db); err != nil {
			return err
		}
		if killed {
			if err := n.close(ctx); err != nil {
				return err
			}
			r.mem = left
		}
	}
	return nil
}

func (r *rot) collect(fs vfs.FS, dir string) error {
	entries, err := fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name)
		if e.Dir {
			err = r.collect(fs, path)
		} else {
			r.files[path], err = vfs.ReadFile(fs, path, 1<<30)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// harm is one damage to one file.
type harm struct {
	path string
	what string
	at   int64
	with []byte // what the file is then; nil: it is gone
	// other is the file that has got this one's content.
	other     string
	otherWith []byte
}

func (h *harm) String() string { return fmt.Sprintf("%s at %d of %s", h.what, h.at, h.path) }

// kind is what a file is for.
func kind(path string) string {
	switch {
	case path == checkpoints:
		return "checkpoints"
	case strings.HasSuffix(path, ".spare"):
		return "spare"
	}
	if ext := filepath.Ext(path); ext != "" {
		return ext[1:]
	}
	return filepath.Base(path)
}

const sectorLen = 512

// harms makes all damages to a file.
func (r *rot) harms(path string) []harm {
	b := r.files[path]
	var hs []harm
	add := func(what string, at int, with []byte) {
		if with == nil || !bytes.Equal(with, b) {
			hs = append(hs, harm{path: path, what: what, at: int64(at), with: with})
		}
	}
	rnd := rand.New(rand.NewPCG(uint64(len(b)), 7))
	// Headers whole, the rest where something is; the middle of each stretch.
	var at []int
	for i := 0; i < min(len(b), 72); i += max(1, 72/r.opt.Positions) {
		at = append(at, i)
	}
	step := max(1, len(b)/r.opt.Positions)
	for i := 72; i < len(b); i += step {
		if p := i + rnd.IntN(step); p < len(b) {
			at = append(at, p)
		}
	}
	for _, p := range at {
		c := bytes.Clone(b)
		c[p] ^= 1 << rnd.IntN(8)
		add("flip", p, c)
	}
	for p := 0; p < len(b); p += max(sectorLen, step/sectorLen*sectorLen) {
		c := bytes.Clone(b)
		clear(c[p:min(p+sectorLen, len(c))])
		add("zero", p, c)
	}
	for _, p := range []int{0, 1, len(b) / 2, len(b) - 1, len(b) / sectorLen * sectorLen, len(b) - len(b)/4} {
		if p >= 0 && p < len(b) {
			add("cut", p, bytes.Clone(b[:p]))
		}
	}
	garbage := make([]byte, len(b))
	for i := range garbage {
		garbage[i] = byte(rnd.Uint32())
	}
	add("garbage", 0, garbage)
	add("remove", 0, nil)
	if old, ok := r.older[path]; ok {
		add("older", 0, bytes.Clone(old))
	}
	// The next file of its kind.
	names := slices.Sorted(maps.Keys(r.files))
	for _, other := range names[slices.Index(names, path)+1:] {
		if kind(other) == kind(path) && !bytes.Equal(r.files[other], b) {
			hs = append(hs, harm{path: path, what: "swap", with: r.files[other], other: other, otherWith: b})
			break
		}
	}
	return hs
}

// try does one damage and opens what is left.
func (r *rot) try(h harm) {
	r.mu.Lock()
	r.tries++
	db := filepath.Join(r.opt.Dir, fmt.Sprintf("%d.db", r.tries))
	r.mu.Unlock()
	disk := r.mem.Clone()
	defer func() { _ = os.Remove(db) }()
	v, outcome, told := r.open(h, disk, db)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Points[kind(h.path)+" "+h.what]++
	r.report.Promises += v.promises
	switch {
	case outcome != Bad && v.lost+v.wrong > 0 && r.known(&h):
		outcome = Beyond
	case v.lost+v.wrong > 0:
		outcome = Bad
		r.report.Silent = append(r.report.Silent, fmt.Sprintf("%v: %v", &h, v.breaches))
	case told != "":
		outcome = Bad
		r.report.Unnamed = append(r.report.Unnamed, fmt.Sprintf("%v: %s", &h, told))
	}
	r.report.Outcomes[outcome]++
}

// known are damages that no format could tell from a state that a crash may leave: the last file
// of the log rolled back as a whole, or gone; or what stands at its very end zeroed, together
// with the mark behind it. And segments do not say whose they are. docs/format/directory.md
// says so.
func (r *rot) known(h *harm) bool {
	switch kind(h.path) {
	case "seg":
		return h.what == "swap"
	case "wal":
	default:
		return false
	}
	for path := range r.files {
		if kind(path) == "wal" && path > h.path {
			return false
		}
	}
	return h.what == "older" || h.what == "remove" || h.what == "zero"
}

// open opens a damaged disk. told is what is wrong with how that was answered.
func (r *rot) open(h harm, disk *vfs.Mem, db string) (v verdict, outcome Outcome, told string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	before := maps.Clone(r.files)
	change := func(path string, with []byte) {
		before[path] = with
		if with == nil {
			delete(before, path)
		}
		if path == checkpoints {
			return
		}
		if err := replace(disk, path, with); err != nil {
			told = err.Error()
		}
	}
	change(h.path, h.with)
	if h.other != "" {
		change(h.other, h.otherWith)
	}
	if b, ok := before[checkpoints]; ok {
		if err := os.WriteFile(db, b, 0o600); err != nil {
			return v, Bad, err.Error()
		}
	}
	var fs vfs.FS = disk
	if r.opt.Lenient != nil {
		fs = r.opt.Lenient(disk)
	}
	n, err := openNode(ctx, nodeOptions{fs: fs, checkpoints: func(string) (filelog.CheckpointStore, error) { return meta.Open(db) }})
	if err != nil {
		switch {
		case !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, storage.ErrVersion) && !errors.Is(err, storage.ErrMixed) && !errors.Is(err, filelog.ErrForeign):
			told = "another error: " + err.Error()
		case !names(err.Error(), &h):
			told = "the file is not named: " + err.Error()
		default:
			told = untouched(before, disk, &h)
		}
		return v, Refused, told
	}
	s, err := look(ctx, n, r.model, r.model.moment(), "rot")
	outcome = Whole
	for _, d := range n.Damages() {
		if outcome != Shard {
			outcome = Fenced
		}
		if d.Address == "" {
			outcome = Shard
		}
		if !names(d.Err.Error(), &h) {
			told = "the file is not named: " + d.Err.Error()
		} else if gone := untouched(before, disk, &h); gone != "" && h.what != "swap" {
			told = gone
		}
	}
	if err = errors.Join(err, n.Err()); err != nil {
		told = "it opens, and cannot be read: " + err.Error()
	}
	if s != nil {
		v.hold(s, r.model, r.model.moment())
	}
	if err := n.close(ctx); err != nil {
		told = "it does not close: " + err.Error()
	}
	return v, outcome, told
}

// names tells whether an error says which file is damaged: by its name, or, of one that is
// missing, by that of its directory or neighbour.
func names(err string, h *harm) bool {
	for _, path := range []string{h.path, h.other} {
		if path != "" && (strings.Contains(err, strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))) ||
			strings.Contains(err, strings.TrimPrefix(filepath.Dir(path), dataDir+"/segments/"))) {
			return true
		}
	}
	return h.path == checkpoints && (strings.Contains(err, "checkpoint") || strings.Contains(err, ".db")) ||
		(h.what == "remove" || h.what == "older" || h.what == "cut") && (strings.Contains(err, "missing") || strings.Contains(err, filepath.Dir(h.path)) || strings.Contains(err, "the log "))
}

// untouched tells which of the damaged files is gone, or other than it was. An index is
// dispensable.
func untouched(before map[string][]byte, disk *vfs.Mem, h *harm) string {
	for _, path := range []string{h.path, h.other} {
		want, there := before[path]
		if !there || path == checkpoints || kind(path) == "idx" {
			continue
		}
		if b, err := vfs.ReadFile(disk, path, 1<<30); err != nil || !goesOn(b, want) {
			return fmt.Sprintf("%s was changed, or is gone: %v", path, err)
		}
	}
	return ""
}

// goesOn tells whether a file is what it was, perhaps written on: with more behind it, and, of a
// segment, with another mark in its header.
func goesOn(now, before []byte) bool {
	const header = 64
	return len(now) >= len(before) && (len(before) <= header || bytes.Equal(now[header:len(before)], before[header:]))
}

// replace gives a file another content, durably.
func replace(disk *vfs.Mem, path string, with []byte) error {
	if err := disk.Remove(path); err != nil {
		return err
	}
	if with != nil {
		f, err := disk.Create(path)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(with, 0); err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return disk.SyncDir(filepath.Dir(path))
}
