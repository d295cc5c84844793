package eval

import (
	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Numbers is what the leader remembers of the sequences whose states it wrote.
//
// A state on disk is numbersAhead ahead of what has been handed out, so that most requests write nothing. How far it has really come only
// the leader knows that wrote it, and only as long as nobody has written another one: so what is remembered goes with the timestamp of the
// version. Nothing else need be told of a new leader, of a split, or of setval. Who does not know goes on after what is on
// disk: numbers are lost then, and none is handed out twice.
type Numbers interface {
	// Last returns the last number taken of those that the version at ts covers.
	Last(key keys.Key, ts hlc.Timestamp) (last int64, ok bool)
	// Took notes it.
	Took(key keys.Key, ts hlc.Timestamp, last int64)
}

// numbersAhead is how many numbers are written as taken before they are.
const numbersAhead = 32

// numbers takes numbers of a sequence, or looks at it.
func (e *evaluation) numbers(r *kv.Increment) (kv.Response, error) {
	v, ok, err := e.newestForWrite(r.Key, kv.LockNoKeyUpdate)
	if err != nil {
		return nil, err
	}
	rule := r.Numbers
	if rule.By == 0 {
		return nil, &kv.Error{Code: kv.CodeBadRequest, Key: r.Key, Message: "a sequence that stands still"}
	}
	st, covered := kv.NumberState{Last: rule.Start}, kv.NumberState{}
	if ok && !v.Deleted {
		if covered, err = kv.DecodeNumberState(v.Value); err != nil {
			return nil, &kv.Error{Code: kv.CodeBadRequest, Key: r.Key, Message: err.Error()}
		}
		st = covered
		if last, ok := e.env.Numbers.Last(r.Key, v.TS); ok {
			st.Last = last
		}
	}
	if r.By <= 0 {
		return &kv.IncrementResponse{Value: st.Last, Taken: st.Taken}, nil
	}
	first, n, after := rule.Take(st, r.By)
	resp := &kv.IncrementResponse{Value: first, Count: n, Taken: true}
	if n == 0 {
		return resp, nil
	}
	if covered.Taken && st.Last != covered.Last && rule.Follows(st.Last, first) && !rule.Follows(covered.Last, after.Last) {
		e.env.Numbers.Took(r.Key, v.TS, after.Last)
		return resp, nil
	}
	write := after
	if f, n, ahead := rule.Take(after, numbersAhead); n > 0 && rule.Follows(after.Last, f) {
		write = ahead
	}
	prev := mvcc.Describe(v, ok)
	ts := e.above(r.Key, e.floor(e.env.Clock.Now()), prev)
	if err := e.batch().Put(r.Key, ts, false, write.Append(nil), prev); err != nil {
		return nil, err
	}
	e.wrote(ts)
	e.env.Numbers.Took(r.Key, ts, after.Last) // if it is not applied there is no such version
	return resp, nil
}
