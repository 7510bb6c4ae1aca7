// Package crash holds no code: its tests start the real binary, do to it what happens to
// programs while clients of all protocols are at work, and look whether everything that
// was acknowledged is there when it has started again.
//
//	kill_test.go     two kills, with as much before each as a flag says
//	loop_test.go     kill after kill, pauses, and kills during recovery
//	nodes_test.go    three processes of a cluster, of which one after another is killed
//	members_test.go  nodes that join, are drained and removed: nobody is told of anything
//	pause_test.go    nodes that are stopped past their lease, and asked before they wake
//	power_test.go    power cuts: the binary runs on a disk that forgets what was not synced
//	fault_test.go    a disk that is full, and one that fails
//	load_*_test.go   the clients of those loops, which come back by themselves; some in
//	                 other languages, where they are installed
//	ledger_test.go   what they were told, and what they saw
//
// The binary is built by the tests, unless RMQ_BINARY names one. Flags say how much:
//
//	go test ./testkit/crash -run TestNothingAcknowledgedIsLost -messages 10000
//	go test -v ./testkit/crash -run TestKillLoop -kills 50
//	go test -v ./testkit/crash -run TestPowerLoss -cuts 50
//	go test -v -timeout 30m ./testkit/crash -run TestNodeKills -for 10m
//	go test -v -timeout 30m ./testkit/crash -run TestNodesComeAndGo -for 10m
//
// TestDiskThatLiesIsFound has the same traffic on a disk that says it has synced and has
// not: the ledger must know of losses then. Where no FUSE file system can be mounted
// (testkit/fusefs says what that takes), tests of power loss are skipped, and say so.
//
// # What the ledger holds against a broker
//
//   - A message that was acknowledged, and that one of those who should see it does not:
//     readers of the log, a consumer group, sessions online and offline, queues.
//   - A message that comes twice: of an idempotent Kafka producer; of MQTT at QoS 2, in the
//     log and to a subscriber; of AMQP once it was settled and a later publish on that
//     channel confirmed.
//   - Messages of one producer in another order than sent.
//   - An offset that has another record than before; a committed offset that goes back; a
//     retained value older than the last acknowledged.
//   - A queue, session or topic that is gone, and a message that nobody sent.
//
// Of a cluster it also tells how long each producer was without an acknowledgement around the
// loss of a node, or a change of its members; and what clients were told by their libraries, as that a
// connection has broken, which only a node that ends may bring about.
package crash
