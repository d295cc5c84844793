package sql

import (
	"cmp"
	"context"
	"maps"
	"net"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/advisory"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/types"
)

// What sessions, transactions and locks there are in the whole cluster. Each node tells of its own sessions, of the
// transactions that it coordinates and of the locks in the ranges that it leads; whoever is asked puts them together.

// NodeActivity is what one node tells.
type NodeActivity struct {
	Node       kv.NodeID
	Sessions   []Info
	Txns       []TxnActivity
	Locks      []LockActivity
	Contention []ContentionEvent
	Retries    []RetryCount
	// Commits and Rollbacks of this node's sessions since it started.
	Commits, Rollbacks int64
}

// TxnActivity is a transaction that holds locks or commits.
type TxnActivity struct {
	ID     kv.TxnID
	Since  int64 // of its first attempt, wall ns
	Status kv.TxnStatus
	Anchor keys.Key
	Waits  []TxnWait
}

// TxnWait is one key at which a transaction waits.
type TxnWait struct {
	Key     keys.Key
	Holders []kv.TxnID
	Since   time.Time
}

// LockActivity is a lock, or somebody who waits for one, in a range that the node leads.
type LockActivity struct {
	RangeID  kv.RangeID
	Key      keys.Key
	Txn      kv.TxnID // zero for a write without transaction
	Gateway  kv.NodeID
	Strength kv.LockStrength
	Granted  bool
	Prepared bool
}

// ContentionEvent is a wait for a lock that is over.
type ContentionEvent struct {
	Waiter  kv.TxnID
	Key     keys.Key
	Holders []kv.TxnID
	Began   time.Time
	Waited  time.Duration
}

// RetryCount is how often the server ran something again for a reason, and how often the client was told instead.
type RetryCount struct {
	Scope, Cause string
	Retried      int64
	Visible      int64
}

// Signals that sessions send each other.
const (
	SignalCancel    = "cancel"
	SignalTerminate = "terminate"
)

// Signal answers.
const (
	SignalSent    = "sent"
	SignalUnknown = "unknown" // there is no such session
	SignalRefused = "refused" // the sender may not
)

// Signal interrupts or ends a session of this node on behalf of a user.
func (srv *Server) Signal(pid int32, signal, user string, superuser bool) string {
	other, ok := srv.Session(pid)
	switch {
	case !ok:
		return SignalUnknown
	case !superuser && !srv.maySignal(user, other.authUser):
		return SignalRefused
	case signal == SignalTerminate:
		other.HangUp()
	default:
		other.Cancel()
	}
	return SignalSent
}

// pidBits is how much of a process id counts the sessions of one node; the rest names the node.
const (
	pidBits  = 20
	pidNodes = 1 << (31 - pidBits)
)

// NewPID returns a process id that no other session of the cluster has: it names the node (modulo 2048).
func (srv *Server) NewPID() int32 {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return srv.newPID()
}

func (srv *Server) newPID() int32 {
	for {
		n := srv.lastPID.Add(1) & (1<<pidBits - 1)
		pid := (srv.cfg.Node%pidNodes)<<pidBits | n
		if _, taken := srv.sessions[pid]; n != 0 && !taken {
			return pid
		}
	}
}

// PIDOn reports whether a process id names a session of that node.
func PIDOn(pid int32, node kv.NodeID) bool { return pid>>pidBits == int32(node)%pidNodes }

// LocalActivity fills in what this node's sessions do and have done.
func (srv *Server) LocalActivity(a *NodeActivity) {
	m := &srv.metrics
	a.Sessions, a.Retries, a.Commits, a.Rollbacks = srv.Sessions(), m.retryCounts(), m.Commits.Load(), m.Rollbacks.Load()
}

func (m *Metrics) retryCounts() []RetryCount {
	var out []RetryCount
	cause := func(i int) string {
		if i == len(m.Aborts)-1 {
			return "results changed"
		}
		return kv.Code(i).String()
	}
	for scope := range m.RetriesBy {
		for i := range m.RetriesBy[scope] {
			if n := m.RetriesBy[scope][i].Load(); n > 0 {
				out = append(out, RetryCount{Scope: ScopeNames[scope], Cause: cause(i), Retried: n})
			}
		}
	}
	for i := range m.Aborts {
		if n := m.Aborts[i].Load(); n > 0 {
			out = append(out, RetryCount{Scope: "client", Cause: cause(i), Visible: n})
		}
	}
	return out
}

