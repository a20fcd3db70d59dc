// Package dfa tells which lines of a text match a regular expression, at the speed of a table rather than that of an NFA.
//
// The answers are those of Go's regexp package for each line by itself, without its newline. How:
//
//	            regexp/syntax          subsets, as the text asks for them
//	expression ───────────────▶ NFA ─────────────────────────────────────▶ table of states ◀── four walks at once
//
// Words:
//
//   - A state is a set of instructions of the NFA with up to three bytes of a rune that is not yet whole. It is a row of the table:
//     the state that follows on each byte. States are made when a walk first comes to them (Cox, "Regular Expression Matching in
//     the Wild", 2010), and dropped all at once when they take too much memory.
//   - A column stands for the end of the text, for a class of ASCII characters that no instruction of the NFA tells apart, or for
//     one of the other bytes.
//   - A lane is one of four walks through different parts of a text, a byte of each in turn. Each load of a walk depends on
//     the one before; four walks wait for theirs at the same time.
//
// What the package keeps to:
//
//   - Runes are what utf8.DecodeRune makes of the bytes, as in the regexp package, when a state is made: what is not
//     UTF-8 is U+FFFD, byte by byte. The walk itself decodes nothing.
//   - In a text of lines the newline is the end of the text for each of them: it leads to a match or to the
//     first state again, so the walk does nothing at the end of a line.
//   - Memory and time are bounded: compiling by MaxInsts (ErrTooLarge), matching by MaxMemory. A matcher that makes states about as
//     fast as it walks gives up, and leaves the next texts alone too; package regexp is then as fast, and takes everything.
//   - Nothing is allocated once the states are made.
//
// It says whether a line matches and never where in the line: no captures, no positions, no order of preference. One answer
// is different: for an expression that begins with \A and a surrogate (^\x{D800}), which is no character, the regexp
// package finds U+FFFD; here it finds nothing.
package dfa
