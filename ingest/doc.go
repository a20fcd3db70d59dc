// Package ingest moves batches from the stream into buckets, as segments.
//
//	          bounded by bytes            by size, age        GOMAXPROCS       many at once
//	stream ──▶ pull ──▶ open ──▶ collect ─────────────▶ merge ───────────▶ put ──▶ ack
//	  ▲                  │       by topic              sort, dedupe,     in W buckets │
//	  │                  └─▶ dead letter               cut by day                     │
//	  └───────────────────────────────────────────────────────────────────────────────┘
//
// A batch stays compressed, as it came, until its topic is flushed. A flush is a merge of small segments
// to a larger one, with the merge and the encoder that a compactor uses too, and decodes only the
// batches whose records overlap. So an ingester's memory hardly depends on how many topics it serves.
//
// Invariants:
//
//   - A batch is acked after every record in it is in a segment that is durable in as many buckets as the
//     write quorum asks for; never before, and never for another ingester's batches.
//   - Nothing is kept on local disk. An ingester that is killed loses nothing: the stream delivers its batches
//     again, and what was stored already has the same IDs and is shown once.
//   - Any number of ingesters work on one stream without knowing of each other.
//   - A batch that cannot be decoded goes to the dead letters, with the reason, and holds nobody up.
//   - When buckets are away, flushes are repeated until they are back, and pulling stops once the memory is
//     used up: the stream holds what comes in, and pushes back on forwarders when it is full.
package ingest