// activity asks all nodes. Those that do not answer are named in a warning: what they do is missing.
func (s *Session) activity() []NodeActivity {
	c := s.srv.cfg.Cluster
	if c == nil {
		a := NodeActivity{Node: kv.NodeID(s.srv.cfg.Node)}
		s.srv.LocalActivity(&a)
		return []NodeActivity{a}
	}
	all, silent := c.Activity(s.ctx)
	for _, n := range silent {
		s.warn("01000", "node %d does not answer: its sessions, transactions and locks are missing", n)
	}
	slices.SortFunc(all, func(a, b NodeActivity) int { return int(a.Node) - int(b.Node) })
	return all
}

func (s *Session) activityRows() [][]*string {
	all := s.activity()
	waits := map[int32]bool{}
	for _, w := range rowWaits(all) {
		waits[w.waiter.Session()] = true
	}
	var infos []Info
	for i := range all {
		infos = append(infos, all[i].Sessions...)
	}
	sort.Slice(infos, func(i, j int) bool { return infos[i].PID < infos[j].PID })
	var rows [][]*string
	for _, in := range infos {
		var addr, port, waitType, waitEvent, xid *string
		if h, p, err := net.SplitHostPort(in.Remote); err == nil {
			addr, port = &h, &p
		}
		switch {
		case in.Advisory != nil:
			waitType, waitEvent = str("Lock"), str("advisory")
		case (waits[in.PID] || in.FirstRead != 0) && in.State == "active":
			waitType, waitEvent = str("Lock"), str("tuple")
		case strings.HasPrefix(in.State, "idle"):
			waitType, waitEvent = str("Client"), str("ClientRead")
		}
		if in.Xid != 0 {
			xid = str(strconv.FormatUint(uint64(uint32(in.Xid)), 10))
		}
		row := []*string{str("16383"), str(in.Database), str(strconv.Itoa(int(in.PID))), nil, str(s.roleOID(in.User)), str(in.User), str(in.Application), addr, nil, port,
			stamp(in.Started), stamp(in.TxnStarted), stamp(in.QueryStarted), stamp(in.StateSince), waitType, waitEvent, str(in.State), xid, nil, nil, str(in.Query), str("client backend")}
		if !s.hasRole(in.User) && !s.hasRole(role.ReadStats) {
			for i := 6; i < len(row)-1; i++ {
				row[i] = nil
			}
			row[len(row)-2] = str("<insufficient privilege>")
		}
		rows = append(rows, row)
	}
	return rows
}

// roleOID is a role's oid as text.
func (s *Session) roleOID(name string) string {
	if r, ok := s.known.Get(name); ok {
		return strconv.FormatUint(uint64(r.OID), 10)
	}
	return "10"
}

var lockModes = [...]string{"AccessShareLock", "RowShareLock", "RowShareLock", "RowExclusiveLock", "RowExclusiveLock"}

// lockStrengths are the four row locks as SELECT ... FOR spells them, and a read that waits for a prepared write.
var lockStrengths = [...]string{"read", "key share", "share", "no key update", "update"}

// lockRows is pg_locks: row locks held and waited for (locktype tuple, whose row pamir.locks names), and advisory locks.
func (s *Session) lockRows() [][]*string {
	all := s.activity()
	snap, err := s.snapshot(s.ctx)
	if err != nil {
		return nil
	}
	since := map[kv.TxnID]time.Time{}
	for i := range all {
		for _, t := range all[i].Txns {
			for _, w := range t.Waits {
				since[t.ID] = w.Since
			}
		}
	}
	prepared := s.prepared(all)
	var rows [][]*string
	for i := range all {
		for _, l := range all[i].Locks {
			var relation, pid, wait *string
			if t, _ := indexOfKey(snap, l.Key); t != nil {
				relation = str(strconv.FormatUint(uint64(t.ID), 10))
			}
			if p := sessionOf(l.Txn, prepared); p != 0 {
				pid = str(strconv.Itoa(int(p)))
			}
			if at, ok := since[l.Txn]; ok && !l.Granted {
				wait = stamp(at)
			}
			rows = append(rows, []*string{str("tuple"), str("16383"), relation, nil, nil, nil, nil, nil, nil, nil, opt(txnText(l.Txn)), pid,
				str(lockModes[min(int(l.Strength), len(lockModes)-1)]), pgBool(l.Granted), str("f"), wait})
		}
	}
	return append(rows, s.advisoryLockRows(all)...)
}

