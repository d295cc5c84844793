package sql

import (
	"sync/atomic"
	"time"
)

// Info is what a session does, for pg_stat_activity.
type Info struct {
	PID                      int32
	User, Database           string
	Application              string
	Remote                   string
	Started                  time.Time
	TxnStarted, QueryStarted time.Time
	StateSince               time.Time
	// State as in pg_stat_activity.
	State string
	Query string
	// Xid is the transaction's id if it has asked for it, else 0.
	Xid int64
	// NextXid is the id that was announced for its next transaction that writes (pamir.report_xact_id), else 0.
	NextXid int64
	// Encryption of its connection; nil if it has none.
	Encryption *Encryption
	// Advisory is the advisory lock that it waits for; nil if it does not.
	Advisory *AdvisoryWait
	// FirstRead is the session whose read of a row it waits for, before it reads the row itself (pamir.lock_reads); 0 if it does not.
	FirstRead int32
}

// Encryption is what pg_stat_ssl tells of a connection with TLS. The last three are empty if the client has shown no certificate.
type Encryption struct {
	Version, Cipher                  string // "TLSv1.3", "TLS_AES_128_GCM_SHA256"
	Bits                             int
	ClientDN, ClientSerial, IssuerDN string
}

// Info returns what the session does. From any goroutine.
func (s *Session) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}

func (s *Session) setApplication(name string) {
	s.mu.Lock()
	s.info.Application = name
	s.mu.Unlock()
}

// setActive notes the start of a statement.
func (s *Session) setActive(text string, now time.Time) {
	s.mu.Lock()
	s.info.State = "active"
	s.info.Query = text
	s.info.QueryStarted, s.info.StateSince = now, now
	if s.info.TxnStarted.IsZero() {
		s.info.TxnStarted = now
	}
	s.mu.Unlock()
}

// setIdle notes the end of a command.
func (s *Session) setIdle() {
	state := "idle"
	switch s.block {
	case blockOpen:
		state = "idle in transaction"
	case blockFailed:
		state = "idle in transaction (aborted)"
	}
	s.mu.Lock()
	s.info.State = state
	s.info.StateSince = time.Now()
	if s.block == blockIdle {
		s.info.TxnStarted = time.Time{}
	}
	s.mu.Unlock()
}

// Metrics of a Server, to be read at any time.
type Metrics struct {
	Sessions   atomic.Int64 // open now
	Statements atomic.Int64
	Errors     atomic.Int64
	Commits    atomic.Int64
	Rollbacks  atomic.Int64
	PlanHits   atomic.Int64
	PlanMisses atomic.Int64
	// ReadsLocked counts reads that took locks unasked (pamir.lock_reads).
	ReadsLocked atomic.Int64
	// FirstReadWaits counts reads that have waited for a block that had read the same row, before it was known whether such blocks write what they have read.
	FirstReadWaits atomic.Int64
	// Retries the client did not see, and those it did (40001), by reason (kv code).
	Retries atomic.Int64
	Aborts  [32]atomic.Int64
	// RetriesBy splits Retries by what was run again (ScopeNames) and by reason (kv code).
	RetriesBy [numScopes][32]atomic.Int64
	// Latency counts statements by duration: bucket i holds those below Bounds[i].
	Latency [len(LatencyBounds) + 1]atomic.Int64
	// LatencySum is in nanoseconds.
	LatencySum atomic.Int64
}

// LatencyBounds are the upper bounds of Metrics.Latency's buckets.
var LatencyBounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
}

func (m *Metrics) observe(d time.Duration) {
	i := 0
	for i < len(LatencyBounds) && d >= LatencyBounds[i] {
		i++
	}
	m.Latency[i].Add(1)
	m.LatencySum.Add(int64(d))
	m.Statements.Add(1)
}
