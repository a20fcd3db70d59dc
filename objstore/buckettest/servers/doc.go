// Package servers runs real S3 servers for tests: MinIO and, as a second, independent
// implementation, the Versity S3 gateway.
//
// The servers are separate processes on free loopback ports, with their data in temporary
// folders. Their programs are built once, from pinned versions, into the folder .cache/bin
// of the module (or the one that OKLOG_TOOLS names), under a lock, so that test
// processes running side by side build them once; `go run
// ./objstore/buckettest/servers/install` builds them beforehand. A Go toolchain and the
// module proxy are all it needs. Binaries are named by their versions: a new version is
// a new file.
//
// A server dies with the process that started it (on Linux, also when that one is
// killed). Kill and Start end and resume it on the same port and data, as a crash does.
//
// The package refuses to hide anything: a server that cannot be built or started is an
// error that holds its output, never a skipped test.
package servers
