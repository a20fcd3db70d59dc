package e2e

import (
	"os/exec"
	"syscall"
)

// dieWithUs has the kernel kill a process that the tests started when they end, however they end.
func dieWithUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// peakMemory is the most memory that a process has had, in bytes.
func peakMemory(cmd *exec.Cmd) int64 {
	return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
}
