// Package api answers queries over HTTP.
//
//	request ──▶ token ──▶ parameters ──▶ queue ──▶ query.Runner ──▶ lines ──▶ zstd or gzip ──▶ reader
//	            401, 403   400, 413       429, 503                  │
//	                                                                └─ the first 150 ms are kept back: what is known by then is in the status
//
// What there is, is in openapi.json, which is served, too; a test holds it against the handlers.
//
// Words:
//
//   - A client is the name of a token, or else an address.
//   - A slot is the right to run. A query without one waits in the queue of its client.
//   - A query is aside while its reader takes nothing: it has no slot, and what it holds in memory.
//
// What the package keeps to:
//
//   - An answer is complete if its last line is {"end": ...}: everything else was cut off, or ends with {"error": ...}. An answer
//     that may lack records says so in its status, 206, where that is known before the first byte, else in the trailer Oklog-Partial; always in the last line.
//   - A query that runs for longer than Config.MaxTime ends with what it has found, as a partial answer.
//   - Memory: what the Runner takes for a query, times Config.MaxConcurrent and half as many again for those aside; and of each answer some
//     32 KiB, a line and an encoder. Who waits holds a request.
//   - Nobody waits for ever, and nobody for one other client: see queue. A reader that takes nothing holds back its own query only, and is
//     given up after Config.ReaderWait.
//   - A client that goes away ends its query at once, or leaves the queue.
//   - What is not understood is refused, with the name of the parameter. What comes from a client is bounded before it is read.
//   - Secrets are compared by their hashes, in constant time, and are in no log and no error.
//
// It does not know where records are (query.Runner, Parts), and ends no TLS: whoever listens does.
package api
