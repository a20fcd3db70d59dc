package servers

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel kill the server when the thread that starts it ends; the
// caller has locked that thread for as long as the server is to run.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// DiesWithParent tells whether a server dies also when the process that started it is killed.
func DiesWithParent() bool { return true }
