package doctor

import "syscall"

// device is what a file system says of itself.
type device struct {
	kind          string // "" where it is not one that we know
	free, total   uint64 // bytes
	inodes, ifree uint64 // 0 of 0: it has none to run out of
}

// fileSystems names those that matter, by the magic number that statfs tells.
var fileSystems = map[int64]string{
	0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x2FC12FC1: "zfs", 0xF2F52010: "f2fs",
	0x01021994: "tmpfs", 0x858458F6: "ramfs", 0x794C7630: "overlayfs", 0x6969: "nfs", 0xFF534D42: "cifs", 0xFE534D42: "smb",
	0x65735546: "fuse", 0x01021997: "9p",
}

func deviceOf(path string) (device, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return device{}, err
	}
	size := uint64(st.Bsize)
	return device{
		kind: fileSystems[int64(uint32(st.Type))], free: st.Bavail * size, total: st.Blocks * size, inodes: st.Files, ifree: st.Ffree,
	}, nil
}
