// Package dfa tells which lines of a text match a regular expression, at the speed of memory rather than that of an NFA.
//
// The answers are those of Go's regexp package for each line by itself, without its newline. How:
//
//	            regexp/syntax         subset construction, as the text asks for it
//	expression ───────────────▶ NFA ──────────────────────────────────────────────▶ table of states ◀── four walks at once
//
// Words:
//
//   - A symbol is a class of runes that no instruction of the NFA tells apart, or the end of the text. Bytes that are
//     ASCII have their class in a table; others are decoded as the regexp package decodes them, so what it
//     makes of invalid UTF-8 is what comes out here.
//   - A state is a set of instructions of the NFA, and a row of the table: the state that follows on each symbol. States are made when
//     a walk first comes to them (Thompson 1968; Cox, "Regular Expression Matching in the Wild", 2010), and dropped all at
//     once when they take too much memory.
//   - A lane is one of four walks through different parts of a text, a byte of each in turn. A walk's next load depends on
//     its last; four of them wait for memory at the same time.
//
// What the package keeps to:
//
//   - In a text of lines the newline is the end of the text for each of them: the
//     transition on it leads to a match or to the first state again, so the loop does nothing at the end of a line.
//   - Memory and time are bounded: compiling by MaxInsts and MaxClasses (ErrTooLarge), matching by MaxMemory. A matcher that
//     makes states faster than it walks gives up and says so. Package regexp is then as fast, and always right.
//   - Nothing is allocated once the states are made.
//
// It says whether a line matches and never where in the line: no captures, no positions, no order of preference. And one answer
// is different: for an expression that begins with \A and a surrogate (^\x{D800}), which is no character, the regexp
// package finds U+FFFD; here it finds nothing.
package dfa
