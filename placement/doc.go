// Package placement decides where replicas and leaders should be.
//
// [Plan] is a pure function: a snapshot of the cluster and rules in, operators out. [Ranges] is the same function for a caller that
// tells what has changed since the last plan, so that a cluster at rest costs nothing (ranges.go). Every operator
// says why, and which stores were considered and refused; every range that is not as its rule wants it and
// cannot be brought there now has a finding that says why not.
//
// # What is decided, in this order
//
//	repair    voters on stores that are dead, leaving or not allowed; too few or too many voters; two voters
//	          in one failure domain while another is free; non-voting replicas; learners left behind (repair.go)
//	room      replicas move off disks that are nearly full (balance.go)
//	merges    neighbours that are small and cold become one range; the smaller one's replicas are lined up first (merge.go)
//	balance   replicas by number, bytes and write load, if there is nothing to repair (balance.go); where stores have few, two change places (swap.go); what their stores lead is handed over first (ledaway.go)
//	leaders   off stores that drain, to where the rule prefers them, to where their clients are (leaders.go)
//	pressure  leaders of heavy ranges off stores that are short of processors, against their clients (pressure.go)
//	load      leaders by number and by processor time, as far as the clients do not mind (leaders.go)
//
// # Hysteresis
//
// A move for balance begins only where two stores differ by more than a bound, and only if it lowers the
// cluster's imbalance: the sum over all stores and kinds of load of the squared distance from the
// mean. The sum cannot fall for ever, so with a load that holds still the moves end. A leader follows its clients only
// if they are nearer to the other replica by a clear margin, and not right after it has moved. One that has left them, since their node was short of processors,
// follows them again only when there is much room. A store that others ceased to support for a moment has no part in balance or merges for a while (Store.Shaken).
//
// # What it is not
//
// It talks to nobody and does not remember what it decided: internal/node collects reports, tells Ranges on the node
// that leads the meta range, and carries the operators out. It imports nothing of Pamir. placement/simulate
// runs it against a model of a cluster.
//
// # Invariants
//
//  1. Determinism: the same snapshot and rules give the same operators, whether its ranges were kept from earlier plans or not.
//  2. Quiescence: a snapshot in which everything is in place and within the
//     bounds of hysteresis gives none, and carrying out a plan leads there.
//  3. No operator takes a range below a quorum of live replicas.
//  4. Two voters of a range share a failure domain only if no store elsewhere is free, at every tier of the
//     locality, the widest first.
//  5. An operator names the generation it was made for; whoever carries it out
//     refuses it if the range has changed, so a late or repeated operator does nothing.
//  6. A plan, with what is in flight, gives no store more than Limits.Incoming replicas to receive, and none more than
//     Limits.Outgoing to send but those that one range needs at once. What is gentle and in flight, or was begun by others (learners of a range
//     that is changing), does not count against what is not.
//  7. Merges come to an end, and no split follows from one: what is merged is at most two fifths of what is split for its size, a quarter for its load.
//  8. A leader is moved against its clients only off a store that is short of processors, to one that is less busy afterwards than it was, or so that its replica can leave a
//     store that has a quarter more than the mean, and not to another of the widest domains; with a load that holds still and is measured right these moves end.
//  9. What moves replicas for balance, or lines them up for a merge, is gentle (Operator.Gentle), and nothing else.
package placement
