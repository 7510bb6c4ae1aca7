//go:build !race

package filelog

const underRace = false
