//go:build !windows

package dir

import "os"

// syncDir puts the names in the folder on disk.
func syncDir(d *os.File) error { return d.Sync() }
