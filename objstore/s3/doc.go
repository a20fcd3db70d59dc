// Package s3 is a bucket on any S3-compatible server, through minio-go, which nothing else
// imports.
//
// Every operation has a time limit and a bounded number of attempts, with a growing,
// jittered wait between them; limits grow with the bytes to move. The library's own
// retries are off, so there is one loop to reason about. A server that answers SlowDown is
// given more time and shows as a warning; a missing bucket, refused credentials and a
// missing object are answers and not tried again. An attempt that gets no answer is
// broken off, so a stalled connection costs one attempt.
//
// How it talks: Get is one ranged GET, without a HEAD before it. Put sends Content-MD5, so
// that a body damaged on the way is refused also over plain HTTP, in one PUT up to
// Config.MaxSinglePut and in parts above. Create is always one PUT with If-None-Match: *,
// marked with a random token: if an answer was lost and the repetition finds the object there,
// the token tells whether it is our own. Listings use start-after, and continue after the last key
// when a page fails.
//
// Credentials come from the URL, else from the environment (AWS_*, then MINIO_*), else from
// the AWS and MinIO files, else from the cloud's metadata service, which is given a second
// or two.
//
// An error is one line that names the endpoint and the bucket, never the secret, and says
// what to change.
//
// Refused here: objects without a known size, listing with delimiters, versions, and
// keys that CheckKey does not accept, which listings leave out.
package s3
