package sql

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/sql/advisory"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/job"
	"github.com/pamirdb/pamir/sql/pgcatalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/statistics"
	"github.com/pamirdb/pamir/txn"
)

// Setting is a name and a value, as SET has them.
type Setting struct{ Name, Value string }

// SessionArgs is what a client says when it comes.
type SessionArgs struct {
	User, Database string
	// Settings of the startup packet, "options" among them.
	Settings []Setting
	PID      int32
	Remote   string
	// Encryption of the connection; nil if it has none.
	Encryption *Encryption
	// HangUp ends the session's connection; nil if there is none. It may be called from any goroutine.
	HangUp func()
}

// Config of a Server. Gateway and Catalog are required.
type Config struct {
	Gateway txn.Gateway
	Catalog *catalog.Store
	// Bulk is for backfills and COPY into tables that nobody sees yet; may be nil.
	Bulk exec.BulkWriter
	// Closed is the timestamp up to which the replicas of this node serve reads of the past; nil: not known.
	Closed func() hlc.Timestamp
	// Database is the database's name (default "defaultdb").
	Database string
	// Memory bounds what all statements use together; nil: no bound.
	Memory *exec.Budget
	// Cluster is operated on by the functions of schema pamir; nil: they say that there is none.
	Cluster Cluster
	// Node is this node's number, for generated row ids.
	Node int32
	// TempDir is where operators spill; empty means that they may not.
	TempDir string
	Log     *slog.Logger
	// IndexChunk is how many rows a piece of an online index build has (0: a default), AfterIndexChunk is called after each
	// of them; both for tests.
	IndexChunk      int
	AfterIndexChunk func()
	// Certificates: the node has them. Insecure: it was told to do without beyond loopback. They choose the rules of who may connect, where
	// the cluster has none of its own.
	Certificates, Insecure bool
}

// DefaultDatabase is the database of a cluster.
const DefaultDatabase = "defaultdb"

// maintenanceDatabase is where PostgreSQL's tools and many drivers connect to if they are not told where. It is another name for the cluster's
// database, to connect by: everything else, the rules of who may connect included, sees the database's own name.
const maintenanceDatabase = "postgres"

// databaseName is the database that a client means.
func (srv *Server) databaseName(asked string) string {
	if asked == maintenanceDatabase {
		return srv.cfg.Database
	}
	return asked
}

// RootRole is the role that every cluster has.
const RootRole = "root"

// Server is the SQL side of a node. It is safe for concurrent use.
type Server struct {
	cfg     Config
	plans   *planCache
	metrics Metrics
	jobs    *job.Table
	sizes   *tableSizes
	gather  *statistics.Gatherer
	noted   func(t *catalog.Table, rows int64) // gather.Note, made once
	// lastOverlay is the system relations over the catalog version used last.
	lastOverlay atomic.Pointer[pgcatalog.Overlay]
	// lastRules are the cluster's connection rules, parsed.
	lastRules atomic.Pointer[parsedRules]

	mu       sync.Mutex
	sessions map[int32]*Session
	lastPID  atomic.Int32
	// incarnation tells this process from others of the same node.
	incarnation int64
	advisory    *advisory.Locks
	lastXact    atomic.Int64 // time of the last transaction id, µs
}

// NewServer makes a server. It owns no goroutines: sessions are driven by their callers.
func NewServer(cfg Config) *Server {
	if cfg.Database == "" {
		cfg.Database = DefaultDatabase
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	srv := &Server{cfg: cfg, plans: newPlanCache(), sessions: map[int32]*Session{}}
	srv.sizes = &tableSizes{srv: srv}
	srv.gather = statistics.New(statistics.Config{Gateway: cfg.Gateway, Catalog: cfg.Catalog, Database: cfg.Database, Memory: cfg.Memory, TempDir: cfg.TempDir,
		Node: cfg.Node, Log: cfg.Log})
	srv.noted = srv.gather.Note
	srv.jobs = &job.Table{Gateway: cfg.Gateway, Counters: cfg.Catalog.Counters(), Node: cfg.Node}
	srv.incarnation = time.Now().UnixNano()
	srv.advisory = srv.newAdvisory()
	return srv
}

// Metrics returns the server's counters.
func (srv *Server) Metrics() *Metrics { return &srv.metrics }

// Statistics is what counts tables for the planner.
func (srv *Server) Statistics() *statistics.Gatherer { return srv.gather }

// Session returns an open session by its process id.
func (srv *Server) Session(pid int32) (*Session, bool) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	s, ok := srv.sessions[pid]
	return s, ok
}

// Sessions returns what every open session is doing.
func (srv *Server) Sessions() []Info {
	srv.mu.Lock()
	open := make([]*Session, 0, len(srv.sessions))
	for _, s := range srv.sessions {
		open = append(open, s)
	}
	srv.mu.Unlock()
	infos := make([]Info, len(open))
	for i, s := range open {
		infos[i] = s.Info()
	}
	return infos
}

func (srv *Server) register(s *Session) error {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if s.pid == 0 {
		s.pid = srv.newPID() // sessions in process have no wire front end to number them
	}
	if _, ok := srv.sessions[s.pid]; ok {
		return pgerr.New(pgerr.InternalError, "process id %d is taken", s.pid)
	}
	srv.sessions[s.pid] = s
	s.adv.Init(srv.advisory, s.pid)
	return nil
}

func (srv *Server) unregister(s *Session) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.sessions[s.pid] == s {
		delete(srv.sessions, s.pid)
	}
}

// NewCatalog makes the catalog store that a Server needs: one that knows the system relations.
func NewCatalog(counters catalog.Counters) *catalog.Store {
	return catalog.NewStore(catalog.Options{Counters: counters, VirtualSchemas: pgcatalog.Schemas(), VirtualTables: pgcatalog.AllTables()})
}
