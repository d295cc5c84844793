package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/txn"
)

func account(i int) keys.Key {
	return keys.AppendInt64(keys.Index(keys.FirstUserTable, 1), int64(i))
}

func value(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// retry runs f in a transaction until it commits.
func retry(ctx context.Context, g txn.Gateway, f func(t txn.Txn) error) error {
	t := g.Begin(ctx, txn.Options{})
	for {
		err := f(t)
		if err == nil {
			_, err = t.Commit(ctx)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !t.Retryable(err) {
			t.Rollback(context.WithoutCancel(ctx))
			return err
		}
		if err := t.Restart(ctx, err); err != nil {
			return err
		}
	}
}

// Money moves between ranges on three nodes, through every gateway, while leaders are cut off,
// nodes stop and start, and ranges split: none is lost, and every snapshot adds up.
func TestBank(t *testing.T) {
	const accounts, each = 60, 100
	l := StartLocal(t, 3, nil)
	ctx := t.Context()
	require.NoError(t, retry(ctx, l.Nodes[0].Gateway(), func(tx txn.Txn) error {
		for i := range accounts {
			if err := tx.Put(account(i), value(each)); err != nil {
				return err
			}
		}
		return nil
	}))
	split := func(i int) {
		_, err := l.first().Sender().Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: account(i)}}})
		require.NoError(t, err)
	}
	split(20)

	var moved, failed atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	run := func(g txn.Gateway, quit <-chan struct{}) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				case <-quit:
					return
				default:
				}
				a, b := rand.IntN(accounts), rand.IntN(accounts)
				if a == b {
					continue
				}
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				err := retry(ctx, g, func(tx txn.Txn) error {
					vs, err := tx.GetMany(ctx, []keys.Key{account(a), account(b)}, txn.ScanOptions{Lock: kv.LockNoKeyUpdate})
					if err != nil {
						return err
					}
					if err := tx.Put(account(a), value(int64(binary.BigEndian.Uint64(vs[0]))-1)); err != nil {
						return err
					}
					return tx.Put(account(b), value(int64(binary.BigEndian.Uint64(vs[1]))+1))
				})
				cancel()
				if err == nil {
					moved.Add(1)
				} else {
					failed.Add(1)
				}
			}
		}()
	}
	total := func(at int) error {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		return retry(ctx, l.Nodes[at].Gateway(), func(tx txn.Txn) error {
			sum, rows := int64(0), 0
			sc := tx.Scan(ctx, []keys.Span{{Start: account(0), End: account(accounts)}}, txn.ScanOptions{})
			defer sc.Close()
			for {
				page, ok, err := sc.Next(ctx)
				if err != nil {
					return err
				}
				if !ok {
					break
				}
				for {
					_, v, ok, err := page.Rows.Next()
					if err != nil {
						return err
					}
					if !ok {
						break
					}
					sum += int64(binary.BigEndian.Uint64(v))
					rows++
				}
			}
			if rows != accounts || sum != accounts*each {
				t.Errorf("%d rows, %d in all, by transaction %s", rows, sum, tx.ID())
			}
			return nil
		})
	}
	never := make(chan struct{})
	for n := range 2 { // the third node comes and goes
		for range 3 {
			run(l.Nodes[n].Gateway(), never)
		}
	}
	check := func(what string, at int) {
		before := moved.Load()
		l.Eventually(20*time.Second, what, func() error {
			if moved.Load() < before+20 {
				return fmt.Errorf("only %d transfers since", moved.Load()-before)
			}
			return nil
		})
		// A node that has just been joined to the others again may say once more that nobody answers it.
		l.Eventually(20*time.Second, what, func() error {
			err := total(at)
			if err != nil && !kv.HasCode(err, kv.CodeUnavailable) {
				l.LogState()
				t.Fatalf("%s: %v", what, err)
			}
			return err
		})
		t.Logf("%-28s %6d transfers, %d failed", what, moved.Load(), failed.Load())
	}
	check("at first", 0)
	split(40)
	check("after a split", 2)
	l.Net.Isolate(1, 2, 3)
	check("node 1 is cut off", 1)
	l.Net.Heal()
	check("healed", 0)
	l.Net.Cut(2, 1)
	check("one way is cut", 2)
	l.Net.Heal()
	l.Stop(2, true)
	check("node 3 has left", 0)
	l.Restart(2)
	l.WaitReplicated(3)
	check("node 3 is back", 2)
	l.Stop(2, false)
	check("node 3 has died", 1)
	l.Restart(2)
	check("node 3 is back again", 2)
	close(stop)
	wg.Wait()
	l.WaitReplicated(3)
	for i := range 3 {
		require.NoError(t, total(i))
	}
}
