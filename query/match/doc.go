// Package match finds the records that hold what a query asks for.
//
// A pattern is some texts, and a record matches that holds one of them. How they are looked for depends on what they are:
//
//	texts ──▶ Compile ──▶ a Program, of parts; a record matches if it matches a part
//	             │
//	             ├─ substrings, and regular expressions that are only literals:  needles
//	             │  Failed   (?i)disk   Failed|Invalid   [Ff]ail(ed|ing)
//	             │      ├─ few ──────▶ a cursor for each: its rarest byte, or its two rarest at once,
//	             │      │              and the rest only where they are
//	             │      └─ many ─────▶ a set: one pass, at every few bytes a gram that may be one of theirs
//	             │
//	             └─ other regular expressions:  one DFA for all, and sets of required needles
//	                (Failed|Invalid).*port 41[0-9]{2}\b      {port 41}, {Failed, Invalid}
//	                    ├─ a set is rare in this text ──▶ cursors for it, and the DFA on the lines that they find
//	                    ├─ there is none ───────────────▶ the DFA on all lines
//	                    └─ the DFA gave up ─────────────▶ package regexp, line by line
//
// Words:
//
//   - A record is any bytes: it may hold newlines and bytes that are not UTF-8. Most records are lines.
//   - A needle is a sequence of letters, where a letter is a character that may have several forms: its cases (foldedNeedle), or those of a
//     small class. A needle of letters with one form each is plain bytes.
//   - A cursor finds one needle, a hunt any of some (quarry), from left to right in a text.
//   - A required needle is one that a record must hold to match (package required), though it is not enough.
//   - A word is what has no part of a word on either side (Pattern.Word). Needles are found as usual, and what stands beside them is looked at; for other
//     expressions the sides are part of the expression.
//   - A finder tells what of a record matches: of each place the first text, as -o of grep's kin prints it and as it is painted.
//   - A text is a block of records, each with a newline behind it: some MiB. It is searched as a whole, and the
//     lines are made out only around what was found.
//
// What it keeps to:
//
//   - Regular expressions mean what package regexp says, for each record by itself, bytes that are not UTF-8 included. Ignoring
//     case is (?i). Substrings are bytes.
//   - Match, Lines, Count and Absent agree with each other.
//   - Speed comes of what is rare, and what is rare differs between logs: a text of 64 KiB and more is sampled, and
//     the cursors aim at what is rare in it. For regular expressions each stretch of 512 KiB is glanced at, and what seems to cost
//     least is done.
//   - Compiling is bounded in time and memory (MaxPattern, MaxPatterns, MaxInstructions), and what is over the bounds is an
//     error that says so. A Program is immutable; a Searcher is one goroutine's, keeps its memory from text to text, and
//     takes none for a text without a match.
//
// # Measured
//
// MB of text for each second of a core, whole blocks of 4 MiB, on a shared machine of 2026 (ratios travel better than figures):
//
//	                                            sshd    Java   Windows events, JSON
//	absent, 12 hex digits                     14,000  11,600  17,200
//	Failed password (25 % of sshd's lines)    11,300  23,100  12,700
//	3 words (31 % of sshd's lines)             6,200   5,900   4,600
//	16 words                                   3,100   3,600   3,500
//	500 IPv4 addresses                         1,300   1,600   1,900
//	10,000 words                               2,100   2,100   1,600
//	(?i)allowusers                            10,800   7,000   7,300
//	(Failed|Invalid).*port 41[0-9]{2}\b        6,500   7,400   9,600
//	(WARN|ERROR).*timeout                     20,300   6,900   4,800
//	\b[0-9a-f]{8}\b                            1,500   1,500   3,400
//
// It does not parse what people type beside the pattern, knows of no blocks, files or IDs, and prints nothing.
package match
