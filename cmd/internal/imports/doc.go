// Package imports holds the rules of who may import whom, as a test over the whole module:
//
//	cmd ──▶ roles ──▶ leaves
//	        ingest, ingest/forward,      objstore (names and bytes)
//	        ingest/stream, query         objstore/segment (bytes and records)
//
// Roles do not import each other, but for ingest, which works on ingest/stream. Leaves do not import each other.
// A library that talks to the outside has one importer, so that one package knows its habits, and exchanging it
// is work in one place. What tests import is freer: they may take any part of the module but the commands.
//
// The rules are tables in the test. A package that is in none of them breaks the test, too: who adds one says
// where it belongs.
package imports
