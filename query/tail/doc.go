// Package tail shows records as they are published, behind the last ones that are stored.
//
//	          ┌──────┐ whole, batches ┌───────┐ decoded once ┌───────┐          ┌─────────┐
//	Live ────▶│ feed │───────────────▶│ inbox │─────────────▶│ match │─────────▶│ tracker │──▶ emit
//	          └──────┘ one for        │       │              └───────┘ sessions │         │    records,
//	           │       each topic     └───────┘ one for each reader             │         │    skipped: N
//	           ▼                                                                └─────────┘
//	          other readers           Runner: history, and what was missed  ────────▲
//
// Words:
//
//   - A session is the records of one source that one forwarder has read: their IDs hold a counter that grows by one (package segment).
//   - A repetition is records that came already: a forwarder publishes a batch again when its ack got lost.
//   - A hole is counters that were not seen, behind which others were.
//   - To fill is to look for what is missing in what is stored; to catch up is to do that for everything since a loss.
//   - Skipped are records that were not seen and not found. They are counted, not shown.
//
// What the package keeps to:
//
//   - A record is put out once at most, whatever comes twice and from wherever.
//   - From the first record of a session that came live, each of its records is put out if it matches, or counted as skipped, as soon as
//     a later one of the session has come. Counts are of records, whether they match or not: that is not known of them.
//   - Records of a session are put out in the order of their counters: those behind a hole wait for Config.Hold, then for a fill. What comes
//     after it was counted as skipped is put out all the same, and told (Recovered).
//   - Between history and live records there is neither gap nor repetition: first comes the subscription, then the query, and what came
//     meanwhile is put in between.
//   - After a loss (a connection that went away, batches for which there was no room) it catches up before it goes on, also with sessions that
//     it did not know.
//   - A reader that is slow holds others back for a tenth of a second once: then batches for which its inbox has no room are dropped, and their records are
//     counted, until it has taken all that is there.
//   - Memory is bounded by bytes for each reader: an inbox takes half of Config.MaxBytes, what was found in a fill a quarter, records that wait an eighth.
//     The first two take of Config.Spare besides what they need.
//
// From a line written to a followed file until it is printed take 70 to 90 ms at the median, with 2,000 lines a second on a 2-core machine: 5 ms until
// the forwarder has read it, and for the rest mostly the forwarder's wait for more (its batch age, 100 ms). The 99th percentile was 150 ms over 25 s, and
// 0.6 to 1 s over minutes in which ten processes wanted each core.
//
// What it cannot know: how many records a session had before the first that came live, when some of those were lost. They are looked for after
// a loss, and never counted. What a stream refuses after it was passed on is shown though it is not stored.
package tail
