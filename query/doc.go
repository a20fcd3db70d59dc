// Package query finds records: it plans, reads, matches and merges.
//
//	         ┌──────┐   ┌──────┐   ┌──────┐   ┌───────┐   ┌───────┐   ┌────────────────┐   ┌───────┐
//	Hot ────▶│ hold │──▶│ plan │──▶│ open │──▶│ prune │──▶│ fetch │──▶│ decode + match │──▶│ merge │──▶ emit
//	         └──────┘   └──────┘   └──────┘   └───────┘   └───────┘   └────────────────┘   └───────┘
//	         unflushed   listing    one tail   a few parts  ranges of   a worker for         order,
//	         batches     (pure)     read each  of filters   neighbours  each core            once each
//
// The rooms beside it: match says what records have to look like and finds them in a block's text (dfa is its engine for
// regular expressions), where looks into the fields of records, required says what a record must hold for that, and cache keeps what was
// read of objects. Others build on it: spread runs a query on many queriers, tail goes on with what is published, api answers over HTTP, and client
// asks there.
//
// Words:
//
//   - A range is two ULIDs, [From, To). ParseRange makes one of what people type.
//   - A source is what has blocks: a segment in the bucket (cold), or a batch that no ingester has flushed
//     yet (hot). Each is one input of the merge. (Where a query is restricted to sources, or these are listed, it is where records come from: their
//     attributes.)
//   - A sieve is what a pattern and an expression (Query.Where) ask filters: what a record must hold, over grams (required, and
//     segment's filter).
//   - A task is one block to be fetched, decoded and matched. Its result is a block of
//     the records that the query wants.
//   - A problem is something that should have been read and could not be. An answer with problems is partial.
//
// Context (Query.Before and After) is a second part of a query: RunContext has the matches found as usual, and looks at what stands around
// each of them.
//
//   - A view is the segments and batches of the range, opened as they are needed and kept within bounds.
//   - A lane is a source with matches. A walker goes over the IDs of its records, away from a match, over blocks and segments; of blocks in which it is
//     silent no more than the IDs are read.
//   - A batch is outputs whose places are known: each block that holds some is read once, and their texts are copied.
//
// What the package keeps to:
//
//   - Hot first: the unflushed batches are in memory before the listing begins. The other
//     order loses the records that move from one to the other in between.
//   - Every record is put out once, in the order of the IDs, whatever number of segments and batches hold it.
//   - What could not be read is a problem of the answer, with its key and the range of time that is lacking. An
//     object that has gone since it was listed (compacted) is looked for in a new listing, and the
//     query goes on behind the last record that it put out.
//   - Filters only remove what cannot match: with them, without them (Query.Brute), with damaged ones the answer is the same.
//   - What compaction has replaced is left out, as long as what replaces it can be read: it stays for queries that began before.
//   - Requests wait for each other at most four times in a row, however many segments there are: a listing, tails, filters, blocks.
//     Each kind is made for many segments at once, within bounds.
//   - Context is exact: the neighbours of a record in its source, whatever lies between, in whatever segments. Where nothing is cut off by the
//     range, it is for each source what grep prints. What it costs goes by the matches, and for dense ones it is less than printing everything
//     three times.
//   - It streams: the first records are put out while the rest is being read, and a limit ends the reading.
//   - What nobody looks at is not read or decompressed: texts where only IDs count (Query.IDsOnly, CountOnly), blocks where the ends of
//     segments tell enough (Estimate, SourcesOf).
//   - Memory is bounded by bytes (Config.MaxBytes, Config.MaxHotBytes, Config.Spare), whatever the range; beyond that there is
//     one packed block for each of the segments that overlap, of what was found in it. Context takes as much again, and some 300 bytes for each
//     source with matches.
//
// Using it: open a bucket (objstore/dir, objstore/s3, or objstore/open for the words that people type), give it to New, write a Request,
// Compile it, and Run the Query. Look at Answer.Problems, always: an answer without an error may still lack records. Besides records,
// Histogram counts by time, Engine.SourcesOf and Topics tell what there is, and Engine.Estimate what a query would read. What only needs
// a Runner, as Histogram does, also works with one that has its engines elsewhere. The examples show it whole.
//
// To read it: request.go and engine.go (what is asked, and how an answer comes about), plan.go, open.go, input.go, scan.go, pick.go; context.go, lane.go,
// walk.go, view.go, batch.go; then what looks at segments without their blocks, lookup.go, survey.go and topics.go.
//
// It does not know who publishes records or how (Hot is all that it sees of that), prints nothing and retries
// nothing: the bucket does.
package query
