package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// dieWithUs has the kernel kill a process that the tests started when they end, however they end.
func dieWithUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// peakMemory is the most memory that a running process has had, in bytes. What the kernel tells of a process that has ended
// will not do: it begins with the memory of the one that started it.
func peakMemory(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kb int64
	if _, err := fmt.Sscanf(rest, "%d kB", &kb); err != nil {
		return 0
	}
	return kb << 10
}
