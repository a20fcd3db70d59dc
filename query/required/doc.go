// Package required tells what a text must hold to match a query.
//
// A query is a substring or a regular expression. To run it over every byte that is stored is slow, and mostly
// needless: whatever matches (Failed|Invalid).*port 41[0-9]{2} holds "port 41", and one of two words. That is
// an expression over literals,
//
//	("Failed" or "Invalid") and "port 41"
//
// and a text of which it is not true cannot match. Two ask for it. The filter of a segment knows of each block which
// n-grams its text holds, and spares the reading of most blocks. The matcher looks for the rarest literal with a
// vectorised search, and runs the regular expression only around what it finds.
//
// Words:
//
//   - A text is a record: any bytes, newlines and invalid UTF-8 among them.
//   - A literal is bytes that a text holds, as they stand or in either case (Literal).
//   - An expression is a literal, all of several expressions, one of several, any (every text may match) or
//     none (no text does) (Expr).
//   - A set is several literals of which a text holds at least one (Expr.Sets).
//
// # From a substring
//
// A substring is its own literal. Ignoring case takes more: the simple folding of Unicode, which the regexp package
// has for (?i), joins k with the Kelvin sign U+212A and s with the long s U+017F, so that "disk" has 36 spellings. A
// folded Literal stands for all of them. A letter outside of ASCII becomes an alternative for each case: ö is
// "ö" or "Ö".
//
// # From a regular expression
//
// The method is Russ Cox's, "Regular Expression Matching with a Trigram Index" (2012,
// https://swtch.com/~rsc/regexp/regexp4.html). Each part of a regular expression is described from the
// descriptions of its own parts:
//
//   - exactly, by a set of literals, each text that it matches being one of them; or, where that would be too many,
//     or endlessly many,
//   - by its edges: a set of literals with one of which it begins, a set with one of which it ends, and what else is
//     inside, an expression.
//
// Concatenation joins what ends the left part and what begins the right one. So cat(s|fish)? is exactly "cats", "catfish"
// or "cat"; and in ab+c, where b+ begins and ends with "b", there is "ab" and there is "bc". What can be anything (.*, a large
// class) has the empty literal for its edges: there, joining ends. What has no width (^, \b) is exactly the
// empty literal, and joining goes on across it. Alternation unites. At the end sets become expressions: one of the front edge,
// all that was found inside, one of the back edge.
//
// Cox goes on to trigrams, since his index has nothing else. Here literals stay whole: an index takes
// them apart as it likes (Literal.Pieces), and the matcher prefers them long.
//
// Sets are where it could get out of hand: they are bounded, and the question is what to keep. One estimate answers it: as if
// each byte of a text were one of four letters, a literal of n bytes is worth 2n bits, and a set of c literals log2(c)
// bits less. Ten digits are worth nothing, and are any; five hundred addresses are worth a lot, and stay. Also ten
// literals that differ in the last byte alone are cut back to what they share.
//
// # What it keeps to
//
//   - If the regexp package finds a match in a text, the expression is true of the text: always, also where a bound was
//     met, also in what is peculiar (U+FFFD in a pattern equals each invalid byte of a text). That
//     package is the oracle of the tests.
//   - An expression has at most a thousand literals of 32 KiB together, whatever the pattern, and a literal has at most 128 bytes. The
//     work to make it is bounded too. What is over a bound is any, or is left out of an "and".
//   - Expressions are values: nothing changes one once it is made, and any number of goroutines may use it.
//
// The package knows nothing of grams, of indexes or of which bytes are frequent, and it does not search: Expr.Match
// is there to say what an expression means, and for tests.
//
// To read it: literal.go, expr.go, simplify.go (and, or), set.go, regexp.go.
package required
