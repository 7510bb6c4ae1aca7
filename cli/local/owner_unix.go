//go:build unix

package local

import (
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// ownerOf names the user that a directory belongs to, as sudo -u takes it: "" when that is
// this one, or there is no telling.
func ownerOf(dir string) string {
	info, err := os.Stat(dir)
	if err != nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() {
		return ""
	}
	id := strconv.FormatUint(uint64(st.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "#" + id
}