func txnText(id kv.TxnID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

func int4Array(vs []int32) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, v := range vs {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(int(v)))
	}
	return b.String() + "}"
}

// keyColumns are schema, table, index and key of a key as the views of schema pamir show them.
func (s *Session) keyColumns(snap catalog.Snapshot, k keys.Key) []*string {
	names := s.keyNames(snap)
	schema, table, index := names.Owner(k)
	return []*string{opt(schema), opt(table), opt(index), str(names.Pretty(k))}
}

// observedRows yields those relations of schema pamir that tell of transactions and locks.
func (s *Session) observedRows(relation string) ([][]*string, error) {
	snap, err := s.snapshot(s.ctx)
	if err != nil {
		return nil, err
	}
	all := s.activity()
	prepared := s.prepared(all)
	var rows [][]*string
	num := func(v int64) *string { return str(strconv.FormatInt(v, 10)) }
	pid := func(id kv.TxnID) *string {
		if p := sessionOf(id, prepared); p != 0 {
			return num(int64(p))
		}
		return nil
	}
	held := maps.Clone(prepared)
	for i := range all {
		a := &all[i]
		node := num(int64(a.Node))
		switch relation {
		case "transactions":
			by := map[int32]*Info{}
			for j := range a.Sessions {
				by[a.Sessions[j].PID] = &a.Sessions[j]
			}
			for _, t := range a.Txns {
				var query, app, user, anchor *string
				if in := by[t.ID.Session()]; in != nil {
					query, app, user = str(in.Query), str(in.Application), str(in.User)
				}
				if len(t.Anchor) > 0 {
					anchor = str(s.keyNames(snap).Pretty(t.Anchor))
				}
				var waits []int32
				for _, w := range t.Waits {
					for _, h := range w.Holders {
						waits = append(waits, sessionOf(h, prepared))
					}
				}
				rows = append(rows, []*string{node, str(t.ID.String()), pid(t.ID), user, app, stamp(time.Unix(0, t.Since)),
					str(txnStatusNames[min(int(t.Status), len(txnStatusNames)-1)]), anchor, pgBool(len(t.Waits) > 0), str(int4Array(waits)), query})
				delete(held, t.ID)
			}
		case "locks":
			for _, l := range a.Locks {
				row := append([]*string{node, num(int64(l.RangeID))}, s.keyColumns(snap, l.Key)...)
				rows = append(rows, append(row, opt(txnText(l.Txn)), num(int64(l.Gateway)), pid(l.Txn),
					str(lockStrengths[min(int(l.Strength), len(lockStrengths)-1)]), pgBool(l.Granted), pgBool(l.Prepared)))
			}
		case "contention_events":
			for _, e := range a.Contention {
				var holders []int32
				for _, h := range e.Holders {
					holders = append(holders, h.Session())
				}
				row := append([]*string{node, stamp(e.Began), str(strconv.FormatFloat(float64(e.Waited.Microseconds())/1000, 'f', 3, 64))}, s.keyColumns(snap, e.Key)...)
				rows = append(rows, append(row, pid(e.Waiter), str(int4Array(holders)), str(e.Waiter.String())))
			}
		case "transaction_retries":
			for _, r := range a.Retries {
				rows = append(rows, []*string{node, str(r.Scope), str(r.Cause), num(r.Retried), num(r.Visible)})
			}
		}
	}
	if relation == "transactions" {
		for _, id := range slices.SortedFunc(maps.Keys(held), func(a, b kv.TxnID) int { return cmp.Compare(a.Start(), b.Start()) }) {
			p := held[id]
			rows = append(rows, []*string{num(int64(p.Meta.Gateway)), str(id.String()), nil, str(p.Owner), nil, stamp(time.Unix(0, id.Start())), str(txnStatusNames[kv.TxnPrepared]),
				str(s.keyNames(snap).Pretty(p.Meta.Anchor)), pgBool(false), str(int4Array(nil)), str("PREPARE TRANSACTION " + expr.QuoteLiteral(p.GID))})
		}
	}
	return rows, nil
}

