// Package where tells which records an expression over their text and their fields holds of.
//
//	level=error AND status>=500 AND NOT path=~/^\/health/
//	"connection reset" (host=~/^web[0-9]/i OR user.id=17)
//	exists(trace_id) items[].price>100
//
//	text ──▶ Parse ──▶ Expr ──┬─▶ Required   what a record must hold: filters are asked for it
//	                          ├─▶ Program    finds, in whole blocks, the records that may be meant
//	                          └─▶ Matcher    looks at one record, and tells
//
// # What can be written
//
//	a b, a AND b, a && b     both hold
//	a OR b, a || b           one of them does
//	NOT a, !a                it does not
//	( … )                    together; else NOT binds most, then AND, then OR
//
//	word  "a text"  'a text'     the record holds it, as it stands
//	/regex/  /regex/i            the record matches it (RE2, anywhere in it; i: in any case); \/ is a slash
//
//	field=value   field!=value   the field's text, or its number, is the value
//	field<value   <=  >  >=      it is less, …
//	field=~/re/   field!~/re/    its text matches, anywhere in it; also field=~"re"
//	contains(field, "text")      its text holds that
//	exists(field)                the record has it, whatever its value
//
// AND, OR, NOT, exists and contains may be written in any case; to look for such a word, quote it. In quotes, \" \' \\ \/ \n \r \t \b \f,
// \u1234 and \x12 are escapes. Behind =~ a quoted text is the regular expression as it stands, but for \ before a quote.
//
// A field is a path: user.id, items[0].price, items[].price (of some element), "a.b".c (of a key with a dot). It may begin with a dot.
//
// # What has fields
//
// A record whose first byte that is no space is { is JSON. Every other one is logfmt: key=value, key="a \"quoted\" value",
// and a key by itself, whose value is empty. So the words of plain text are keys, of which nothing is true but that they exist and are "".
//
// A path leads through objects and arrays. Where it leads nowhere, the rest of it as one key does: http.status is also {"http.status":200}, and
// http.status=200 in logfmt. The first of several equal keys counts under which there is what the path asks for; with [], all that is
// found does. A record need not be sound: what stands before the damage counts, so that a record that was cut still has the fields of its beginning. What is no value of JSON, such as NaN or None,
// is as if it were not there.
//
// # What is compared
//
// A field's text is the string, decoded, or the number, true, false or null as it is written. An object and an array have
// no text: they exist, and nothing else is true of them. So it is with a field that is not there, which does not even exist.
//
//   - With a value that is a number and not in quotes the number is compared: status=500 holds of 500, 5e2, 500.0 and of "500", for many loggers
//     write numbers as strings. It is compared digit by digit: 9007199254740993 is not 9007199254740992. A text that is no
//     number is not equal to it, nor less, nor more.
//   - With any other value the text is compared, byte by byte: status="500" holds of 500 and not of 5e2; time>="2026-11-25T10" holds of what
//     sorts behind it; ok=true and x=null hold of the words, be they in quotes or not.
//   - With [] one element suffices: items[].price>100 says that some item costs more.
//   - != and !~ are NOT of = and =~. They hold where the field is not there, and items[].x!=1 says that no element is 1.
//
// # What it keeps to
//
//   - What Required says is true of every record that the expression holds of, however its strings are escaped: see require.go. It names texts of
//     six bytes and more, of values or else of keys. Of a number it is the key, since 500 may be 5e2; user.id="1234567" asks filters for the value.
//   - Parsing is bounded: MaxText bytes, MaxDepth levels, MaxTerms terms, and as many regular expressions as MaxRegexes. Errors are ErrExpr, one
//     line, with the byte where the mistake is and what was expected.
//   - Evaluating takes one pass over the record, which ends when all fields are found. It goes down only where a path leads, so that
//     no record is too deep; it makes nothing of what it passes, and allocates nothing once its buffers are large enough.
//
// It does not know about blocks or queries, changes no record and prints nothing.
//
// To read it: expr.go, parse.go, path.go; matcher.go, with scan.go (what is in a record) and number.go below it; require.go.
package where
