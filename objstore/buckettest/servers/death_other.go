//go:build !linux

package servers

import "os/exec"

// dieWithParent can do nothing here: there is no such signal.
func dieWithParent(*exec.Cmd) {}
