// Package stream is the adapter to NATS JetStream, and the only importer of nats.go.
//
// Words:
//
//   - A batch is the body of one message: records of one topic, opaque bytes to this package.
//   - The stream (JetStream's, "OKLOG" by default) holds the batches that are not in a segment yet. A batch of a
//     topic has the subject "oklog.<topic>": the stream's name in lower case, a dot, the topic.
//   - The consumer is the one durable pull consumer, "ingest", that all ingesters share.
//   - The dead letters ("OKLOG_DEAD", subjects "oklog-dead.<topic>") are batches that no ingester could decode, kept
//     for a while for a person to look at.
//
// Invariants:
//
//   - The stream is a work queue in files that refuses new batches when it is full: a batch stays until it is acked,
//     and is gone once it is. Ensure makes it so, or says which field of an existing stream is otherwise.
//   - Acks are explicit, one for each batch. A lost ack repeats a delivery, which is harmless: records
//     are told apart by their IDs.
//   - Publish repeats nothing by itself. Who repeats a batch gives it the same ID, and within
//     two minutes the server stores it once.
//   - Subscribe passes on every batch that is published while it says that nothing is missing, and says when something may be. It is no
//     consumer: the work queue allows no second one beside "ingest".
//   - Unflushed sees every batch that was acked to its publisher before the call and not
//     acked by an ingester until its end.
//   - A connection that was made once is kept up for ever; a pull that went silent is made again.
//   - What waits in memory is bounded in bytes: Config.MaxInFlight for publishes, ConsumeConfig.MaxBytes for deliveries.
//
// Measured with the embedded server, which fsyncs before each ack, on a shared 2-core machine, server and client together:
//
//	batch     publish    consume + ack
//	128 KiB   236 MB/s   970 MB/s
//	512 KiB   294 MB/s   570 MB/s
//
// Unflushed reads 300 MB/s, and takes 0.3 ms when there is nothing of its topic.
//
// It refuses servers older than 2.12.3: 2.12 before that may lose writes that it has acked
// (nats-server pull request 7594), and older ones lack what Unflushed needs. It has no push consumers, no AckAll (on a
// shared consumer it acks the work of others) and no retries of its own on publishing: modes and
// back-pressure are the forwarder's.
package stream
