//go:build !race

package tws

const raceEnabled = false
