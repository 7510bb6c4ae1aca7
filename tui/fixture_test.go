package tui

import (
	"encoding/json"
	"os"
	"testing"
	"testing/synctest"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/adminapi/adminapitest"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/setting"
)

// fixture is a broker as testdata/broker.json has it, in the form of the API.
type fixture struct {
	Status    adminapi.Status
	Overview  adminapi.Overview
	Topics    []adminapi.Topic
	Queues    []adminapi.Queue
	Exchanges []adminapi.Exchange
	Bindings  []adminapi.Binding
	Sessions  []adminapi.Session
	Groups    []adminapi.Group
	Retained  []adminapi.Message
	Live      []adminapi.Message
	Nodes     []adminapi.Node
	Shards    []adminapi.Shard
	Bans      []acl.Ban
	Bridges   []adminapi.Bridge
	Settings  []setting.Setting
	Options   []adminapi.Option
	Clock     adminapi.Clock
	Dues      adminapi.Dues
	Chaos     chaos.Plan
}

// load reads the fixture. Its times are as they stand there: midnight of 1 January 2000,
// when the clock of a bubble begins, and before.
func load(t testing.TB) (*adminapitest.Fake, fixture) {
	t.Helper()
	src, err := os.ReadFile("testdata/broker.json")
	if err != nil {
		t.Fatal(err)
	}
	var x fixture
	if err := json.Unmarshal(src, &x); err != nil {
		t.Fatal(err)
	}
	f := adminapitest.New()
	f.S, f.O, f.T, f.Q, f.X, f.B, f.C, f.G, f.R, f.Node, f.Log = x.Status, x.Overview, x.Topics, x.Queues, x.Exchanges, x.Bindings, x.Sessions, x.Groups, x.Retained, x.Nodes, x.Shards
	f.Ban, f.Br, f.Set, f.Opt = x.Bans, x.Bridges, x.Settings, x.Options
	f.Time, f.Dues = adminapi.Clock{Kind: adminapi.ClockReal}, x.Dues
	if _, err := f.RunPlan(t.Context(), x.Chaos); err != nil {
		t.Fatal(err)
	}
	return f, x
}

// flow lets a second of traffic through the broker, more or less of it as the seconds
// go: always the same at the same second.
func flow(f *adminapitest.Fake, second int) {
	wave := []uint64{0, 2, 5, 9, 12, 14, 15, 14, 12, 9, 5, 2}
	at := func(n int) uint64 { return wave[n%len(wave)] }
	f.Update(func(f *adminapitest.Fake) {
		for i := range f.O.Traffic {
			x := &f.O.Traffic[i]
			in, out := at(second+4*i)*uint64(100-40*i), at(second+4*i+2)*uint64(150-45*i)
			x.MessagesIn += in
			x.MessagesOut += out
			x.BytesIn += in * 230
			x.BytesOut += out * 245
		}
		f.O.WAL.Bytes += 40_000
		f.O.WAL.Syncs += 30
		for i := range f.T {
			for j := range f.T[i].Partitions {
				p := &f.T[i].Partitions[j]
				n := int64(at(second+i)) * int64(i%3)
				p.End += n
				p.LastStable += n
				f.T[i].Records += n
				f.T[i].Bytes += 100 * n
				p.Bytes += 100 * n
			}
		}
		for i := range f.G {
			for j := range f.G[i].Offsets {
				f.G[i].Offsets[j].Committed += int64(3 + j)
				f.G[i].Offsets[j].End += int64(3 + j)
			}
		}
	})
}

// bubble runs a test on a clock that stands still until everything has come to rest.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
