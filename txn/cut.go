package txn

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// maxRecuts bounds how often keys are cut again because ranges split under them.
const maxRecuts = 20

func randomID() uint64 { return rand.Uint64() }

func isKV(err error) bool {
	var ke *kv.Error
	return errors.As(err, &ke)
}

// growStack makes room on a new goroutine's stack for a request that is executed on this node, which takes nearly 16 KiB. A stack that grows on
// the way down doubles three times, and each time all its frames are rewritten: a twentieth of what a gateway's processor did for a commit.
//
//go:noinline
func growStack() {
	var room [9 << 10]byte
	runtime.KeepAlive(&room)
}

// inParallel runs f(0..n-1), at most Config.Parallel at a time. The first error cancels the rest and is returned.
func (c *Coordinator) inParallel(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	return inParallel(ctx, n, c.cfg.Parallel, f)
}

func inParallel(ctx context.Context, n, limit int, f func(ctx context.Context, i int) error) error {
	switch n {
	case 0:
		return nil
	case 1:
		return f(ctx, 0)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
		next  int
	)
	work := func() {
		for {
			mu.Lock()
			i := next
			next++
			stop := first != nil
			mu.Unlock()
			if i >= n || stop {
				return
			}
			if err := f(ctx, i); err != nil {
				mu.Lock()
				if first == nil {
					first = err
				}
				mu.Unlock()
				cancel()
			}
		}
	}
	for range min(n, limit) - 1 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			growStack()
			work()
		}()
	}
	work() // who waits can do its share
	wg.Wait()
	return first
}

// cutKeys sorts keys by range, keeping their order within each.
func (c *Coordinator) cutKeys(ctx context.Context, ks []keys.Key) ([]rangeKeys, error) {
	spans := make([]keys.Span, len(ks))
	for i, k := range ks {
		spans[i].Start = k
	}
	parts, err := c.cfg.Sender.Ranges(ctx, spans, false)
	if err != nil {
		return nil, asError(ctx, err)
	}
	var out []rangeKeys
	at := make(map[kv.RangeID]int, len(parts))
	n := 0
	for _, p := range parts {
		i, ok := at[p.RangeID]
		if !ok {
			i = len(out)
			at[p.RangeID] = i
			out = append(out, rangeKeys{id: p.RangeID})
		}
		for _, s := range p.Spans {
			out[i].keys = append(out[i].keys, s.Start)
			n++
		}
	}
	if n != len(ks) {
		return nil, kv.Errorf(kv.CodeInternal, "%d keys became %d when they were cut by range", len(ks), n)
	}
	return out, nil
}

type rangeKeys struct {
	id   kv.RangeID
	keys []keys.Key
}

// maxKeysPerBatch bounds the keys of a resolving batch.
const maxKeysPerBatch = 4096

// largeParallel is how many large batches are under way at a time: a range takes only so many bytes in flight, and refuses the
// others until they give up.
const largeParallel = 4

// smallParallel times Config.Parallel ranges are asked at a time for what is small: the prepares of a commit of a few megabytes, and lists of keys to be resolved.
const smallParallel = 4

// eachRange sends, for the keys of each range, the batch that mk makes, until it has been answered; keys are cut
// again when a range has split. Whatever mk makes must be idempotent. Other errors than those of
// routing and lost answers end it.
func (c *Coordinator) eachRange(ctx context.Context, ks []keys.Key, mk func([]keys.Key) *kv.BatchRequest, got func([]keys.Key, *kv.BatchResponse)) error {
	return c.eachRangeN(ctx, ks, mk, got, 0)
}

func (c *Coordinator) eachRangeN(ctx context.Context, ks []keys.Key, mk func([]keys.Key) *kv.BatchRequest, got func([]keys.Key, *kv.BatchResponse), depth int) error {
	if len(ks) == 0 {
		return nil
	}
	cut, err := c.cutKeys(ctx, ks)
	if err != nil {
		return err
	}
	var chunks [][]keys.Key
	for _, r := range cut {
		for rest := r.keys; len(rest) > 0; {
			n := min(len(rest), maxKeysPerBatch)
			chunks = append(chunks, rest[:n])
			rest = rest[n:]
		}
	}
	limit := smallParallel * c.cfg.Parallel
	if len(chunks) > len(cut) {
		limit = min(c.cfg.Parallel, largeParallel)
	}
	return inParallel(ctx, len(chunks), limit, func(ctx context.Context, i int) error {
		return c.oneChunk(ctx, chunks[i], mk, got, depth)
	})
}

func (c *Coordinator) oneChunk(ctx context.Context, ks []keys.Key, mk func([]keys.Key) *kv.BatchRequest, got func([]keys.Key, *kv.BatchResponse), depth int) error {
	a := c.insist(ctx, func() *kv.BatchRequest { return mk(ks) }, true)
	if kv.HasCode(a.err, kv.CodeRangeMismatch) && depth < maxRecuts {
		return c.eachRangeN(ctx, ks, mk, got, depth+1)
	}
	if n := len(ks) / 2; n > 0 && kv.HasCode(a.err, kv.CodeTooLarge) {
		// The keys are few, but what is written at them is not.
		if err := c.oneChunk(ctx, ks[:n], mk, got, depth); err != nil {
			return err
		}
		return c.oneChunk(ctx, ks[n:], mk, got, depth)
	}
	if a.err == nil && got != nil {
		got(ks, a.resp)
	}
	return a.err
}

