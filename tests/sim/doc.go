// Package sim runs whole clusters in one process, in virtual time, with everything that can go wrong chosen by a seed: the same
// seed is the same run, event by event.
//
//	go test ./tests/sim -run TestSimulation            a hundred seeds, as in make test
//	go test ./tests/sim -run TestSimulation -v -seed 7 one seed, and the story of what happened (-story 2, 3: more of it)
//	make sim                                           thousands
//
// # What runs
//
// The real range/store, range/routing and txn, put together as internal/node does it. What is simulated is the world around them:
//
//	world.go    a cluster, from its first node to the last checks
//	node.go     machines, and the processes that live and die on them
//	network.go  delay, loss, repetition, overtaking, links that are cut for all traffic or some, answers that never come,
//	            calls that arrive after they were given up
//	clocks.go   what a node makes of the others: who answers soon, their clocks, and whether it is cut off
//	disk.go     a file system that forgets what was not synced; stalls; errors
//	faults.go   the nemesis: crashes, clocks, cuts; profiles say how much of what
//	operators.go
//	            splits, merges, moves of leaders and replicas
//	client.go   transactions: registers, bank, lists, sets, reads of the past on any replica
//	loads.go    transactions too large for their gateway's memory
//	hot.go      rows that all write, and a queue that is filled at its end and emptied from its beginning
//	pauses.go   where they think, for faults to choose from
//	history.go  what they were told, for tests/checkers to judge
//	plant.go    bugs that are planted, to see them caught
//	trace.go    the story, and the hash over all events
//
// A client may be told that something was done, was not, or nothing; the checkers hold the cluster to each. Besides, whatever a
// committed read-only transaction saw as of its timestamp is read again as of then, later and elsewhere: it must be the
// same. When all faults have ended, everybody must get an answer, all locks must go, and all replicas have the same checksum. At
// the very end all versions of all rows are read, and every transaction is held against what was there at its timestamp.
//
// # How a run repeats itself
//
// Goroutines stay as they are in production. Time is that of a testing/synctest bubble: it stands still while anything can run, and then
// goes to the next timer. What is left to chance is the runtime's: which goroutine runs next, which ready case a select takes, in
// which order a map is walked, what math/rand returns. seeded.go changes these places in copies of a few files of the Go
// distribution (named there, each with its reason), which are compiled in by -overlay: all of them draw from one sequence, which the seed
// begins. So a seed chooses not only the faults but the interleaving of goroutines, too. A version of Go in which the
// places look different is refused, not guessed at. The installed distribution stays as it is.
//
// Each run has a process of its own, with one processor and no garbage collection. Addresses differ from process to process, so
// nothing may depend on them; the few places that did (the order in which contexts are cancelled) are changed as well.
// TestSimulation runs some seeds twice and compares the hashes of all events. Verbosity adds events, so
// hashes compare only at the same one.
//
// # What it is not
//
// No SQL, no gRPC, no real disks: tests/faults and tests/chaos have these. Computing takes no virtual time.
//
// # Invariants
//
//  1. The same options give the same run, on any machine of the same platform, whatever else it does.
//  2. Every planted bug is caught by a fixed list of seeds, in less than a minute on a machine that does nothing else.
//  3. Every run ends: what waits for a simulated process waits no longer than that can answer (life.do), and who takes too much of the machine is stopped.
//  4. Nothing here retries a check: what fails once has failed, and its seed shows it again.
package sim
