// Package recovery makes a cluster serve again whose ranges have lost their majorities for good: of three stores two have burned.
//
// # What it is for
//
// It works on stopped stores, in three steps, each of which can be done on another machine than the one before:
//
//	[Collect]   reads from one store which replicas it has and how far each has got. Changes nothing.
//	[Make]      takes what was collected from all stores that are left and plans: which ranges have lost their majority, which replica of
//	            each goes on alone, and what may be missing there.
//	[Apply]     does on one store what the plan says of it.
//
// # What it is not
//
// It is no repair of a cluster that works, and no backup: what was on the lost stores only is lost. Consensus promises that an acknowledged write is
// on a majority; a minority may not have all of them. A transaction over several ranges may be there in one and missing in another.
//
// # How a range goes on
//
// The replica whose log ends last, by term and then index, is chosen: whatever any other survivor knows to be committed is in its log. Its log
// is taken to be committed to the end, and applied by the store's own code, so that splits and changes of replicas in it take
// effect. Then the range's descriptor is replaced by one with this replica as the only voter, of a generation far beyond
// any that a lost replica can have seen. The range elects itself when its store starts, and brings the meta range up to date, as after any change.
//
// An entry that would remove the chosen replica from its range ends what is applied: it cannot have taken effect, for the store that is left
// would not have got what came after it.
//
// # Where nothing is left
//
// A span of which no store has a replica stays as it is, unless the plan says otherwise (Plan.MakeAnew): then one store gets an empty range there, as the only
// voter, with the number of a lost one and a generation beyond those that the meta range knows, so that it takes their place there. It refuses
// reads of the time before, and answers of no transaction that was sent before what became of it.
//
// A meta range that has a majority is not written to. Each store gets a note of the lost nodes instead, and its node has them noted as having left when it runs.
//
// # Invariants
//
//  1. Nothing is planned if every range has a majority, if stores are of different clusters, or if a store is there twice.
//  2. A store that is open in another process is neither read nor changed.
//  3. Apply refuses a store that has changed since the plan was made. Doing it again, after a crash as well, comes to the same.
//  4. The cluster gets a new id: a lost store that turns up later, with replicas that could still outvote the survivors, is refused as one of
//     another cluster, and so is a survivor on which the plan was not carried out.
//  5. Ids of nodes, stores and ranges that a lost store may have been given are not given again.
//     Lost nodes count as having left for good.
//  6. The last thing that is written to a store is its identity, together with its descriptors, in one synced batch. A note is heeded only by a
//     node whose store has the identity that came with it.
//  7. Nothing is made anew where any store has a replica, however old, and nothing of the catalog.
//
// # Who may use it
//
// cmd/pamir and tests; internal/node reads the note.
package recovery
