package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Budget bounds the bytes of cached entries of all logs that share it.
type Budget struct {
	used atomic.Int64
	max  int64
}

// NewBudget returns a budget of max bytes.
func NewBudget(max int64) *Budget { return &Budget{max: max} }

// Used returns the bytes of cached entries.
func (b *Budget) Used() int64 { return b.used.Load() }

const (
	// cacheMax bounds the cached entries of one log; cacheLow is what a log keeps when the budget is spent.
	cacheMax = 4 << 20
	cacheLow = 64 << 10
	// entryOverhead is what an entry costs beside its data, in sizes and in the cache.
	entryOverhead = 24
)

// Log is the log and hard state of one replica; it implements raft.Storage.
// It is not safe for concurrent use, except Bytes.
type Log struct {
	db      *pebble.DB
	id      kv.RangeID
	trunc   Position
	last    Position
	hard    hardState
	bytes   atomic.Int64 // approximate size of the entries on disk
	first   atomic.Uint64
	end     atomic.Uint64
	scratch []byte // what key returns; nil before the first, and after DropCache

	// cached are the newest entries, contiguous up to last.
	cached      []*pb.Entry
	cachedBytes int64
	budget      *Budget

	// Machine is set by the owner before Raft is started.
	Machine Machine
}

// Machine tells Raft of what its entries are applied to.
type Machine interface {
	ConfState() *pb.ConfState
	Snapshot() (*pb.Snapshot, error)
}

// hardState is pb.HardState in a sixth of the memory.
type hardState struct{ term, vote, commit uint64 }

var _ raft.Storage = (*Log)(nil)

// Open reads the state of the replica of the range that lives in db.
func Open(db *pebble.DB, id kv.RangeID, budget *Budget) (*Log, error) {
	l := &Log{db: db, id: id, budget: budget}
	return l, l.Reload()
}

// Reload reads everything again, after the state was replaced by a snapshot.
func (l *Log) Reload() error {
	l.DropCache()
	h, err := ReadHardState(l.db, l.id)
	if err != nil {
		return err
	}
	l.setHard(h)
	if l.trunc, err = ReadTruncated(l.db, l.id); err != nil {
		return err
	}
	l.last = l.trunc
	l.bytes.Store(0)
	it, err := l.iter(l.trunc.Index+1, 1<<63)
	if err != nil {
		return err
	}
	defer it.Close()
	next, ok := l.trunc.Index+1, it.First()
	skipped := uint64(0)
	if ok && it.Last() {
		// A store has many logs, and does not read them to start: the end of each, and how large the rest is by that.
		end, err := l.decodeKey(it.Key())
		if err != nil {
			return err
		}
		ok = it.First()
		if end >= next+tailRead {
			if index, err := l.decodeKey(it.Key()); err != nil || index != next {
				return errors.Join(err, kv.Errorf(kv.CodeCorruption, "range %d: log entry %d is missing (next is %d)", l.id, next, index))
			}
			skipped = end + 1 - tailRead - next
			next += skipped
			ok = it.SeekGE(l.key(next))
		}
	}
	for ; ok; ok = it.Next() {
		index, err := l.decodeKey(it.Key())
		if err != nil {
			return err
		}
		if index != next {
			return kv.Errorf(kv.CodeCorruption, "range %d: log entry %d is missing (next is %d)", l.id, next, index)
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return engine.Classify(err)
		}
		_, term, data, err := decodeEntry(v)
		if err != nil {
			return kv.Errorf(kv.CodeCorruption, "range %d: log entry %d: %v", l.id, index, err)
		}
		l.last = Position{Index: index, Term: term}
		l.bytes.Add(int64(len(data)) + entryOverhead)
		next++
	}
	if err := it.Error(); err != nil {
		return engine.Classify(err)
	}
	if skipped > 0 {
		l.bytes.Store(l.bytes.Load() / tailRead * int64(skipped+tailRead))
	}
	l.publish()
	return nil
}

// tailRead is how many entries at the end of a log are read when it is opened.
const tailRead = 32

