package doctor

import "io/fs"

func inodeOf(fs.FileInfo) (uint64, bool)            { return 0, false }
func runs(int) bool                                 { return false }
func owner(fs.FileInfo) (theirs, ours int, ok bool) { return 0, 0, false }
func openFiles() (soft, hard uint64, ok bool)       { return 0, 0, false }
