// Command quiet measures what ranges cost that nobody asks anything.
//
// It starts three Pamir processes on loopback, every range on all three, and measures them: with the ranges that a new cluster has,
// and then with as many as -ranges says, one number after the other. A table is cut into ranges by pamir.split_at, by several
// connections at once, from the middle outwards. It waits until every replica says that it is quiet and leaders have ceased to move,
// reads counters for -idle, and then kills all three with SIGKILL, starts them again and looks how soon they serve.
//
// What the table shows:
//
//	ranges     of the cluster; each node has a replica of all of them
//	split/s    ranges made per second
//	heap       bytes in use after a collection, less those of the new cluster, per replica: the worst of the nodes
//	goroutines of the node that has the most
//	CPU        user and system time of a process, in percent of one core: the median of the nodes, and the worst (which drives placement)
//	raft/s     Raft messages sent by all nodes: what there is per range
//	frames/s   messages of any kind sent by all nodes; those of stores do not depend on the number of ranges
//	bytes/s    of those
//	wake ms    the first write to an idle range, at a gateway that knows where it is: the median of 50
//	query s    after the restart, until a row of an idle range is read, at any of the nodes
//	all s      and until every range has been read from
//
// With -profile it leaves a CPU and a heap profile of each node there. Nothing here asserts a time. "make quiet" runs it.
package main