// indexAndEnd is how long what follows the prefix of all entries' keys is: the index, and a zero as of every key without a timestamp.
const indexAndEnd = 8 + 1

// key returns the key of an entry, until the next call.
func (l *Log) key(index uint64) []byte {
	if l.scratch == nil {
		l.scratch = append(keys.RangeUnreplicated(int64(l.id), nameEntry), make([]byte, indexAndEnd)...)
	}
	binary.BigEndian.PutUint64(l.scratch[len(l.scratch)-indexAndEnd:], index)
	return l.scratch
}

// decodeKey is the reverse, for keys between two that key made.
func (l *Log) decodeKey(k []byte) (uint64, error) {
	if len(k) != len(l.scratch) {
		return 0, kv.Errorf(kv.CodeCorruption, "range %d: malformed log key %x", l.id, k)
	}
	return binary.BigEndian.Uint64(k[len(k)-indexAndEnd:]), nil
}

func (l *Log) iter(lo, hi uint64) (*pebble.Iterator, error) {
	it, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: append([]byte(nil), l.key(lo)...),
		UpperBound: append([]byte(nil), l.key(hi)...),
	})
	if err != nil {
		return nil, engine.Classify(err)
	}
	return it, nil
}

// Append writes the entries, and deletes those they replace.
func (l *Log) Append(b *pebble.Batch, ents []*pb.Entry) error {
	if len(ents) == 0 {
		return nil
	}
	first := ents[0].GetIndex()
	if first <= l.trunc.Index || first > l.last.Index+1 {
		return fmt.Errorf("raftlog: range %d: append of %d to a log of [%d, %d]", l.id, first, l.trunc.Index+1, l.last.Index)
	}
	var v []byte
	for _, e := range ents {
		v = appendEntry(v[:0], e)
		if err := b.Set(l.key(e.GetIndex()), v, nil); err != nil {
			return err
		}
		l.bytes.Add(int64(len(e.Data)) + entryOverhead)
	}
	end := ents[len(ents)-1]
	for i := end.GetIndex() + 1; i <= l.last.Index; i++ {
		if err := b.Delete(l.key(i), nil); err != nil {
			return err
		}
	}
	l.last = Position{Index: end.GetIndex(), Term: end.GetTerm()}
	l.addToCache(ents)
	l.publish()
	return nil
}

// appendEntry: 01 | type | uvarint term | data.
func appendEntry(dst []byte, e *pb.Entry) []byte {
	dst = append(dst, stateVersion, byte(e.GetType()))
	dst = binary.AppendUvarint(dst, e.GetTerm())
	return append(dst, e.Data...)
}

// decodeEntry reads what appendEntry wrote; data aliases v.
func decodeEntry(v []byte) (typ pb.EntryType, term uint64, data []byte, err error) {
	if len(v) < 3 || v[1] > byte(pb.EntryConfChangeV2) {
		return 0, 0, nil, ErrCorrupt
	}
	if v[0] != stateVersion {
		return 0, 0, nil, fmt.Errorf("raftlog: entry version %d is not supported", v[0])
	}
	term, n := binary.Uvarint(v[2:])
	if n <= 0 {
		return 0, 0, nil, ErrCorrupt
	}
	return pb.EntryType(v[1]), term, v[2+n:], nil
}

// dataLen returns the length of the data in an entry's value.
func dataLen(v []byte) int64 {
	_, _, data, err := decodeEntry(v)
	if err != nil {
		return int64(len(v))
	}
	return int64(len(data))
}

func (l *Log) addToCache(ents []*pb.Entry) {
	if n := len(l.cached); n > 0 {
		first := ents[0].GetIndex()
		switch have := l.cached[0].GetIndex(); {
		case first <= have:
			l.DropCache()
		case first != l.cached[n-1].GetIndex()+1:
			l.cutCache(int(first-have), n)
		}
	}
	for _, e := range ents {
		size := int64(len(e.Data)) + entryOverhead
		l.cached = append(l.cached, e)
		l.cachedBytes += size
		l.budget.used.Add(size)
	}
	keep := int64(cacheMax)
	if l.budget.used.Load() > l.budget.max {
		keep = cacheLow
	}
	l.shrinkCache(keep)
}

