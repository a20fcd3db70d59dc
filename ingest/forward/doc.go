// Package forward turns inputs into records, records into batches, and publishes the batches.
//
//	files, standard input
//	      │ chunks of bytes
//	      ▼
//	  assembler ──▶ block of records ──▶ encoder ──▶ batch ──▶ journal ──▶ outbox ──▶ Publisher
//	  splits into lines,                 a segment             (with a     retries,
//	  gives each its ID                  of one block          state dir)  awaits acks
//
// In mode Bulk there is no broker: blocks are collected, merged and put into the bucket as segments.
//
// Words:
//
//   - A record is a line without its newline, or several lines where Inputs.Multiline says how a record starts. Any bytes
//     survive: CR, NUL, invalid UTF-8, no bytes at all. One over Limits.Record is cut into pieces that say so.
//   - A lane is one stream of bytes with sessions of IDs of its own: one open file, or standard input.
//   - A batch is one message: a segment with a single block. Its ID, the segment's name, is made of its content.
//   - The journal is the state folder: one file for each batch that is not acked yet, with the batch and with
//     the positions in all files behind it.
//
// Invariants:
//
//   - A record gets its ID once. With a state folder, a batch and the positions behind it are on disk, in one atomic file, before
//     the batch is published; after a crash the same bytes are published again under the same ID, and reading goes on behind
//     them. So a crash at any instant repeats nothing but identical records.
//   - A batch is repeated until it is acked, unless WhenFull is DropOldest; what is dropped is counted.
//   - A session is never taken up again: whoever starts to read a file, from wherever, draws a new one. So the source of a session
//     does not change, and a clock that was wrong once is held for segment.MaxHold at most.
//   - The pieces of a record have one millisecond and counters that follow each other, across reads and batches. After a
//     restart in the middle of one, the rest has the same millisecond and another session: a record that says it goes on from another.
//   - A line that has no newline yet is not read, while its file is followed, until its newline comes or the file is
//     finished with: rotated away or removed.
//   - What rotation moves away is read to its end, also when it came and went while nobody looked, and looked at for a day in
//     case that somebody writes to it late. A file that may be such a one, or cannot be found or read, is told and counted (Stats.Missed).
//   - Memory is bounded by bytes: a few blocks of text, and Limits.Spool or a fixed bound of encoded batches.
//
// It refuses two forwarders on one state folder, records that could not fit a message, and to guess: times are those of
// reading unless TimeConfig says how to find them. It knows no globs and no directories. It neither connects to a broker nor
// to a bucket: Publisher and Putter are what it wants of them.
//
// A batch published by a forwarder without a state folder is not repeated after a crash of that forwarder; running
// it again reads its inputs again, as new records. So it is with Bulk.
package forward
