package meta

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/storage"
)

var damages = flag.Int("damages", 400, "damaged files that are opened")

// stuck is how long one file may take. It is far beyond what any takes: behind it, something
// goes round in circles.
const stuck = time.Minute

// A file that is cut, garbled, or half of an older one is refused, or has what was saved; in
// either case soon, and it can be closed.
func TestDamagedFileNeverHangs(t *testing.T) {
	path, want := stored(t)
	sound, err := os.ReadFile(path)
	ok(t, err)
	old, err := os.ReadFile(older(t))
	ok(t, err)
	if branchElements(sound) == nil {
		t.Fatal("no page of the file leads to another")
	}
	refused := 0
	for seed := range uint64(*damages) {
		how, file := damagedFile(rand.New(rand.NewPCG(seed, 1)), sound, old)
		path := filepath.Join(t.TempDir(), "checkpoints.db")
		ok(t, os.WriteFile(path, file, 0o600))
		done := make(chan error, 1)
		go func() { done <- useAll(path, want) }()
		select {
		case err := <-done:
			if err != nil {
				refused++
			}
		case <-time.After(stuck):
			panic(fmt.Sprintf("seed %d: %s: no end", seed, how)) // it would eat all memory
		}
	}
	if refused < *damages/4 {
		t.Errorf("%d of %d damaged files were refused: little was damaged", refused, *damages)
	}
}

// useAll does to a file what a broker does: it opens it, reads all, saves, and closes it.
func useAll(path string, want map[storage.ShardID]state) error {
	s, err := Open(path)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(want)) {
		if _, _, lerr := contents(s, id); lerr != nil {
			err = lerr // the shard is fenced, and does not save
			continue
		}
		if serr := s.Save(id, storage.CheckpointMeta{Index: 100, Term: 4}, false, state{"key 00007": "new", "zz": "new"}.seq()); serr != nil {
			err = serr
		}
	}
	if cerr := s.Close(); cerr != nil {
		err = cerr
	}
	return err
}

// older is a file of the same shards with other checkpoints.
func older(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "checkpoints.db")
	s, err := Open(path)
	ok(t, err)
	for id := range storage.ShardID(8) {
		ok(t, s.Save(id, storage.CheckpointMeta{Index: 1, Term: 1}, true, fill(0, 500, "old").seq()))
	}
	ok(t, s.Close())
	return path
}

// branchElements are the positions in a file of what leads from page to page.
func branchElements(file []byte) (at []int) {
	page := os.Getpagesize()
	for p := 0; p+page <= len(file); p += page {
		if binary.LittleEndian.Uint16(file[p+8:]) == flagBranch {
			for i := range int(binary.LittleEndian.Uint16(file[p+10:])) {
				at = append(at, p+pageHeaderLen+i*branchElemLen+8)
			}
		}
	}
	return at
}

func damagedFile(rnd *rand.Rand, sound, old []byte) (how string, file []byte) {
	file = bytes.Clone(sound)
	le := binary.LittleEndian
	page := os.Getpagesize()
	pages := len(file) / page
	some := func() int { return rnd.IntN(pages) }
	switch rnd.IntN(8) {
	case 0:
		n := rnd.IntN(len(file))
		return fmt.Sprintf("cut to %d bytes", n), file[:n]
	case 1:
		n := 1 + rnd.IntN(pages)
		return fmt.Sprintf("cut to %d pages", n), file[:n*page]
	case 2:
		from := rnd.IntN(len(file)/sector) * sector
		n := min(sector*(1+rnd.IntN(16)), len(file)-from)
		for i := range n {
			file[from+i] = byte(rnd.Uint32())
		}
		return fmt.Sprintf("%d bytes of noise at %d", n, from), file
	case 3:
		from := rnd.IntN(len(file)/sector) * sector
		clear(file[from:min(len(file), from+sector*(1+rnd.IntN(64)))])
		return fmt.Sprintf("zeros from %d on", from), file
	case 4: // each sector of one or the other
		keep := rnd.Float64()
		for at := 0; at+sector <= min(len(file), len(old)); at += sector {
			if rnd.Float64() > keep {
				copy(file[at:at+sector], old[at:])
			}
		}
		return "mixed with another", file
	case 5: // a page that says which it is, and is another
		from, to := some(), some()
		copy(file[to*page:(to+1)*page], file[from*page:])
		le.PutUint64(file[to*page:], uint64(to))
		return fmt.Sprintf("page %d in place of %d", from, to), file
	case 6: // a page leads elsewhere, back to itself perhaps
		at := branchElements(file)
		for range 1 + rnd.IntN(3) {
			p := at[rnd.IntN(len(at))]
			to := some()
			if rnd.IntN(2) == 0 {
				to = p / page
			}
			le.PutUint64(file[p:], uint64(to))
		}
		return "pages lead elsewhere", file
	default:
		for range 1 + rnd.IntN(8) {
			p := some() * page
			switch i := p + rnd.IntN(64); rnd.IntN(2) {
			case 0:
				file[i] = byte(rnd.Uint32())
			case 1:
				le.PutUint32(file[p+rnd.IntN(4)*4:], rnd.Uint32())
			}
		}
		return "heads of pages", file
	}
}
