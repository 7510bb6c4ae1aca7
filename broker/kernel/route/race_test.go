//go:build race

package route

// race: the detector makes sync.Pool forget at random.
const race = true
