package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

type regOp struct {
	key   int
	write bool
	value string
}

// register is the model of independent registers; a read returns the last value written.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[int][]porcupine.Operation{}
		for _, op := range history {
			k := op.Input.(regOp).key
			byKey[k] = append(byKey[k], op)
		}
		var out [][]porcupine.Operation
		for _, ops := range byKey {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		op := in.(regOp)
		if op.write {
			return true, op.value
		}
		return out.(string) == state.(string), state
	},
}

// Reads and writes of a few registers are linearizable, whatever happens to leaders, links and disks.
func TestLinearizableUnderFaults(t *testing.T) {
	linearizable(t, 400*time.Millisecond, 0, 1, 2, 3, 4, 5, 6)
}

// The same where ranges come and go all the time, and their leaders with them.
func TestLinearizableUnderSplitsAndMerges(t *testing.T) {
	linearizable(t, 60*time.Millisecond, 5, 6, 5, 6, 5, 6, 5, 6, 4, 4, 0, 2)
}

// linearizable picks a fault at random after pauses of up to the given length.
func linearizable(t *testing.T, pause time.Duration, faults ...int) {
	k := testKnobs
	k.LogTruncateBytes, k.LogMaxBytes = 8<<10, 32<<10
	c := newCluster(t, 3, k)
	c.upReplicate(2, 3)
	const keysN, clients = 5, 6
	length := 6 * time.Second
	if testing.Short() {
		length = 2 * time.Second
	}
	begin := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	var acked atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for id := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				op := regOp{key: rand.IntN(keysN), write: rand.IntN(2) == 0, value: fmt.Sprint(id, "-", n)}
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				call := time.Since(begin)
				var out string
				var err error
				if op.write {
					err = c.put(ctx, op.key, op.value)
				} else {
					out, err = c.get(ctx, op.key)
				}
				cancel()
				ret := time.Since(begin)
				if err != nil {
					if !op.write || kv.AsError(err).Code != kv.CodeUnknownOutcome {
						continue // it had no effect
					}
					ret = time.Hour // it may take effect at any time
				} else {
					acked.Add(1)
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: id, Input: op, Call: int64(call), Output: out, Return: int64(ret)})
				mu.Unlock()
				time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
			}
		}()
	}
	var splits, merges int
	count := func(n *int, err error) {
		if err == nil {
			*n++
		}
	}
	// On a slow machine so much happens in that time that little is acknowledged; then it goes on.
	for end := time.Now().Add(length); time.Now().Before(end) || acked.Load() <= 20 && time.Now().Before(end.Add(time.Minute)); {
		time.Sleep(pause/4 + rand.N(pause))
		n := kv.NodeID(1 + rand.IntN(3))
		if s, _ := c.leaderOf(kv.FirstUserRange); s != nil && rand.IntN(2) == 0 {
			n = s.id.NodeID
		}
		switch faults[rand.IntN(len(faults))] {
		case 0:
			c.nodes[n].crash()
			time.Sleep(time.Duration(rand.IntN(600)) * time.Millisecond)
			c.nodes[n].start()
		case 1:
			c.isolate(n, true)
			time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond)
			c.isolate(n, false)
		case 2:
			c.mu.Lock()
			c.drop, c.delay = 0.2, 5*time.Millisecond
			c.mu.Unlock()
			time.Sleep(300 * time.Millisecond)
			c.mu.Lock()
			c.drop, c.delay = 0, 0
			c.mu.Unlock()
		case 3: // everybody at once
			for _, nd := range c.nodes {
				nd.crash()
			}
			for _, nd := range c.nodes {
				nd.start()
			}
		case 5: // between two of the registers
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key(1 + rand.IntN(keysN-1))}}})
			cancel()
			count(&splits, err)
		case 6:
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			count(&merges, c.mergeAny(ctx))
			cancel()
		case 4:
			if s, _ := c.leaderOf(kv.FirstUserRange); s != nil {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				_, _ = s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminTransferLeader{Target: kv.StoreID(n)}}})
				cancel()
			}
		}
	}
	close(stop)
	wg.Wait()
	c.waitLeader(kv.FirstUserRange)
	c.checkReplicas(c.ctx(30 * time.Second))
	c.metaTiles(c.ctx(30 * time.Second))
	t.Logf("%d operations, %d acknowledged; %d splits, %d merges", len(history), acked.Load(), splits, merges)
	require.Greater(t, acked.Load(), int64(20))
	require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(register, history, 3*time.Minute))
}
