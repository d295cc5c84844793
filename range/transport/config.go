package transport

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/credentials"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// WireVersion of the frames between nodes. Nodes of different wire versions do not talk.
const WireVersion = 5

// Handler is what a node does with what it receives. Its methods are called concurrently.
type Handler interface {
	// Send answers a batch.
	Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error)
	// Relay passes a batch on to the leader of its range, for a node that cannot reach it. It must not be relayed again.
	Relay(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error)
	// HandleRaft and HandleHeartbeat take messages in the order in which they were sent;
	// msgs arrived together. They must not block for long. They may keep the bytes of a message, but not msgs.
	HandleRaft(from kv.NodeID, msgs [][]byte)
	HandleHeartbeat(from kv.NodeID, msg []byte)
	// HandleSnapshot reads chunks until io.EOF; its error goes to the sender. It may keep the chunks.
	HandleSnapshot(ctx context.Context, from kv.NodeID, next func() ([]byte, error)) error
	// HandleCall answers a cold call. from is zero if the caller is not (yet) a member.
	HandleCall(ctx context.Context, from kv.NodeID, method string, body []byte) ([]byte, error)
}

// Kind of traffic, for faults and metrics.
type Kind uint8

const (
	KindRaft Kind = iota
	KindControl
	KindBatch
	KindSnapshot
	KindCall
)

var kindNames = [...]string{"raft", "control", "batch", "snapshot", "call"}

// String names the kind.
func (k Kind) String() string { return kindNames[k] }

// Faults decides the fate of frames, for tests and for demonstrations of distance.
type Faults interface {
	// Link is asked for each frame that from is about to send to to. A frame
	// that is delayed stays in order with the frames of its stream.
	Link(from, to kv.NodeID, kind Kind) (drop bool, delay time.Duration)
}

// Identity of this node.
type Identity struct {
	ClusterID   uuid.UUID
	NodeID      kv.NodeID
	Incarnation int64 // start time of the process, ns
}

// Config of a Transport. The zero values of the durations and sizes mean the defaults.
type Config struct {
	Clock   *hlc.Clock
	Decoder kv.PushdownDecoder
	Log     *slog.Logger
	Faults  Faults
	Metrics *Metrics

	// ServerCreds and ClientCreds secure the connections; nil means plain text,
	// which the caller allows on loopback or when told to only.
	ServerCreds, ClientCreds credentials.TransportCredentials

	PingInterval   time.Duration // default 250 ms
	GossipInterval time.Duration // default 1 s; a change is gossiped with the next ping
	PeerTimeout    time.Duration // default 1.5 s
	CutOffAfter    time.Duration // see CutOff; default 1.5 s: others lead by then what this node led
	RaftQueueBytes int           // per peer; default 32 MiB
	MaxInFlight    int           // batches per peer and direction; default 4096
}

const (
	maxMessageBytes = 256 << 20 // of one gRPC message
	maxBatchBytes   = 128 << 20 // of one encoded batch request or response
	maxFlushBytes   = 1 << 20   // a flush takes no further message after this
	maxSnapChunk    = 16 << 20
)

func (c *Config) setDefaults() {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.PingInterval, 250*time.Millisecond)
	def(&c.GossipInterval, time.Second)
	def(&c.PeerTimeout, 1500*time.Millisecond)
	def(&c.CutOffAfter, 1500*time.Millisecond)
	if c.RaftQueueBytes == 0 {
		c.RaftQueueBytes = 32 << 20
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 4096
	}
}
