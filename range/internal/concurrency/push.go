package concurrency

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// pusher looks, for one waiter, after those who block it: it reports the wait to the waiter's gateway,
// asks the holders' gateways, looks for a cycle, and removes locks that nobody will release.
// Its one goroutine at a time belongs to wait, which stops it before it returns.
type pusher struct {
	t        *Table
	w        *waiter
	timer    *time.Timer
	interval time.Duration
	running  bool
	done     chan error
	cancel   context.CancelFunc
	// byClient: what blocks is a transaction that its client has prepared, so that only its client ends the wait. found is the same
	// while a look is running.
	byClient, found bool
	// unsettled is since when nobody could find out what became of who blocks, nor was told to ask again.
	unsettled time.Time
	// first are whom the first look asks, at once, and no more than that: see Table.unasked.
	first unasked
}

func newPusher(t *Table, w *waiter) *pusher {
	p := &pusher{t: t, w: w, done: make(chan error, 1)}
	if t.cfg.Holders == nil {
		return p
	}
	delay := t.cfg.PushDelay
	p.interval = t.cfg.PushInterval
	if bs, _ := t.blockersOf(w); anyPrepared(bs) {
		delay = t.cfg.PushDelayPrepared
		p.interval = t.cfg.PushDelayPrepared
	}
	p.timer = time.NewTimer(delay)
	p.first = t.unasked(w)
	return p
}

func anyPrepared(bs []blocker) bool {
	for _, b := range bs {
		if b.replicated {
			return true
		}
	}
	return false
}

// due fires when it is time to look; never while a look is running.
func (p *pusher) due() <-chan time.Time {
	if p.timer == nil || p.running {
		return nil
	}
	return p.timer.C
}

func (p *pusher) begin(ctx context.Context) {
	if p.t.cfg.Holders == nil {
		p.running = true
		p.done <- nil
		return
	}
	ctx, p.cancel = context.WithTimeout(ctx, 2*time.Second)
	p.running = true
	go func() { p.done <- p.look(ctx) }()
}

func (p *pusher) finish(err error) error {
	p.running = false
	p.byClient = p.found
	if p.cancel != nil {
		p.cancel()
	}
	if p.timer != nil {
		p.timer.Reset(p.interval)
		p.interval = min(p.interval*2, p.t.cfg.PushInterval)
	}
	return err
}

// stop ends the look that is running and waits for it. The report of the wait runs out by itself, and
// earlier when the gateway gets the request's answer.
func (p *pusher) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.cancel != nil {
		p.cancel()
	}
	if p.running {
		<-p.done
		p.running = false
	}
}

// blockersOf lists who blocks the waiter now, and at which key; nobody if it does not wait any more.
func (t *Table) blockersOf(w *waiter) ([]blocker, keys.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.kl == nil || w.granted {
		return nil, nil
	}
	var bs []blocker
	if !w.holder.IsZero() {
		if h := w.kl.find(w.holder); h != nil {
			bs = append(bs, blocker{txn: h.txn, replicated: h.replicated})
		}
		return bs, keys.Key(w.kl.key)
	}
	w.kl.blockers(w.id(), w.strength, w, func(b blocker) bool {
		if b.txn != nil {
			bs = append(bs, b)
		}
		return len(bs) < maxBlockers
	})
	return bs, keys.Key(w.kl.key)
}

// maxBlockers bounds how many of the blockers one look follows (a queue of shared locks may be
// long; the rest comes into view as the first go).
const maxBlockers = 32

// look does one round. An error ends the wait.
func (p *pusher) look(ctx context.Context) error {
	t, w := p.t, p.w
	p.found = false
	if len(p.first.holders) > 0 {
		t.askAll(ctx, p.first)
		p.first = unasked{}
		return nil
	}
	bs, key := t.blockersOf(w)
	if len(bs) == 0 {
		return nil
	}
	t.cfg.Metrics.Pushes.Add(1)
	var self HolderState
	cyclic := w.txn != nil
	if cyclic {
		metas := make([]kv.TxnMeta, len(bs))
		for i, b := range bs {
			metas[i] = *b.txn
		}
		var err error
		self, err = t.cfg.Holders.ReportWait(ctx, w.txn, key, metas)
		cyclic = err == nil                                         // a gateway out of reach cannot abort its transaction anyway
		if err == nil && !self.Alive && w.strength != kv.LockNone { // gateways do not register who only reads
			return kv.Errorf(kv.CodeTxnAborted, "the transaction has ended while this request waited for a lock")
		}
	}
	states := make([]HolderState, len(bs))
	for i, b := range bs {
		asked := time.Now()
		st, err := t.query(ctx, b.txn, true)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if !t.silent.tooLong(b.txn.Gateway, asked, time.Now(), t.cfg.DeadAfter) {
				states[i].Alive = true // not known to be dead yet
				continue
			}
			st = HolderState{}
		} else {
			t.silent.answered(b.txn.Gateway)
		}
		states[i] = st
		if b.replicated {
			t.note(b.txn.ID, st)
		}
		if err := t.settle(ctx, key, b, st); err != nil {
			p.found = errors.Is(err, errPreparedByClient)
			return p.giveUp(b.txn, key, err) // the next round tries again
		}
	}
	p.unsettled = time.Time{}
	if !cyclic {
		return nil
	}
	return p.detect(ctx, self, bs, states)
}

