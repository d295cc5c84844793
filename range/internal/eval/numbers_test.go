package eval

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// remembered is a leader's memory of sequences.
type remembered map[string]struct {
	ts   hlc.Timestamp
	last int64
}

func (m remembered) Last(key keys.Key, ts hlc.Timestamp) (int64, bool) {
	x, ok := m[string(key)]
	return x.last, ok && x.ts == ts
}

func (m remembered) Took(key keys.Key, ts hlc.Timestamp, last int64) {
	m[string(key)] = struct {
		ts   hlc.Timestamp
		last int64
	}{ts, last}
}

// Sequences against one that writes every number. Leaders come with no memory and come back with an old one, writes are not applied,
// and somebody sets the state: nothing is handed out twice, and nothing is left out but then.
func TestNumbers(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t)
		key := name("s")
		rule := kv.NumberRule{Start: 5, By: 1 + rng.Int64N(3), Min: 1, Max: 1 << 40, Cycle: rng.IntN(2) == 0}
		if rng.IntN(2) == 0 {
			rule.By, rule.Min, rule.Max = -rule.By, -1<<40, 9
		}
		if rng.IntN(3) == 0 {
			rule.Min, rule.Max = -20, 100 // it comes to its end
		}
		twin := kv.NumberState{Last: rule.Start} // as if each number were written
		leaders := []remembered{{}, {}}
		exact := true   // the sequence has lost nothing that the twin has
		ordered := true // it still goes the way that it went when the last number was taken
		written := 0
		send := func(apply bool, want int64) *kv.IncrementResponse {
			w.phys++
			r := rule
			req := &kv.BatchRequest{RangeID: w.env.Desc.RangeID, Requests: []kv.Request{&kv.Increment{Key: key, By: want, Numbers: &r}}}
			resp, eff, err := Evaluate(context.Background(), w.env, req)
			require.NoError(t, err)
			switch {
			case eff == nil:
			case apply:
				written++
				w.apply(eff)
			default:
				require.NoError(t, eff.Batch.Close())
				return nil
			}
			return resp.Responses[0].(*kv.IncrementResponse)
		}
		w.env.Numbers = leaders[0]
		asked := 0
		for range 400 {
			switch op := rng.IntN(100); {
			case op < 2: // another leader, or the one before
				w.env.Numbers = leaders[rng.IntN(2)]
				exact = false
			case op < 3: // a leader that has just started
				w.env.Numbers = remembered{}
				exact = false
			case op < 5: // its number is lost
				send(false, 1)
				exact = false
			case op < 6: // setval
				twin = kv.NumberState{Last: rule.Min + rng.Int64N(50), Taken: rng.IntN(2) == 0}
				w.phys++
				_, _, err := w.do(&kv.BatchRequest{Requests: []kv.Request{&kv.Put{Key: key, Value: twin.Append(nil)}}})
				require.NoError(t, err)
				exact = true
			case op < 7: // ALTER SEQUENCE INCREMENT
				was := rule.By
				rule.By = []int64{1, 3, -1, 7}[rng.IntN(4)]
				ordered = ordered && (was > 0) == (rule.By > 0)
			case op < 20:
				got := send(true, 0)
				if exact {
					require.Equal(t, &kv.IncrementResponse{Value: twin.Last, Taken: twin.Taken}, got, "seed %d", seed)
				}
			default:
				want := 1 + rng.Int64N(4)*rng.Int64N(2)
				got := send(true, want)
				asked++
				if !exact {
					// Numbers may have been left out since the last one that the twin knows of, and none may come again.
					if got.Count > 0 && twin.Taken && ordered && !rule.Cycle {
						require.True(t, rule.Follows(twin.Last, got.Value), "seed %d: %d after %d", seed, got.Value, twin.Last)
					}
					if got.Count > 0 {
						_, n, after := rule.Take(kv.NumberState{Last: got.Value}, want)
						require.Equal(t, n, got.Count, "seed %d", seed)
						twin, exact, ordered = after, true, true
					}
					continue
				}
				first, n, after := rule.Take(twin, want)
				twin, ordered = after, ordered || n > 0
				require.Equal(t, n, got.Count, "seed %d", seed)
				if n > 0 {
					require.Equal(t, first, got.Value, "seed %d", seed)
				}
			}
		}
		require.Less(t, written, asked/2+1, "seed %d: most requests write nothing", seed)
		w.close()
	}
}
