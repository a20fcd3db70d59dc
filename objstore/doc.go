// Package objstore says what a bucket is and holds the parts that every kind of bucket
// shares.
//
// Vocabulary: a bucket is a flat, ordered space of objects; an object is bytes under a
// key, written whole; a key is a '/'-separated path that CheckKey accepts; a copy is the
// object in one of the buckets that Replicated writes to.
//
// What is here:
//
//	Bucket      the contract; package buckettest tests it
//	CheckKey    which keys there are, the same for every implementation
//	Memory      a bucket in memory, for tests and trials
//	Replicated  several buckets as one: W of N must take a write
//	ListCopies  what several buckets list, and which of them have it
//	Meter       what counts calls, retries and copies; package metrics has one
//	ReaderAt    an object as an io.ReaderAt
//
// The stores themselves are packages of their own (dir: a folder; s3: any S3-compatible
// server), and package open makes buckets from URLs.
//
// Invariants: an object is seen whole or not at all; what Put has returned nil for is
// durable, and is seen by every listing and read that starts afterwards; keys list in
// byte order. Nothing here knows what is in an object.
//
// Refused here: appending, partial writes, renaming, and a key that is the folder of
// another key, since not every store can hold both.
package objstore
