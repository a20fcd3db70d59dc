// Package embedded runs a real nats-server inside the process: what `oklog up` keeps its
// stream in, and what the tests of the stream adapter talk to.
//
// It is the only importer of nats-server, and apart from package stream so that a program that only
// speaks to a server does not link one.
//
// Invariants:
//
//   - A publish is acked after an fsync (SyncAlways). Batches are large and
//     compressed, so that this costs little, and a machine that loses its power loses no acked batch.
//   - Nothing here ends the process: what nats-server calls fatal is an error of Start.
//
// It refuses to form clusters, to read nats-server's configuration files and to listen on more than
// one address: who needs that runs nats-server itself and passes --nats.
package embedded