// cutCache drops cached[from:to], which is a head or a tail.
func (l *Log) cutCache(from, to int) {
	var freed int64
	for _, e := range l.cached[from:to] {
		freed += int64(len(e.Data)) + entryOverhead
	}
	clear(l.cached[from:to])
	if from == 0 {
		l.cached = l.cached[to:]
	} else {
		l.cached = l.cached[:from]
	}
	l.cachedBytes -= freed
	l.budget.used.Add(-freed)
}

func (l *Log) shrinkCache(keep int64) {
	n, left := 0, l.cachedBytes
	for n < len(l.cached)-1 && left > keep {
		left -= int64(len(l.cached[n].Data)) + entryOverhead
		n++
	}
	if n > 0 {
		l.cutCache(0, n)
	}
}

// DropCache forgets the cached entries, and whatever else can be made again: the replica has gone quiet, or goes away.
func (l *Log) DropCache() {
	l.budget.used.Add(-l.cachedBytes)
	l.cached, l.cachedBytes, l.scratch = nil, 0, nil
}

// SetHardState takes over the hard state, and writes it if it says more than a commit index. Nobody has to find that on disk: a restart takes the
// applied index, which is written with the effects, and learns the rest from whoever leads.
func (l *Log) SetHardState(b *pebble.Batch, h *pb.HardState) error {
	was := l.hard
	l.setHard(h)
	if l.hard.term == was.term && l.hard.vote == was.vote {
		return nil
	}
	return WriteHardState(b, l.id, h)
}

func (l *Log) setHard(h *pb.HardState) { l.hard = hardState{h.GetTerm(), h.GetVote(), h.GetCommit()} }

// Committed raises the commit index of the hard state, in memory only: on disk it may be far behind what has been applied, because it
// is written only along with a new term or vote. It is never beyond the end of the log.
func (l *Log) Committed(index uint64) { l.hard.commit = min(max(l.hard.commit, index), l.last.Index) }

// HardState returns the hard state as last set, made anew by every call.
func (l *Log) HardState() *pb.HardState {
	h := l.hard
	return &pb.HardState{Term: &h.term, Vote: &h.vote, Commit: &h.commit}
}

// Truncate removes the entries up to index, which must have been applied.
func (l *Log) Truncate(b *pebble.Batch, index uint64) error {
	if index <= l.trunc.Index {
		return nil
	}
	term, err := l.Term(index)
	if err != nil {
		return err
	}
	freed, err := l.size(l.trunc.Index+1, index+1)
	if err != nil {
		return err
	}
	from := append([]byte(nil), l.key(l.trunc.Index+1)...)
	if err := b.DeleteRange(from, l.key(index+1), nil); err != nil {
		return err
	}
	l.trunc = Position{Index: index, Term: term}
	l.bytes.Add(-freed)
	if l.trunc.Index == l.last.Index {
		l.bytes.Store(0) // overwritten tails leave the estimate too high
	}
	if n := len(l.cached); n > 0 && l.cached[0].GetIndex() <= index {
		l.cutCache(0, min(n, int(index-l.cached[0].GetIndex()+1)))
	}
	l.publish()
	return WriteTruncated(b, l.id, l.trunc)
}

// size sums the sizes of the entries in [lo, hi).
func (l *Log) size(lo, hi uint64) (int64, error) {
	it, err := l.iter(lo, hi)
	if err != nil {
		return 0, err
	}
	defer it.Close()
	var n int64
	for ok := it.First(); ok; ok = it.Next() {
		n += dataLen(it.Value()) + entryOverhead
	}
	return n, engine.Classify(it.Error())
}

// IndexAtSize returns the largest index i such that the entries after i take at least keep bytes.
// Truncated is returned if the whole log is smaller.
func (l *Log) IndexAtSize(keep int64) (uint64, error) {
	over := l.bytes.Load() - keep
	index := l.trunc.Index
	if over <= 0 {
		return index, nil
	}
	it, err := l.iter(index+1, l.last.Index+1)
	if err != nil {
		return 0, err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if over -= dataLen(it.Value()) + entryOverhead; over < 0 {
			break
		}
		index++
	}
	return index, engine.Classify(it.Error())
}

