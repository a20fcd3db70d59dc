// Package compact is the scheduled job: it merges small segments into large ones, enforces retention, and repairs
// replication.
//
//	listings ──▶ days ──▶ claims ──▶ plan ──▶ merge ──▶ put ──▶ ... the grace ... ──▶ read back ──▶ delete
//	of all                lineage    (pure)   k-way,    all                           what replaces   what is
//	copies                                    best      copies                                        replaced
//	                                          level
//
// All that it knows is in the buckets: any number of compactors may run at once, without knowing of each other, and be killed at any
// instant. Work is wasted at most.
//
// Words:
//
//   - A copy is one of the buckets; each is to hold everything.
//   - A claim is what a segment's lineage says of another one: that its records, from one ID to another, are in this one.
//     A segment is replaced when claims cover it from its first to its last record.
//   - A day is what there is of one topic on one day of UTC. It has settled when it is over and nothing has been added for a while.
//   - The grace is how long a replaced segment stays, for the queries that have listed it.
//
// What the package keeps to:
//
//   - Nothing is deleted before all of its records are in other segments that have been, for the grace, in every copy that
//     holds it; and these are read back before, and compared with the hash in their names. Without one of the copies, nothing is deleted.
//   - A crash between any two requests leaves duplicates, never holes; the next run goes on where it was.
//   - The same inputs make the same segments under the same names.
//   - A record is rewritten MaxGeneration times at most, usually three or four times.
//   - What cannot be read is named, left alone, and never deleted. Its neighbours are compacted.
//   - Retention goes by a segment's last record, through the trash, and takes no more than a quarter of a topic at once without being told to.
//   - Memory is bounded by Config.Memory, whatever the inputs: a merge takes part of what overlaps first where that would not fit.
//
// It prints nothing and knows no URLs; the buckets retry.
package compact
