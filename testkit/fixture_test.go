package testkit_test

import (
	"testing"

	"github.com/robustmq/rmq/testkit"
)

func TestFixture(t *testing.T) {
	b := testkit.Run(t, testkit.Virtual(), testkit.Fixture("iot-fleet", "devices=3"), testkit.Fixture("txn-aborts"))
	if n := b.Topic("fleet").Count(); n != 3+30+3 { // state, telemetry, alarms
		t.Errorf("%d records", n)
	}
	if n := b.Queue("alarms").Ready(); n != 3 {
		t.Errorf("%d alarms are ready", n)
	}
	if !b.Session("dev-00002").Exists() || b.Session("dashboard").Backlog() != 3 {
		t.Error("the sessions are not as the fixture has them")
	}
	if n := b.Queue("ledger").Ready(); n != 300 { // every fourth of 40 transactions is rolled back
		t.Errorf("%d entries in the ledger", n)
	}
}

// Of a cluster one node is given the fixture, and all hold it.
func TestFixtureOfACluster(t *testing.T) {
	c := testkit.Cluster(t, 3, testkit.Fixture("hot-partition", "records=120"))
	for id := 1; id <= 3; id++ {
		c.Node(id).Want(t).Topic("clicks").Count(120)
	}
}
