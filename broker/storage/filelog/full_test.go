package filelog

import (
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// While a device is full the log asks it again now and then, and is idle meanwhile.
func TestFullIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const often = 1000 // operations that are more than enough
		disk := vfs.NewMem()
		opt := on(disk)
		asked := 0
		opt.FS = vfs.NewFaulty(disk, func(op vfs.Op) error {
			if op.Kind != vfs.OpCreate {
				return nil
			}
			if asked++; asked > often { // the log stops, and with it what would not end
				return syscall.EIO
			}
			return nil
		})
		e := opened(t, opt)
		disk.Limit(disk.Used() + 2000)
		written := 0
		for i := range uint64(200) {
			ok(t, e.Log().Append(storage.Write{
				Shard: 1, Entries: []storage.Entry{entry(i+1, 500)}, Sync: true,
				Done: func(err error) { ok(t, err); written++ },
			}))
		}
		time.Sleep(30 * time.Second) // virtual
		if synctest.Wait(); !e.Log().Full() || written == 200 {
			t.Fatal("the device is not full")
		}
		if asked > 100 {
			t.Errorf("a full device was asked %d times in 30 s", asked)
		}
		disk.Limit(0)
		time.Sleep(2 * fullRetry) // virtual
		if synctest.Wait(); written != 200 {
			t.Errorf("%d of 200 entries are written once there is space", written)
		}
		ok(t, e.Close())
	})
}