// giveUp ends the wait if it has been known for so long that nobody can end it: a lock whose transaction's record is in a range that does not answer stays until that
// does, and it may be lost. Who asks such a range itself does not wait for longer. The gateway does not ask again: it would wait for as long once more.
func (p *pusher) giveUp(holder *kv.TxnMeta, key keys.Key, err error) error {
	switch {
	case p.found:
		p.unsettled = time.Time{}
	case kv.IsLost(err):
		e := *kv.AsError(err) // the transaction may never be known to have ended, and it says so
		e.Message = fmt.Sprintf("what became of transaction %s, which has locked %s, cannot be found out: %s", holder.ID, keys.Pretty(key), e.Message)
		return &e
	case p.unsettled.IsZero():
		p.unsettled = time.Now()
	case time.Since(p.unsettled) >= p.t.cfg.GiveUp:
		return kv.Errorf(kv.CodeGivenUp, "what became of transaction %s, which has locked %s, cannot be found out: its record at %s does not answer (%v)",
			holder.ID, keys.Pretty(key), keys.Pretty(holder.Anchor), err)
	}
	return nil
}

// queryTimeout bounds one question to a gateway: a process that is stopped answers nothing, and others are to be asked too.
const queryTimeout = 400 * time.Millisecond

func (t *Table) query(ctx context.Context, m *kv.TxnMeta, hurry bool) (HolderState, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return t.cfg.Holders.QueryHolder(ctx, m.Gateway, m.Incarnation, m.ID, hurry)
}

// silences remembers which gateways do not answer. The waiters of a range share it: what a dead gateway's requests had queued
// for is granted to them one after the other, and none of it may cost another DeadAfter.
type silences struct {
	mu    sync.Mutex
	since map[kv.NodeID]silence
	lates map[kv.NodeID]time.Time // when one that is far away did not answer within askFor
}

// late notes that a gateway did not answer within askFor.
func (s *silences) late(n kv.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lates == nil {
		s.lates = map[kv.NodeID]time.Time{}
	}
	s.lates[n] = time.Now()
}

// slow reports whether it was late within askAgain.
func (s *silences) slow(n kv.NodeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.lates[n]
	return ok && time.Since(at) < askAgain
}

type silence struct {
	last   time.Time     // it was found out of reach
	lasted time.Duration // in time that counts: see silenceMost
}

const (
	// silenceGap is how far apart two unanswered questions may be and still show one silence.
	silenceGap = time.Second
	// silenceMost is how much of the time between two unanswered questions, or of that of the first, counts. Each is given up after queryTimeout, and the next
	// comes soon after: if it has taken longer, this process was without a processor, and the answer may be there, and not read yet.
	silenceMost = queryTimeout + 100*time.Millisecond
)

// tooLong notes that the gateway, asked at the time given, has not answered by now, and reports whether it has been out of reach for limit.
func (s *silences) tooLong(n kv.NodeID, asked, now time.Time, limit time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.since[n]
	if !ok || asked.Sub(x.last) > silenceGap {
		x = silence{last: asked}
	}
	x.lasted += min(now.Sub(x.last), silenceMost)
	x.last = now
	if s.since == nil {
		s.since = map[kv.NodeID]silence{}
	}
	s.since[n] = x
	return x.lasted >= limit
}

func (s *silences) answered(n kv.NodeID) {
	s.mu.Lock()
	delete(s.since, n)
	s.mu.Unlock()
}

// rest forgets them: nobody waits.
func (s *silences) rest() {
	s.mu.Lock()
	s.since, s.lates = nil, nil
	s.mu.Unlock()
}

// errPreparedByClient says that nobody but a client decides what becomes of the holder.
var errPreparedByClient = errors.New("concurrency: the transaction waits for COMMIT PREPARED or ROLLBACK PREPARED")

