package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/robustmq/rmq/broker/vfs"
)

// Mounted is a file system that is mounted.
type Mounted struct{ server *fuse.Server }

// writeMax is the largest write that arrives as one, in bytes.
const writeMax = 1 << 20

// Mount mounts inner at dir, which exists. The process that calls it must not map files
// there: a page fault would wait for answers of the process that waits.
func Mount(dir string, inner vfs.FS) (*Mounted, error) {
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		return nil, err
	} else if err := f.Close(); err != nil {
		return nil, err
	}
	server, err := fs.Mount(dir, &node{inner: inner}, &fs.Options{MountOptions: fuse.MountOptions{
		FsName: "rmq-test", Name: "fusefs", DirectMountStrict: true, MaxWrite: writeMax,
	}})
	if err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	return &Mounted{server}, nil
}

// Unmount unmounts it. Whoever had files open there has ended, or Unmount fails.
func (m *Mounted) Unmount() error { return m.server.Unmount() }

// node is a file or directory. Its name is asked of the tree at each use, so a rename
// reaches everything below.
type node struct {
	fs.Inode
	inner vfs.FS
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeAllocater = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

func (n *node) path() string             { return "/" + n.Path(nil) }
func (n *node) child(name string) string { return path.Join(n.path(), name) }

// errno is what a program is told.
func errno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e
	}
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return syscall.ENOENT
	case errors.Is(err, iofs.ErrExist):
		return syscall.EEXIST
	case errors.Is(err, iofs.ErrInvalid):
		return syscall.EINVAL
	}
	return syscall.EIO
}

// find tells what a name is: a directory when it cannot be opened as a file.
func (n *node) find(name string) (dir bool, size int64, err error) {
	f, err := n.inner.Open(name)
	if errors.Is(err, syscall.EISDIR) {
		return true, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	size, err = f.Size()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return false, size, err
}

func attr(out *fuse.Attr, dir bool, size int64) {
	out.Mode, out.Nlink = fuse.S_IFREG|0o640, 1
	if dir {
		out.Mode = fuse.S_IFDIR | 0o750
	}
	out.Size, out.Blocks = uint64(size), uint64(size+511)/512
	out.Uid, out.Gid = uint32(os.Getuid()), uint32(os.Getgid())
}

func (n *node) add(ctx context.Context, out *fuse.EntryOut, dir bool, size int64) *fs.Inode {
	attr(&out.Attr, dir, size)
	return n.NewInode(ctx, &node{inner: n.inner}, fs.StableAttr{Mode: out.Mode & syscall.S_IFMT})
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	dir, size, err := n.find(n.child(name))
	if err != nil {
		return nil, errno(err)
	}
	if known := n.GetChild(name); known != nil {
		attr(&out.Attr, dir, size)
		return known, 0
	}
	return n.add(ctx, out, dir, size), 0
}

func (n *node) Getattr(_ context.Context, h fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if f, ok := h.(*file); ok { // its name may be gone
		size, err := f.Size()
		attr(&out.Attr, false, size)
		return errno(err)
	}
	dir, size, err := n.find(n.path())
	attr(&out.Attr, dir, size)
	return errno(err)
}

// Setattr changes the size; modes, owners and times are nobody's concern here.
func (n *node) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		f, has := h.(*file)
		if !has {
			opened, err := n.inner.Open(n.path())
			if err != nil {
				return errno(err)
			}
			defer func() { _ = opened.Close() }() // its changes are not synced by that
			f = &file{opened}
		}
		if err := f.Truncate(int64(size)); err != nil {
			return errno(err)
		}
	}
	return n.Getattr(ctx, h, out)
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, err := n.inner.Open(n.path())
	if err == nil && flags&syscall.O_TRUNC != 0 {
		err = f.Truncate(0)
	}
	if err != nil {
		return nil, 0, errno(err)
	}
	return &file{f}, 0, 0
}

func (n *node) Create(ctx context.Context, name string, flags, _ uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	f, err := n.inner.Create(n.child(name))
	if errors.Is(err, iofs.ErrExist) && flags&syscall.O_EXCL == 0 {
		f, err = n.inner.Open(n.child(name))
	}
	if err != nil {
		return nil, nil, 0, errno(err)
	}
	return n.add(ctx, out, false, 0), &file{f}, 0, 0
}

func (n *node) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if _, _, err := n.find(n.child(name)); err == nil {
		return nil, syscall.EEXIST
	}
	if err := n.inner.MkdirAll(n.child(name)); err != nil {
		return nil, errno(err)
	}
	return n.add(ctx, out, true, 0), 0
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	return errno(n.inner.Remove(n.child(name)))
}

func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	return errno(n.inner.Remove(n.child(name)))
}

func (n *node) Rename(_ context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL // exchange, and whiteouts
	}
	return errno(n.inner.Rename(n.child(name), path.Join("/", parent.EmbeddedInode().Path(nil), newName)))
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	entries, err := n.inner.ReadDir(n.path())
	if err != nil {
		return nil, errno(err)
	}
	list := make([]fuse.DirEntry, 0, len(entries))
	for _, e := range entries {
		mode := uint32(fuse.S_IFREG)
		if e.Dir {
			mode = fuse.S_IFDIR
		}
		list = append(list, fuse.DirEntry{Name: e.Name, Mode: mode})
	}
	return fs.NewListDirStream(list), 0
}

func (n *node) Fsync(_ context.Context, h fs.FileHandle, flags uint32) syscall.Errno {
	f, ok := h.(*file)
	switch {
	case !ok:
		return errno(n.inner.SyncDir(n.path()))
	case flags&dataOnly != 0:
		return errno(f.SyncData())
	}
	return errno(f.Sync())
}

// dataOnly is FUSE_FSYNC_FDATASYNC.
const dataOnly = 1

func (n *node) Allocate(_ context.Context, h fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	f, ok := h.(*file)
	if !ok || mode != 0 {
		return syscall.EOPNOTSUPP
	}
	return errno(f.Reserve(int64(off + size)))
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	space, err := n.inner.Space(n.path())
	if err != nil {
		return errno(err)
	}
	if space.Total == 0 { // not known, which statfs cannot say
		space.Free, space.Total = plenty, plenty
	}
	const block = 4096
	out.Bsize, out.Frsize, out.NameLen = block, block, unix.NAME_MAX
	out.Blocks, out.Bfree, out.Bavail = uint64(space.Total/block), uint64(space.Free/block), uint64(space.Free/block)
	return 0
}

// plenty is the space of a file system without an end, in bytes.
const plenty = 1 << 42

// file is an open file.
type file struct{ vfs.File }

var (
	_ fs.FileReader   = (*file)(nil)
	_ fs.FileWriter   = (*file)(nil)
	_ fs.FileReleaser = (*file)(nil)
)

func (f *file) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := f.ReadAt(dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errno(err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

func (f *file) Write(_ context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	n, err := f.WriteAt(data, off)
	if n > 0 {
		return uint32(n), 0 // a short write: the next one tells why
	}
	return 0, errno(err)
}

func (f *file) Release(context.Context) syscall.Errno { return errno(f.Close()) }
