//go:build !race

package route

const race = false
