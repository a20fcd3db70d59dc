//go:build unix

package forward

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNamedPipe reads a file that is not a regular one.
func TestNamedPipe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, follow := range []bool{false, true} {
		go func() {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			fmt.Fprint(f, "one\ntwo")
		}()
		p := newRecorder()
		run(t, Config{Inputs: Inputs{Files: []string{name}, Follow: follow, StateDir: t.TempDir()}, Publisher: p})
		equal(t, texts(t, p.records(t)), []string{"one", "two"})
	}
}
