//go:build !linux

package servers

import "os/exec"

// dieWithParent can do nothing here: there is no such signal.
func dieWithParent(*exec.Cmd) {}

// DiesWithParent tells whether a server dies also when the process that started it is killed.
func DiesWithParent() bool { return false }
