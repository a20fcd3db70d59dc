// Package dir is a bucket in a folder: the embedded default of a single machine.
//
// The object a/b is the file a/b under the folder: cp, grep and zstd work on it. Keys obey
// objstore.CheckKey; no part of one begins with a dot, so dotted names in the folder are
// not objects. A key cannot be the folder of another one.
//
// Invariants. An object is written to a file in the hidden folder .tmp, synced, and then
// linked (Create) or renamed (Put) to its name, and the folders on the way are
// synced before Put returns: after a crash at any instant the object is there whole or not at
// all, and it is there if Put had returned. What a crash leaves in .tmp is removed at a
// later Open, once it is old. Listings are in byte order of whole keys, which is
// not the order of a walk ("a-b" comes before "a/b", "a0" after), and read one folder
// at a time.
//
// Any number of processes of one machine may use the folder at once.
//
// The folder is the one that was opened: when another one stands at its path, that is opened in its place if it was a
// bucket before, and otherwise everything fails with ErrNoBucket, so that nothing gets on the disk below a mount.
//
// Refused here: to make the folder unasked; leaving the folder, through whatever symbolic link; links and special
// files as objects; and, on Windows, the names of devices.
//
// On Windows folders cannot be synced: after a power failure the last objects may be missing.
package dir