// settle removes the holder's lock on the key if nobody else will.
func (t *Table) settle(ctx context.Context, key keys.Key, b blocker, st HolderState) error {
	if b.waiting {
		return nil // its own request ends it
	}
	// A gateway reports TxnCommitted only once the record says so: a lock that is resolved while the record is
	// still STAGING would look like a missing prepare to recovery.
	decided := st.Status == kv.TxnCommitted || st.Status == kv.TxnAborted
	if st.Alive && !decided {
		return nil
	}
	if !b.replicated {
		if !st.Alive {
			t.cfg.Metrics.DeadHolders.Add(1)
			return t.ReleaseTxn(b.txn.ID, nil) // the waiter learns of a table that was closed meanwhile
		}
		return nil
	}
	if t.cfg.Recoverer == nil || t.cfg.Resolver == nil {
		return nil
	}
	status, commitTS := st.Status, st.CommitTS
	if !decided {
		t.cfg.Metrics.Recoveries.Add(1)
		var err error
		if status, commitTS, err = t.cfg.Recoverer.Recover(ctx, *b.txn, key); err != nil {
			return err
		}
	}
	if status == kv.TxnPrepared {
		return errPreparedByClient
	}
	if status != kv.TxnCommitted && status != kv.TxnAborted {
		return fmt.Errorf("concurrency: recovery of %s is undecided", b.txn.ID)
	}
	if !decided {
		t.Learn(b.txn.ID, status, commitTS)
	}
	return t.cfg.Resolver.Resolve(ctx, *b.txn, []keys.Key{key}, status == kv.TxnCommitted, commitTS)
}

// maxWalk bounds the transactions that one search for a cycle visits.
const maxWalk = 256

// node of the search.
type node struct {
	meta  kv.TxnMeta
	since int64
	from  int         // index of who waits for it; -1 for the waiter itself
	waits HolderState // what it waits for, as its gateway said
}

// detect follows "waits for" from the waiter's blockers. If that comes back to the waiter, and the waiter is
// the youngest of the cycle, it is the victim.
func (p *pusher) detect(ctx context.Context, self HolderState, bs []blocker, states []HolderState) error {
	me := *p.w.txn
	nodes := []node{{meta: me, since: self.Since, from: -1, waits: self}}
	seen := map[kv.TxnID]bool{me.ID: true}
	type edge struct {
		to   kv.TxnMeta
		from int
	}
	var edges []edge
	for i, b := range bs {
		if seen[b.txn.ID] || !states[i].Alive {
			continue
		}
		seen[b.txn.ID] = true
		nodes = append(nodes, node{meta: *b.txn, since: states[i].Since, from: 0, waits: states[i]})
		for _, m := range states[i].WaitingFor {
			edges = append(edges, edge{m, len(nodes) - 1})
		}
	}
	for len(edges) > 0 && len(nodes) < maxWalk {
		e := edges[0]
		edges = edges[1:]
		if e.to.ID == me.ID {
			if cycle := pathTo(nodes, e.from); youngest(cycle) == 0 && p.confirm(ctx, cycle) {
				p.t.cfg.Metrics.Deadlocks.Add(1)
				return deadlockError(cycle)
			}
			continue
		}
		if seen[e.to.ID] {
			continue
		}
		seen[e.to.ID] = true
		st, err := p.t.query(ctx, &e.to, true)
		if err != nil || !st.Alive {
			continue // unknown now; the next round asks again
		}
		nodes = append(nodes, node{meta: e.to, since: st.Since, from: e.from, waits: st})
		for _, m := range st.WaitingFor {
			edges = append(edges, edge{m, len(nodes) - 1})
		}
	}
	return nil
}

// confirm asks for every edge of the cycle again. The edges were collected one after the other, so some may
// have gone before others came; in a deadlock all of them stay.
func (p *pusher) confirm(ctx context.Context, cycle []node) bool {
	for i := 1; i < len(cycle); i++ {
		m := &cycle[i].meta
		st, err := p.t.query(ctx, m, true)
		if err != nil || !st.Alive || st.Status != kv.TxnUnknown {
			return false // out of reach: the next round asks again
		}
		next := cycle[(i+1)%len(cycle)].meta.ID
		if !p.t.mayWait(m.ID, &st, next) {
			return false
		}
	}
	bs, _ := p.t.blockersOf(p.w)
	return slices.ContainsFunc(bs, func(b blocker) bool { return b.txn.ID == cycle[1%len(cycle)].meta.ID })
}

