package kernel

import (
	"context"
	"encoding/json"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
)

// This file is the tables of items in log 0: what an operator has set, by a key. They are the same on
// every node. A kind of setting (setting.go) is a table each; bans are one.

// Item is one row of a table.
type Item = meta.Item

const tableBans = "bans"

// ItemsVersion is a number that changes when an item of any table does. What is read after it is at
// least as new.
func (k *Kernel) ItemsVersion() uint64 { return k.access.items.Load() }

func (k *Kernel) itemsChanged() {
	if k.cfg.ItemsChanged != nil {
		k.cfg.ItemsChanged()
	}
}

// Items are the rows of a table, in the order of their keys.
func (k *Kernel) Items(table string) (out []Item) {
	for x := range k.meta.view.Load().AllItems(table) {
		out = append(out, *x)
	}
	return out
}

// PutItems adds rows or replaces them, all or none, and tells how many that has changed. They are
// there on every node that is up when it returns.
func (k *Kernel) PutItems(ctx context.Context, table string, items ...Item) (changed int, err error) {
	r, err := k.meta.do(ctx, &meta.Command{Op: meta.PutItems, Name: table, Items: items})
	return int(r.Number), err
}

// DeleteItems takes rows away, and tells how many there were.
func (k *Kernel) DeleteItems(ctx context.Context, table string, keys ...string) (changed int, err error) {
	items := make([]Item, len(keys))
	for i := range keys {
		items[i].Key = keys[i]
	}
	r, err := k.meta.do(ctx, &meta.Command{Op: meta.DeleteItems, Name: table, Items: items})
	return int(r.Number), err
}

// Bans returns who is kept out, also bans that are over, in no order that means anything.
func (k *Kernel) Bans() []acl.Ban {
	var out []acl.Ban
	for x := range k.meta.view.Load().AllItems(tableBans) {
		var b acl.Ban
		if json.Unmarshal(x.Value, &b) == nil { // a newer release's may say what this one cannot read
			out = append(out, b)
		}
	}
	return out
}

// PutBan adds a ban, or replaces the one of the same subject.
func (k *Kernel) PutBan(ctx context.Context, b acl.Ban) error {
	if err := b.Check(); err != nil {
		return fault.New(fault.Invalid, "put ban", b.Who(), "%w", err)
	}
	b = b.Canonical()
	value, err := json.Marshal(&b)
	if err != nil {
		return fault.New(fault.Invalid, "put ban", b.Who(), "%w", err)
	}
	item := Item{Key: b.Key(), Value: value, Weak: b.By != ""}
	if !b.Until.IsZero() {
		item.Until = b.Until.UnixMilli()
	}
	_, err = k.PutItems(ctx, tableBans, item)
	return err
}

// DeleteBan removes the ban of the same subject; false: there was none.
func (k *Kernel) DeleteBan(ctx context.Context, b acl.Ban) (was bool, err error) {
	n, err := k.DeleteItems(ctx, tableBans, b.Key())
	return n > 0, err
}
