// Package open makes buckets from the URLs that --bucket takes:
//
//	s3://[KEY:SECRET@]HOST[:PORT]/BUCKET[/PREFIX][?region=R&tls=false]
//	file:///PATH
//	mem://[NAME]
//
// It is the one place that knows every kind of bucket. Each bucket is checked when it is
// opened, so that a wrong URL fails at the start with a line that says what to change, and is counted
// under its URL without the secrets. No secret is ever part of an error, a log
// line or a metric.
package open
