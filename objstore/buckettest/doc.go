// Package buckettest holds the contract of objstore.Bucket as a test suite, which every
// implementation passes, and Faulty, a bucket that fails on request.
//
// Package servers, below, runs real S3 servers for it.
package buckettest
