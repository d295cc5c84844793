// Command bench compares Pamir with PostgreSQL 15 on this machine, in one run, interleaved.
//
// It starts, on loopback and in temporary directories, the systems named by -systems:
//
//	pamir1   one Pamir node
//	pamir3   three Pamir processes, every range on all three
//	pg       one PostgreSQL
//	pgsync   PostgreSQL with two synchronous standbys, ANY 1
//
// and drives each with the unmodified pgbench, round after round: in every round each system
// runs each workload once, so a noisy minute hits all of them. Figures are the median over the
// rounds: transactions a second, mean latency, and server CPU per transaction (user and
// system time of every server process, from /proc). Ratios are what to look at; the absolute numbers
// belong to the machine.
//
// With -what retries it runs transactions that meet each other instead, by clients that repeat what ends with 40001 or 40P01 and
// count it: TPC-B, TPC-B on one branch by clients of all nodes, one hot row, an object mapper's read-modify-write, a bank. Pamir is SERIALIZABLE, with leaders moving and ranges splitting
// every second; PostgreSQL is SERIALIZABLE and READ COMMITTED. What the tables hold in the end is compared with what was acknowledged.
// Then COMMIT is timed by the number of ranges that it writes to, and what a transaction costs the servers is counted: processor time, fsyncs, messages
// (-what commits: this alone).
//
// With -work only workloads of that name run, with -still no leader moves and no range is split, and
//
//	-what retries -work branch -systems pamir3=/tmp/old,pamir3=/tmp/new
//
// compares two binaries, in turns; what a transaction cost the servers is printed with each run.
//
// With -what moves, 32 clients of all nodes write one row, and the leader of its range moves every second: for how long nobody commits then.
//
// Nothing here asserts a time. "make bench" runs it and prints the table.
package main
