package meta

import (
	"bytes"
	"encoding/binary"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/robustmq/rmq/broker/storage"
)

var update = flag.Bool("update", false, "write golden files")

// A file of format 2: shard 1 has voters alone, shard 2 every kind of member. Files of format 1 are in
// the golden directories of package filelog.
const goldenMembers = "../../../fixtures/disk/v1-members/checkpoints.db"

var goldenMetas = map[storage.ShardID]storage.CheckpointMeta{
	1: {Index: 20, Term: 1, Members: storage.Members{Voters: []uint64{1, 2, 3}}},
	2: {Index: 21, Term: 2, Members: storage.Members{Voters: []uint64{1, 2, 4}, Outgoing: []uint64{1, 2, 3, 5}, Learners: []uint64{6, 7}, Next: []uint64{3}}},
}

// formatOf is the format that a file says it has.
func formatOf(t *testing.T, x *Inspector) uint32 {
	t.Helper()
	root, _, err := x.bucket(rootBucket)
	ok(t, err)
	e, err := x.find(root, formatKey)
	ok(t, err)
	return binary.LittleEndian.Uint32(e.value)
}

// Files that format 2 wrote are read for ever, and descriptions are written the same. A file whose members
// are voters alone stays one of format 1.
func TestGoldenMembers(t *testing.T) {
	write := func(path string) {
		s, err := Open(path)
		ok(t, err)
		for _, id := range []storage.ShardID{1, 2} {
			ok(t, s.Save(id, goldenMetas[id], true, state{"key": "value"}.seq()))
			if id == 1 {
				x := inspectedFile(t, path)
				if f := formatOf(t, x); f != formatVoters {
					t.Errorf("the file is of format %d without other members than voters", f)
				}
			}
		}
		ok(t, s.Close())
	}
	if *update {
		ok(t, os.MkdirAll(filepath.Dir(goldenMembers), 0o755))
		ok(t, os.RemoveAll(goldenMembers))
		write(goldenMembers)
	}
	fresh, kept := filepath.Join(t.TempDir(), "fresh"), filepath.Join(t.TempDir(), "kept")
	write(fresh)
	b, err := os.ReadFile(goldenMembers)
	ok(t, err)
	ok(t, os.WriteFile(kept, b, 0o600))
	var abouts [2][]byte
	for i, path := range []string{kept, fresh} {
		x := inspectedFile(t, path)
		if f := formatOf(t, x); f != formatMembers {
			t.Errorf("%s is of format %d", path, f)
		}
		all, _, err := x.bucket(shardsBucket, shardName(2))
		ok(t, err)
		e, err := x.find(all, aboutKey)
		ok(t, err)
		abouts[i] = bytes.Clone(e.value)
		list, err := x.Checkpoints()
		ok(t, err)
		if len(list) != 2 || !list[1].Members.Equal(goldenMetas[2].Members) {
			t.Errorf("%s: the inspector sees %+v", path, list)
		}
	}
	if !bytes.Equal(abouts[0], abouts[1]) {
		t.Errorf("the description is written otherwise now\n got %x\nwant %x", abouts[1], abouts[0])
	}
	s, err := Open(kept)
	ok(t, err)
	for id, want := range goldenMetas {
		got, all, err := s.Load(id)
		ok(t, err)
		for k, v := range all {
			if string(k) != "key" || string(v) != "value" {
				t.Errorf("shard %d: %q: %q", id, k, v)
			}
		}
		if got.Index != want.Index || got.Term != want.Term || !got.Members.Equal(want.Members) {
			t.Errorf("shard %d: %+v", id, got)
		}
	}
	ok(t, s.Close())
}

// A description whose counts do not fit its bytes is damaged, whatever its checksum says.
func TestDescriptionCounts(t *testing.T) {
	d := description{CheckpointMeta: goldenMetas[2]}
	whole := d.encode()
	if _, err := decodeDescription(whole); err != nil {
		t.Fatal(err)
	}
	for n := descriptionLen; n < len(whole); n++ {
		if n == descriptionLen+8*len(d.Members.Voters) {
			continue // voters alone: as of format 1, with another count
		}
		b := bytes.Clone(whole[:n])
		seal(b)
		if _, err := decodeDescription(b); err == nil {
			t.Errorf("%d of %d bytes are a description", n, len(whole))
		}
	}
	for _, at := range []int{44, descriptionLen + 8*len(d.Members.Voters), descriptionLen + 8*len(d.Members.Voters) + 8} {
		b := bytes.Clone(whole)
		binary.LittleEndian.PutUint32(b[at:], 1<<30)
		seal(b)
		if _, err := decodeDescription(b); err == nil {
			t.Errorf("2³⁰ members at byte %d", at)
		}
	}
}

// seal gives a description the checksum of what it says.
func seal(b []byte) { binary.LittleEndian.PutUint32(b, crc32.Checksum(b[crcLen:], castagnoli)) }

func inspectedFile(t *testing.T, path string) *Inspector {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	x, err := Inspect(bytes.NewReader(b), int64(len(b)))
	ok(t, err)
	return x
}
