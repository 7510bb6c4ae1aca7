// Package doctor looks at a data directory that no broker of this process has open: what
// lies in it, what is wrong with it, and what can be mended.
//
// It has three parts:
//
//	survey.go    everything that lies there (`rmq log inspect DIR`)
//	check.go     findings, in order, each with what to do (`rmq doctor DIR`)
//	repair.go    what can be repaired, and doing it (`rmq doctor --repair DIR`)
//
// Looking changes nothing and takes no lock. A repair holds the directory's lock, and
// nothing that it cuts or replaces is lost: a copy of each such file is durable in
// quarantine/ before the file is touched.
package doctor

// QuarantineDir is where a repair puts what it takes away, in a data directory.
const QuarantineDir = "quarantine"