// Bytes returns the approximate size of the entries on disk. Safe for concurrent use.
func (l *Log) Bytes() int64 { return max(0, l.bytes.Load()) }

// Bounds returns the first and last index, as of the last change. Safe for concurrent use.
func (l *Log) Bounds() (first, last uint64) { return l.first.Load(), l.end.Load() }

func (l *Log) publish() {
	l.first.Store(l.trunc.Index + 1)
	l.end.Store(l.last.Index)
}

// Truncated and Last return the ends of the log.
func (l *Log) Truncated() Position { return l.trunc }

// Last: see Truncated.
func (l *Log) Last() Position { return l.last }

// InitialState implements raft.Storage.
func (l *Log) InitialState() (*pb.HardState, *pb.ConfState, error) {
	return l.HardState(), l.Machine.ConfState(), nil
}

// FirstIndex implements raft.Storage.
func (l *Log) FirstIndex() (uint64, error) { return l.trunc.Index + 1, nil }

// LastIndex implements raft.Storage.
func (l *Log) LastIndex() (uint64, error) { return l.last.Index, nil }

// Snapshot implements raft.Storage.
func (l *Log) Snapshot() (*pb.Snapshot, error) { return l.Machine.Snapshot() }

// Term implements raft.Storage.
func (l *Log) Term(i uint64) (uint64, error) {
	switch {
	case i == l.trunc.Index:
		return l.trunc.Term, nil
	case i < l.trunc.Index:
		return 0, raft.ErrCompacted
	case i > l.last.Index:
		return 0, raft.ErrUnavailable
	case i == l.last.Index:
		return l.last.Term, nil
	}
	if len(l.cached) > 0 {
		if first := l.cached[0].GetIndex(); i >= first {
			return l.cached[i-first].GetTerm(), nil
		}
	}
	v, closer, err := l.db.Get(l.key(i))
	if err != nil {
		return 0, engine.Classify(err)
	}
	defer closer.Close()
	_, term, _, err := decodeEntry(v)
	return term, err
}

// Entries implements raft.Storage.
func (l *Log) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	if lo <= l.trunc.Index {
		return nil, raft.ErrCompacted
	}
	if hi > l.last.Index+1 {
		return nil, raft.ErrUnavailable
	}
	ents := make([]*pb.Entry, 0, min(hi-lo, 64))
	var size uint64
	// take adds an entry and reports whether there is room for more; the first always fits.
	take := func(e *pb.Entry) bool {
		size += uint64(len(e.Data)) + entryOverhead
		if len(ents) > 0 && size > maxSize {
			return false
		}
		ents = append(ents, e)
		return true
	}
	cachedFrom := hi
	if len(l.cached) > 0 {
		cachedFrom = min(hi, l.cached[0].GetIndex())
	}
	if lo < cachedFrom {
		it, err := l.iter(lo, cachedFrom)
		if err != nil {
			return nil, err
		}
		defer it.Close()
		for ok := it.First(); ok; ok = it.Next() {
			index, err := l.decodeKey(it.Key())
			if err != nil {
				return nil, err
			}
			if index != lo {
				return nil, raft.ErrUnavailable
			}
			v, err := it.ValueAndErr()
			if err != nil {
				return nil, engine.Classify(err)
			}
			typ, term, data, err := decodeEntry(v)
			if err != nil {
				return nil, err
			}
			e := &entryBlock{term: term, index: index}
			e.fill(typ, append([]byte(nil), data...))
			if !take(&e.entry) {
				return ents, nil
			}
			lo++
		}
		if err := it.Error(); err != nil {
			return nil, engine.Classify(err)
		}
		if lo != cachedFrom {
			return nil, raft.ErrUnavailable
		}
	}
	for ; lo < hi; lo++ {
		if !take(l.cached[lo-l.cached[0].GetIndex()]) {
			return ents, nil
		}
	}
	return ents, nil
}
