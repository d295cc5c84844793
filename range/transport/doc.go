// Package transport carries messages between the nodes of one cluster.
//
// # What it is for
//
// Every pair of nodes keeps two gRPC connections (one for consensus and
// heartbeats, one for key-value batches and snapshots) and on them a few long-lived streams
// with a raw-bytes codec:
//
//	raft      consensus messages, one way; queue bounded in bytes, dropped when full
//	control   store heartbeats, pings and gossip of the address book
//	batch     key-value batches, multiplexed by request id, with cancellation
//	snapshot  one stream a snapshot, with an answer at the end
//	call      unary, for cold administration (join, lock holder queries, ...)
//
// Each flush of a queue is one gRPC message, however many messages of ours it holds.
//
// # What it is not
//
// It does not know what a consensus message, a heartbeat or a snapshot says
// (range/store), which node leads a range (range/routing), or what a node does
// about a request (the [Handler]). It retries nothing.
//
// # Invariants
//
//  1. One cluster: a stream of a node of another cluster, of another wire
//     version, or one that means another node is refused with a message that says so.
//  2. A request that fails with CodeUnavailable has certainly not been sent; one
//     whose connection broke after that fails with CodeUnknownOutcome.
//  3. Nothing is unbounded: queues in bytes, requests in flight by number.
//     Whoever calls SendRaft or SendHeartbeat is never blocked.
//  4. Messages of one queue arrive in order, or not at all after the first that is lost.
//  5. Every frame carries a clock reading. A reading that is ahead of this node's
//     physical clock by more than the maximum offset, or by more than twice that if it
//     comes from a node whose own clock is within it, is not believed: the frame is
//     not delivered, except on the control stream, where the offset is measured.
//  6. Silence of a peer for longer than Config.PeerTimeout, or less if it is suspected, breaks its
//     streams, so that no request waits for a node that is gone.
//
// # Who may use it
//
// range/store and range/routing through interfaces that they declare, and internal/node, which
// owns the [Transport].
package transport
