// Package spread has a query answered by as many queriers as are running: each reads a part of the range, from the bucket, and keeps nothing.
//
//	 a query    ┌──────── coordinator: the querier that was asked ─────────┐
//	───────────▶│ hold ──▶ list ──▶ cut ──▶ give out ──▶ put out, in order │──▶ records, answer
//	            └───────────────────────────┬──────────────▲──────────────┘
//	                 pieces, credit, cancel │              │ beats, records, answers
//	            ┌───────────────────────────▼──────────────┴──────────────┐
//	            │ members: any querier of the group, the coordinator, too │──▶ bucket
//	            └─────────────────────────────────────────────────────────┘
//
// Words:
//
//   - A group are the queriers on one NATS server that read the same buckets (Config.Group). A querier is a member as long as it
//     runs; who the others are is asked while queries come, and learnt from who does not answer.
//   - The coordinator of a query is the member that was asked.
//   - A piece is a part of the query's range. Pieces are disjoint and adjacent, of about equal bytes as they are stored, and a
//     member runs one as a query of its own, with a listing of its own.
//   - An attempt is a member's work on a piece. There may be several, one after another or two at once; it has a random number.
//   - A unit is some of a piece's records, as a small segment, or how many it has of some milliseconds; the last one is its answer.
//     Units go in parts that fit into messages.
//   - Credit is how many units an attempt may send.
//   - A slot is what a member works on an attempt with; it has Config.Slots.
//
// What the package keeps to:
//
//   - The answer is an Engine's: the same records in the same order, the same count, and every problem that is met, once. What a
//     member does not bring to its end is done again, at last by the coordinator, and what that cannot do fails the query
//     as it would fail an Engine. The answer of an attempt counts when it is complete, and alone.
//   - Each record is put out once. A piece that is done again is run from its beginning, so that no problem is missed, and
//     sends what comes behind the last record that was put out. The coordinator lets nothing else through. Counts by time are
//     complete for each millisecond of a piece that they tell of, and go on behind the last one in the same way.
//   - Hot first: the coordinator holds the unflushed batches before anybody lists. Pieces that they reach into
//     are run here, on what is held; cuts are made where they begin and end, so that the others are not.
//   - Cuts are between sessions or milliseconds: the pieces of a record that was cut at the record limit are never apart.
//   - Memory is bounded in bytes: of records that wait at the coordinator (Config.BufferBytes), by credit; at a member by its
//     slots, each an Engine's Config.MaxBytes.
//   - It cannot stand still: what is waited for gets credit always, and is run here when no slot is free anywhere for a while.
//   - Nobody works for nobody: attempts end when they are cancelled, and by themselves when the coordinator is silent.
//   - What is small is not spread (Config.SmallBytes), and what a limit may end soon is given out piece by piece, twice as
//     many at a time as those before were not enough.
//   - Messages are hostile until they are decoded: a checksum, bounds, a number that cannot be guessed.
//
// Members of another version of the messages are left out, and a query that a member does not understand all of is refused by it. A
// piece prefers the member that rendezvous hashing names for what it reads, whose cache may have it; a free one is better
// than that one if it is not. A member that was busy is asked again a moment later: queries share slots as they come.
//
// It does not know NATS (Transport is all that it sees of that), and has no state but who was there a second ago. It does not make two
// queriers agree on anything: there is nothing to agree on. The statistics of an answer are sums of what all that counted
// did: a segment that two pieces read is counted twice. Where all of the range is covered by a batch of records of
// all times that is not flushed yet, the coordinator runs everything by itself until it is.
package spread