var txnStatusNames = [...]string{"running", "staging", "committed", "aborted", "prepared", "running"}

// sendSignal interrupts or ends a session anywhere in the cluster, and returns its answer.
func (s *Session) sendSignal(pid int32, signal string) (string, error) {
	if c := s.srv.cfg.Cluster; c != nil && pid > 0 && !PIDOn(pid, kv.NodeID(s.srv.cfg.Node)) {
		answer, err := c.Signal(s.ctx, pid, signal, s.user, s.superuserNow())
		return answer, s.translate(err)
	}
	return s.srv.Signal(pid, signal, s.user, s.superuserNow()), nil
}

// terminate is pg_terminate_backend. It waits for the end of the session for so many milliseconds.
func (s *Session) terminate(pid int32, wait int64) (types.Datum, error) {
	if wait < 0 {
		return types.Datum{}, pgerr.New(pgerr.NumericValueOutOfRange, "\"timeout\" must not be negative")
	}
	ok, err := s.signal(pid, SignalTerminate)
	if err != nil || ok.I == 0 || wait == 0 {
		return ok, err
	}
	for end := time.Now().Add(time.Duration(wait) * time.Millisecond); ; {
		answer, err := s.sendSignal(pid, SignalTerminate) // there is nobody to get it once the session is gone
		if err != nil || answer != SignalSent {
			return ok, err
		}
		left := time.Until(end)
		if left <= 0 {
			break
		}
		if err := s.sleep(min(left.Seconds(), 0.02)); err != nil {
			return types.Datum{}, err
		}
	}
	unit := "milliseconds"
	if wait == 1 {
		unit = "millisecond"
	}
	s.warn("01000", "backend with PID %d did not terminate within %d %s", pid, wait, unit)
	return types.NewBool(false), nil
}

// signal is sendSignal for pg_cancel_backend and pg_terminate_backend.
func (s *Session) signal(pid int32, signal string) (types.Datum, error) {
	answer, err := s.sendSignal(pid, signal)
	if err != nil {
		return types.Datum{}, err
	}
	switch answer {
	case SignalSent:
		return types.NewBool(true), nil
	case SignalRefused:
		what := "query is being canceled"
		if signal == SignalTerminate {
			what = "process is being terminated"
		}
		return types.Datum{}, pgerr.New(pgerr.InsufficientPrivilege, "must be a member of the role whose %s or member of pg_signal_backend", what)
	}
	s.warn("01000", "PID %d is not a PostgreSQL backend process", pid)
	return types.NewBool(false), nil
}

// blockingPIDs is pg_blocking_pids.
func (s *Session) blockingPIDs(pid int32) (types.Datum, error) {
	by := s.blockers(s.activity())[pid]
	a := &types.Array{Elem: types.Int4OID}
	for _, p := range by {
		a.Elems = append(a.Elems, types.NewInt(int64(p)))
	}
	if len(by) > 0 {
		a.Dims = []types.ArrayDim{{Len: int32(len(by)), Lower: 1}}
	}
	return types.NewArray(a), nil
}

// Observer is what the observability functions ask of the cluster.
type Observer interface {
	// Activity asks every node what it does; silent are the nodes that did not answer.
	Activity(ctx context.Context) (all []NodeActivity, silent []kv.NodeID)
	// Signal sends a signal to a session of another node and returns its answer.
	Signal(ctx context.Context, pid int32, signal, user string, superuser bool) (string, error)
	// AdvisoryGranted tells another node that a session there has been given an advisory lock; nothing rests on its arrival.
	AdvisoryGranted(ctx context.Context, node kv.NodeID, g advisory.Grant) error
}
