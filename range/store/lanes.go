package store

import (
	"context"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/kv"
)

// lanes let one piece of large transactions at a time into each range: of what they write ahead or take back (kv.BatchRequest.IsLarge), and of the resolution of their locks, whosever it is.
//
// Each piece is up to a thousand keys in the log of its range, and all that is proposed meanwhile waits until they have been synced, sent and applied. Of the four that one transaction has under way, and
// those of others, several go into one round, and a small write stands behind two rounds. Who comes first is served first.
//
// A piece may have to wait for a row that another transaction has locked, which may have a piece waiting here. So each has the lane to itself for laneLasts at most, and is
// not alone in it from then on.
type lanes struct {
	mu sync.Mutex
	of map[kv.RangeID]*lane // those in use; guarded by mu
}

type lane struct {
	token chan struct{} // of size 1: there is a piece under way
	users int           // who have it or wait for it; guarded by lanes.mu
}

// laneLasts is longer than nearly all pieces take that wait for nobody.
const laneLasts = 250 * time.Millisecond

// take waits until no other piece is under way in the range. The caller calls over when its own is.
func (l *lanes) take(ctx context.Context, id kv.RangeID) (over func(), err error) {
	l.mu.Lock()
	x := l.of[id]
	if x == nil {
		x = &lane{token: make(chan struct{}, 1)}
		l.of[id] = x
	}
	x.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if x.users--; x.users == 0 {
			delete(l.of, id)
		}
	}
	select {
	case x.token <- struct{}{}:
		end := sync.OnceFunc(func() { <-x.token; leave() })
		late := time.AfterFunc(laneLasts, end)
		return func() { late.Stop(); end() }, nil
	case <-ctx.Done():
		leave()
		return nil, kv.Errorf(kv.CodeCanceled, "canceled while other parts of large transactions are written: %v", ctx.Err())
	}
}
