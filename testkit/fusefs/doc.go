// Package fusefs mounts a vfs.FS, so that a whole program runs on a file system made for a
// test: vfs.Mem, which forgets at a power failure what was not synced, or vfs.Faulty in
// front of it, which fails what it is told to.
//
// What the program does reaches the vfs.FS as the kernel does it: writes at once and one by
// one, for there is no write-back cache; fsync, fdatasync and O_DSYNC as Sync and SyncData;
// fsync of a directory as SyncDir. Pages that it maps into memory are read by Read, and
// kept by the kernel until the file system is unmounted. Shared mappings for writing are
// not carried through a power failure: what they write arrives when the kernel likes.
//
// flock is the kernel's own, so a process that is killed lets go of its locks.
//
// It needs Linux, /dev/fuse, and the right to mount (root, in the first place). Mount says
// what is missing.
package fusefs