// answer of insist.
type answer struct {
	resp *kv.BatchResponse
	err  error
	// unknown: some attempt got no answer, so that a copy of the batch may still be on its
	// way. If err is not definite, whether it has happened is not known.
	unknown  bool
	definite bool
	// again: some copy of the batch was not answered, and may have had an effect before the one that was.
	again bool
	// lost: given up, since nobody answered (givesUp). It is not definite.
	lost bool
}

// unansweredFor is how long a client's commit goes on asking a range that does not answer at all: one that has lost its majority, or that this node is cut off from.
// The client is in doubt then, and is told so; the background goes on. Waiting for locks is no silence.
const unansweredFor = 30 * time.Second

// waiting says who waits for the work of a context, and so how long insist goes on with it. Without it, for as long as the context lives.
type waiting int

const (
	// clientWaits ends it after unansweredFor.
	clientWaits waiting = iota + 1
	// nobodyWaits ends it then too, and at once where what it asks for is lost for good: others begin it again.
	nobodyWaits
)

type waitingKey struct{}

func withWaiting(ctx context.Context, w waiting) context.Context {
	return context.WithValue(ctx, waitingKey{}, w)
}

// givesUp says whether insist ends, after nobody has answered for the given time, and err last.
func givesUp(ctx context.Context, silence time.Duration, err error) bool {
	w, some := ctx.Value(waitingKey{}).(waiting)
	return some && (silence >= unansweredFor || w == nobodyWaits && kv.IsLost(err))
}

// maxBugs is how often insist asks again after an internal error.
const maxBugs = 5

// insist sends the batch again and again until it is answered for good. With patient also as long as the range cannot be reached;
// otherwise that is an answer where nothing can have happened yet. It ends with ctx, or when givesUp says so, then not definite.
func (c *Coordinator) insist(ctx context.Context, mk func() *kv.BatchRequest, patient bool) answer {
	var a answer
	var b backoff
	bugs := 0
	var since time.Time // when it began that nobody answers
	for {
		req := mk()
		sent := time.Now()
		a.resp, a.err = c.cfg.Sender.Send(ctx, req)
		a.again = a.again || req.Repeated()
		if a.err == nil {
			a.definite = true
			return a
		}
		ke := kv.AsError(a.err)
		switch {
		case !isKV(a.err), ke.Code == kv.CodeCanceled, ke.Code == kv.CodeUnknownOutcome, ke.Code == kv.CodeInternal:
			// No answer, or one that says nothing about what happened.
			if !a.unknown {
				c.metrics.UnknownOutcomes.Add(1)
			}
			a.unknown, a.again = true, true
			if ke.Code == kv.CodeInternal && isKV(a.err) {
				if bugs++; bugs >= maxBugs {
					return a // it will not get better; recovery or the fence finds out what happened
				}
			}
		case ke.Code.Class() == kv.Corruption:
			a.unknown, a.again = true, true
			return a
		case ke.Code == kv.CodeRangeMismatch, ke.Code.Class() != kv.RetryRouting:
			a.definite = true
			return a
		case !patient && !a.unknown:
			a.definite = true // nothing was proposed
			return a
		}
		if ctx.Err() != nil {
			a.err = asError(ctx, a.err)
			return a
		}
		now := time.Now()
		if since.IsZero() { // the sender has given up; before that it may have waited for locks
			since = now.Add(-min(now.Sub(sent), unansweredFor))
		}
		if givesUp(ctx, now.Sub(since), a.err) {
			a.lost = true
			return a
		}
		b.wait(ctx)
	}
}

// release drops unreplicated locks. It is tried once for each range: what cannot be
// reached has lost them, or asks this gateway when somebody waits.
func (c *Coordinator) release(ctx context.Context, meta kv.TxnMeta, h heldLocks) {
	send := func(ctx context.Context, id kv.RangeID, ks []keys.Key) error {
		m := meta
		_, err := c.cfg.Sender.Send(ctx, &kv.BatchRequest{RangeID: id, Txn: &m, Requests: []kv.Request{&kv.ReleaseLocks{Keys: ks}}})
		return err
	}
	var failed error
	if len(h.spans) > 0 { // everything in these ranges
		parts, err := c.cfg.Sender.Ranges(ctx, h.spans, false)
		if err == nil {
			err = c.inParallel(ctx, len(parts), func(ctx context.Context, i int) error { return send(ctx, parts[i].RangeID, nil) })
		}
		failed = err
	}
	if len(h.keys) > 0 {
		cut, err := c.cutKeys(ctx, h.keys)
		if err == nil {
			err = c.inParallel(ctx, len(cut), func(ctx context.Context, i int) error {
				err := send(ctx, cut[i].id, cut[i].keys)
				if !kv.HasCode(err, kv.CodeRangeMismatch) {
					return err
				}
				for _, k := range cut[i].keys { // split meanwhile: each in its own range
					if err := send(ctx, 0, []keys.Key{k}); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil {
			failed = err
		}
	}
	if failed != nil {
		c.metrics.BackgroundFailed.Add(1)
	}
}
