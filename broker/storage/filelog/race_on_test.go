//go:build race

package filelog

// underRace makes long tests do less: the detector makes them ten times slower.
const underRace = true
