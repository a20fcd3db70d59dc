// Package required tells what a text must hold to match a query.
//
// A query is a substring or a regular expression. To run it over every byte that is stored is slow, and mostly
// needless: whatever matches (Failed|Invalid).*port 41[0-9]{2} holds "port 41", and one of two words. That is an
// expression over literals,
//
//	("Failed" or "Invalid") and "port 41"
//
// and a text for which it is false cannot match. Two ask for it. The filter of a segment knows of each block which
// n-grams its text holds, and spares the reading of blocks. The matcher looks for the rarest literal with a vectorised
// search, and runs the regular expression only around what it finds.
//
// Words:
//
//   - A literal is bytes that a text holds, as they stand or in either case (Literal).
//   - An expression is a literal, all of several expressions, one of several, any (every text may match) or none (no
//     text does) (Expr).
//   - A text is a record: any bytes, newlines and invalid UTF-8 among them.
//
// # From a substring
//
// A substring is its own literal. Ignoring case is more: the simple folding of Unicode, which the regexp package has
// for (?i), joins k with the Kelvin sign U+212A and s with the long s U+017F, so that "disk" has 36 spellings. A
// folded Literal stands for all of them. A letter outside of ASCII becomes an alternative for each case: ö is "ö" or "Ö".
//
// # From a regular expression
//
// The method is Russ Cox's, "Regular Expression Matching with a Trigram Index" (2012,
// https://swtch.com/~rsc/regexp/regexp4.html). Each part of a regular expression is described from the
// descriptions of its own parts:
//
//   - exactly: a set of literals, one of which the part is; or, where there are too many or endlessly many,
//   - by its edges: a set of literals, with one of which it begins, a set, with one of which it ends, and
//     what else it must hold, an expression.
//
// Concatenation joins: what ends the left part with what begins the right one. So cat(s|fish)? is exactly "cats", "catfish"
// or "cat", and in ab+c the edge "ab" is followed by the edge "bc". What can be anything (.*, a large class) has the empty
// literal for its edges: nothing is known, and what stood before it can grow no more. What is of no width (^, \b) is exactly the empty
// literal, and what stands on both sides of it is joined. Alternation unites. At the end the sets become
// expressions: one of the edges at the front, all of what was stated, one of the edges at the back.
//
// Cox reduces to trigrams, since his index has nothing else. Here literals stay whole: an index takes them apart as
// it likes (Literal.Pieces), and the matcher prefers them long.
//
// The sets are where it could go wrong, so they are bounded, and the question is what to keep. One estimate answers it
// everywhere (Expr.chance): as if each byte of a text were one of four letters, a literal of n bytes is worth
// 2n bits, and a set of c literals log2(c) bits less. Hence ten digits are worth nothing, and are any; five hundred addresses
// are worth a lot, and stay; ten literals that differ in the last byte alone are cut back to what they share.
//
// # What it keeps to
//
//   - If the regexp package finds a match in a text, the expression is true of the text: always, also where a
//     bound was met, also for what is peculiar (a U+FFFD in a pattern equals each invalid byte of a text). The tests' oracle is that package.
//   - An expression has at most a thousand literals and 32 KiB, whatever the pattern; a literal at most 128 bytes. The work
//     to make it is bounded too (work): what does not fit is any, or is left out of an "and".
//   - Expressions are values: nothing changes one once it is made. Any number of goroutines may use it.
//
// The package does not know of grams, indexes or frequencies of bytes, and it does not match: Expr.Match is there for what an
// expression means, and for tests.
package required
