//go:build unix

package forward

import (
	"errors"
	"os"
	"syscall"
)

// openShared opens a file for reading that others may write, rename and remove meanwhile.
func openShared(path string) (*os.File, error) { return os.Open(path) }

// identify tells which file f is: the number of its volume and its number there.
func identify(f *os.File) (volume, number uint64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, errors.New("the system does not tell files apart")
	}
	return uint64(st.Dev), uint64(st.Ino), nil
}

// syncDir makes the names in a folder durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
