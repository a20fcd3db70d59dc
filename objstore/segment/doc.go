// Package segment is the format: how records lie in a segment, and in memory.
//
// A record is a ULID, a source and bytes. A segment is one immutable object that holds records of one topic
// and one day of UTC, in the order of their ULIDs:
//
//	┌────────────┬────────────┬─────┬────────┬────────┬─────────┬─────────┬─────────┐
//	│ block 0    │ block 1    │ ... │ filter │ index  │ sources │ lineage │ trailer │
//	│ zstd frame │ zstd frame │     │          zstd skippable frames                │
//	│ + its IDs  │ + its IDs  │     │                                               │
//	└────────────┴────────────┴─────┴────────┴────────┴─────────┴─────────┴─────────┘
//
// The text is in plain zstd frames and everything else in skippable ones, so that zstd -dc prints
// the log. FORMAT.md specifies every byte.
//
// A batch, which a forwarder publishes as one message, is a segment too, of a single block: there is one
// encoder, one decoder and one merge, and an ingester merges batches just as a compactor merges segments. (A batch has no filter.)
//
// The filter tells which blocks may hold a needle, for any needle of six bytes or more, in any case: see gram.go and filter.go.
//
// What the package keeps to:
//
//   - Any bytes in a record survive: newlines, NUL, invalid UTF-8, none at all.
//   - The same records, written with the same configuration, are the same bytes under the same name.
//   - What it reads is hostile until it is checked: every length is held against a constant before memory is
//     taken for it, everything has a checksum, and damage is an error, ErrCorrupt, never a panic.
//   - It knows bytes and records, and nothing of buckets, of networks or of time's passing.
package segment