// mayWait reports whether a transaction waits for another one, as its gateway says. A gateway goes by reports, and believes them for a while: a wait that has ended with a
// leader is news to it, and by then who stood behind the other may stand before it. Of a key that is in this table nobody has to be believed.
func (t *Table) mayWait(id kv.TxnID, st *HolderState, other kv.TxnID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range st.WaitingFor {
		if st.WaitingFor[i].ID != other {
			continue
		}
		if i >= len(st.WaitingAt) {
			return true
		}
		kl := t.locks[string(st.WaitingAt[i])]
		if kl == nil || kl.waits(id, other) { // it is another range's, as a rule
			return true
		}
	}
	return false
}

// waits reports whether a request of the transaction waits for the other one at the key.
func (kl *keyLock) waits(id, other kv.TxnID) (found bool) {
	for _, w := range kl.readers {
		if w.id() == id && w.holder == other {
			return true
		}
	}
	for _, w := range kl.queue {
		if w.id() == id && !w.granted {
			kl.blockers(id, w.strength, w, func(b blocker) bool {
				found = b.txn != nil && b.txn.ID == other
				return !found
			})
			if found {
				return true
			}
		}
	}
	return false
}

// pathTo lists the cycle: the waiter first, then whom it waits for, and so on.
func pathTo(nodes []node, i int) []node {
	var rev []node
	for ; i >= 0; i = nodes[i].from {
		rev = append(rev, nodes[i])
	}
	for a, b := 0, len(rev)-1; a < b; a, b = a+1, b-1 {
		rev[a], rev[b] = rev[b], rev[a]
	}
	return rev
}

// youngest returns the index of the transaction that began last; by id where that is equal.
func youngest(cycle []node) int {
	best := 0
	for i := range cycle {
		a, b := &cycle[i], &cycle[best]
		if a.since > b.since || (a.since == b.since && string(a.meta.ID[:]) > string(b.meta.ID[:])) {
			best = i
		}
	}
	return best
}

func deadlockError(cycle []node) error {
	var sb strings.Builder
	sb.WriteString("deadlock detected: ")
	edges := make([]kv.Deadlock, len(cycle))
	for i := range cycle {
		next := &cycle[(i+1)%len(cycle)].meta
		if i > 0 {
			sb.WriteString("; ")
		}
		fmt.Fprintf(&sb, "transaction %s (node %d) waits for transaction %s (node %d)",
			cycle[i].meta.ID, cycle[i].meta.Gateway, next.ID, next.Gateway)
		edges[i] = kv.Deadlock{Waiter: cycle[i].meta.ID, Holder: next.ID, Key: cycle[i].waitsAt(next.ID)}
	}
	return &kv.Error{Code: kv.CodeDeadlock, Message: sb.String(), Detail: kv.AppendDeadlock(nil, edges)}
}

// waitsAt returns the key at which the node waits for another transaction, empty if its gateway did not say.
func (n *node) waitsAt(holder kv.TxnID) keys.Key {
	for i, m := range n.waits.WaitingFor {
		if m.ID == holder && i < len(n.waits.WaitingAt) {
			return n.waits.WaitingAt[i]
		}
	}
	return nil
}

// CheckHolders asks after the holders of all locks in the table, whether anybody waits or not, and removes
// those that nobody will release; a store calls it every few seconds so that SKIP LOCKED readers do not skip the
// rows of the dead for ever. It returns how many it removed: prepared locks, and transactions with unreplicated ones.
func (t *Table) CheckHolders(ctx context.Context) int {
	if t.cfg.Holders == nil {
		return 0
	}
	t.mu.Lock()
	type held struct {
		key keys.Key
		b   blocker
	}
	first := map[kv.TxnID]held{}
	var prepared []held
	for k, kl := range t.locks {
		for i := range kl.holders {
			h := &kl.holders[i]
			it := held{keys.Key(k), blocker{txn: h.txn, replicated: h.replicated}}
			if h.replicated {
				prepared = append(prepared, it)
			} else {
				first[h.txn.ID] = it
			}
		}
	}
	t.mu.Unlock()
	dropped := 0
	states := map[kv.TxnID]HolderState{}
	check := func(it held) {
		st, ok := states[it.b.txn.ID]
		if !ok {
			var err error
			if st, err = t.query(ctx, it.b.txn, false); err != nil {
				return // out of reach is not dead; waiters count the time
			}
			states[it.b.txn.ID] = st
		}
		if !t.Holds(it.b.txn.ID, it.key) {
			return // released while we asked
		}
		if err := t.settle(ctx, it.key, it.b, st); err != nil {
			return // the next call tries again
		}
		if !t.Holds(it.b.txn.ID, it.key) {
			dropped++
		}
	}
	for _, it := range first {
		if ctx.Err() != nil {
			break
		}
		check(it)
	}
	for _, it := range prepared {
		if ctx.Err() != nil {
			break
		}
		check(it)
	}
	return dropped
}

var _ eval.Locks = (*Table)(nil)
