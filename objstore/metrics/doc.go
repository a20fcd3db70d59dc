// Package metrics counts what buckets do, for Prometheus. It is apart from package objstore so that a program that has no
// metrics does not carry the library, which takes a while at each start.
//
//	oklog_bucket_requests_total{bucket,op}           calls
//	oklog_bucket_errors_total{bucket,op,reason}      calls that failed: not_found, exists,
//	                                                 short (a read past the end), canceled,
//	                                                 denied, no_bucket, bad_key or other
//	oklog_bucket_bytes_total{bucket,direction}       bytes of objects, read or written
//	oklog_bucket_duration_seconds{bucket,op}         time of a call, with its retries;
//	                                                 of a listing, without its consumer
//	oklog_bucket_retries_total{bucket,reason}        attempts that were made again
//	oklog_bucket_missing_copies_total{bucket}        copies that failed
//	oklog_bucket_fallbacks_total{bucket,op,reason}   reads that another bucket answered
//	oklog_bucket_detached_bytes                      of copies that go on after their write
//
// What does not happen to the buckets at hand has no series: a single bucket has no copies.
package metrics
