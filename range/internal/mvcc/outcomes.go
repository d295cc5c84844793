package mvcc

import (
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// What became of commits. A range remembers it for a few minutes, so that a commit that is sent again, because its answer was lost, is answered
// as the first time, and one that is asked for and not there never happens (a fence).
//
// An outcome is kept under the commit's first key and belongs to the range that holds that key. A commit can only take effect in a range that holds all
// of its keys, so that range, and no other, has to know: a split copies nothing and a merge unites nothing, however many there are.
//
// # Forgetting
//
// Outcomes lie on two shelves, which take turns. New ones go to the one (Outcomes.Half); when that has been so for long enough, the other is
// emptied, by one range deletion, and takes its place (Outcomes.Turn). So they are kept for as long as a turn lasts at the least, and nobody looks
// through them. A turn waits for the commits that are being executed, and the next ones wait for it. Hence:
//
//   - What is on the older shelf was first sent before Since, which is ahead of the clock at the turn by more than clocks differ. So a commit
//     that was sent later need not be looked for there.
//   - What is forgotten was first sent before Forgotten, the Since of the turn before. A commit as old as that, of which nothing is known, may have
//     happened, and is refused: it is never executed a second time.
//
// After a merge the shelves of the two sides mean different things. The range then counts as turned at the merge: either shelf may hold what was
// sent before it, and it is a full turn until anything goes.
//
// Outcomes of merges (see range/internal/replica/merge.go) are few, and asked for by stores that were away for long. They have a shelf of their own, which is
// collected like old versions.

// MergesKept is how much longer than old versions outcomes of merges are kept. A replica that is frozen for a merge and cannot learn what became of it
// stays frozen, so it must be asked for before that: by a majority that has been together since. There are few of them.
const MergesKept = 24 * time.Hour

// MergeShelf holds outcomes of merges. The shelves 0 and 1 are those of commits.
const MergeShelf = 2

// Outcomes says where a range keeps outcomes of commits, and which it has forgotten. The zero Outcomes is that of a new range.
type Outcomes struct {
	// Half is the shelf for new ones, 0 or 1.
	Half byte
	// Since: what is on the other shelf was first sent before.
	Since hlc.Timestamp
	// Forgotten: what is on neither shelf any more was first sent before.
	Forgotten hlc.Timestamp
}

// Older is the shelf that is emptied at the next turn.
func (o Outcomes) Older() byte { return 1 - o.Half }

// Turn empties the older shelf and makes it the one for new outcomes. since is ahead of the clock by more than clocks differ.
func (o *Outcomes) Turn(b *pebble.Batch, d *kv.RangeDescriptor, since hlc.Timestamp) error {
	s := keys.OutcomeSpan(o.Older(), d.StartKey, d.EndKey)
	if err := b.DeleteRange(engine.EncodeKey(s.Start), engine.EncodeKey(s.End), nil); err != nil {
		return engine.Classify(err)
	}
	*o = Outcomes{Half: o.Older(), Since: since, Forgotten: o.Forgotten.Forward(o.Since)}
	return nil
}

// Merged is what two ranges that become one have together, at a time since which, as in Turn, neither has executed anything.
func (o Outcomes) Merged(right Outcomes, since hlc.Timestamp) Outcomes {
	return Outcomes{Half: o.Half, Since: since.Forward(o.Since).Forward(right.Since), Forgotten: o.Forgotten.Forward(right.Forgotten)}
}

// Remembered reports whether there is any outcome of a commit in the range.
func Remembered(r pebble.Reader, d *kv.RangeDescriptor) (bool, error) {
	return some(r, keys.OutcomeSpan(0, d.StartKey, d.EndKey), keys.OutcomeSpan(1, d.StartKey, d.EndKey))
}

// CommitOutcome is what a range remembers of a transaction that tried to commit in it alone.
type CommitOutcome struct {
	// Committed is false for an id that was fenced: it can no longer commit here.
	Committed bool
	CommitTS  hlc.Timestamp // or when it was fenced
}

const (
	outcomeCommitted = 1
	outcomeFenced    = 2
)

// AppendCommitOutcome appends the stored form of o.
func AppendCommitOutcome(dst []byte, o CommitOutcome) []byte {
	kind := byte(outcomeFenced)
	if o.Committed {
		kind = outcomeCommitted
	}
	return o.CommitTS.Append(append(dst, kind))
}

// DecodeCommitOutcome reads what AppendCommitOutcome wrote.
func DecodeCommitOutcome(b []byte) (o CommitOutcome, err error) {
	if len(b) != 1+hlc.EncodedLen || (b[0] != outcomeCommitted && b[0] != outcomeFenced) {
		return o, corrupt("commit outcome", b)
	}
	o.Committed = b[0] == outcomeCommitted
	o.CommitTS, _, err = hlc.Decode(b[1:])
	return o, err
}

// LoadCommitOutcome reads what is on the shelf of the commit whose first key is anchor; ok is false if nothing.
func LoadCommitOutcome(r pebble.Reader, shelf byte, anchor keys.Key, id kv.TxnID) (o CommitOutcome, ok bool, err error) {
	b, ok, err := load(r, engine.EncodeKey(keys.Outcome(shelf, anchor, id)))
	if err != nil || !ok {
		return o, false, err
	}
	o, err = DecodeCommitOutcome(b)
	return o, err == nil, err
}

// CommitOutcome: see LoadCommitOutcome.
func (r *Reader) CommitOutcome(shelf byte, anchor keys.Key, id kv.TxnID) (CommitOutcome, bool, error) {
	return LoadCommitOutcome(r.src, shelf, anchor, id)
}

// PutCommitOutcome remembers what became of a commit.
func (w *Writer) PutCommitOutcome(shelf byte, anchor keys.Key, id kv.TxnID, o CommitOutcome) error {
	w.buf = engine.AppendKey(w.buf[:0], keys.Outcome(shelf, anchor, id))
	n := len(w.buf)
	w.buf = AppendCommitOutcome(w.buf, o)
	return engine.Classify(w.Batch.Set(w.buf[:n], w.buf[n:], nil))
}

// PurgeMergeOutcomes forgets merges from before threshold, at most limit.
func PurgeMergeOutcomes(r pebble.Reader, w *Writer, span keys.Span, threshold hlc.Timestamp, limit int64) (removed int64, err error) {
	err = eachIn(r, keys.OutcomeSpan(MergeShelf, span.Start, span.EndKey()), func(k, v []byte) (more bool, err error) {
		o, err := DecodeCommitOutcome(v)
		if err != nil {
			return false, err
		}
		if o.CommitTS.Less(threshold) {
			removed++
			err = engine.Classify(w.Batch.Delete(k, nil))
		}
		return removed < limit, err
	})
	return removed, err
}

// some reports whether there is a key in one of the spans.
func some(r pebble.Reader, spans ...keys.Span) (found bool, err error) {
	for _, span := range spans {
		err = eachIn(r, span, func(_, _ []byte) (bool, error) {
			found = true
			return false, nil
		})
		if found || err != nil {
			break
		}
	}
	return found, err
}
