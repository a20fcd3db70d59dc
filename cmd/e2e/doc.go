// Package e2e tests the programs as people run them: as processes, on a real NATS server and real S3 servers,
// which it kills at random. It holds tests and benchmarks only.
//
// CORPORA names a folder of real logs, NAME.log, to run on instead of the sample that the project ships.
package e2e
