package storage

import "fmt"

// EntryBytesMax bounds Entry.Data in every engine, and so what a damaged length can
// make recovery allocate. The kernel's own limit is far below.
const EntryBytesMax = 128 << 20

// CheckEntries tells whether entries may stand in one Write: consecutive, counted
// from 1, none too long. Engines call it before they queue anything.
func CheckEntries(entries []Entry) error {
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Index == 0:
			return fmt.Errorf("storage: entry with index 0")
		case i > 0 && e.Index != entries[i-1].Index+1:
			return fmt.Errorf("storage: entry %d follows entry %d in one write", e.Index, entries[i-1].Index)
		case len(e.Data) > EntryBytesMax:
			return fmt.Errorf("storage: entry %d has %d bytes, %d allowed", e.Index, len(e.Data), EntryBytesMax)
		}
	}
	return nil
}

// KeyBytesMax bounds a key of a checkpoint.
const KeyBytesMax = 32 << 10

// CheckKey tells whether key may stand in a checkpoint.
func CheckKey(key []byte) error {
	if len(key) == 0 || len(key) > KeyBytesMax {
		return fmt.Errorf("storage: checkpoint key of %d bytes, 1 to %d allowed", len(key), KeyBytesMax)
	}
	return nil
}
