package eval

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// hot lays and resolves locks of many transactions, young and old, on two keys, and returns how often there was a floor, and the first look above one that
// sees something else than a look at everything.
func hot(t *testing.T, seed uint64, plant Planted) (floors int, wrong error) {
	w := newWorld(t)
	defer w.close()
	w.env.Planted = plant
	rng := rand.New(rand.NewPCG(seed, 1))
	held := map[string]kv.TxnMeta{}
	for n := range 400 {
		w.phys += 10
		k := name([]string{"a", "b"}[rng.IntN(2)])
		if m, ok := held[string(k)]; ok {
			_, _, err := w.do(&kv.BatchRequest{Txn: &m, Requests: []kv.Request{&kv.EndTxn{Local: []keys.Key{k}}}})
			require.NoError(t, err)
			delete(held, string(k))
		} else {
			m := kv.TxnMeta{ReadTS: hlc.Timestamp{WallTime: w.phys}, Anchor: k}
			began := uint64(1000 + n)
			if rng.IntN(10) == 0 {
				began -= uint64(rng.IntN(n + 1)) // long ago
			}
			binary.BigEndian.PutUint64(m.ID[:], began)
			m.ID[15] = byte(n)
			_, _, err := w.do(&kv.BatchRequest{Txn: &m, Requests: []kv.Request{&kv.Prepare{Writes: []kv.Write{{Key: k, Value: fmt.Append(nil, n)}}, StageTS: m.ReadTS}}})
			if _, conflict := err.(*ConflictError); conflict { // with a lock that it ought not to have
				return floors, fmt.Errorf("step %d: %w", n, err)
			}
			require.NoError(t, err)
			held[string(k)] = m
		}
		for _, k := range []keys.Key{name("a"), name("b")} {
			f := w.env.Floors.Floor(k, w.env.Floors.Now())
			r := mvcc.NewReader(w.e.DB())
			all, err := r.Lock(k)
			require.NoError(t, err)
			above, _, err := r.LockFrom(k, f)
			require.NoError(t, err)
			require.NoError(t, r.Close())
			if (all == nil) != (above == nil) || all != nil && all.Txn.ID != above.Txn.ID {
				return floors, fmt.Errorf("step %d: above the floor there is %v, in all %v", n, above, all)
			}
			if !f.IsZero() {
				floors++
			}
		}
	}
	return floors, nil
}

// A look above the floor sees what a look at everything sees, however old the transactions are.
func TestLockFloors(t *testing.T) {
	for seed := range uint64(20) {
		floors, wrong := hot(t, seed, Planted{})
		require.NoError(t, wrong, "seed %d", seed)
		require.Greater(t, floors, 100, "seed %d", seed)
	}
}

// A floor that stays where it is hides a lock, and the comparison sees that.
func TestLockFloorsMutant(t *testing.T) {
	for seed := range uint64(20) {
		if _, wrong := hot(t, seed, Planted{FloorStays: true}); wrong != nil {
			t.Logf("seed %d: %v", seed, wrong)
			return
		}
	}
	t.Fatal("nobody noticed")
}

// A floor is for those who began to read after it was raised.
func TestFloorsAndTime(t *testing.T) {
	var f LockFloors
	k := name("a")
	before := f.Now()
	f.Raise(k, kv.TxnID{5})
	require.Zero(t, f.Floor(k, before))
	require.Equal(t, kv.TxnID{5}, f.Floor(k, f.Now()))
	f.Raise(k, kv.TxnID{3})
	require.Equal(t, kv.TxnID{5}, f.Floor(k, f.Now()))
	f.Lower(k, kv.TxnID{4})
	require.Equal(t, kv.TxnID{4}, f.Floor(k, f.Now()))
	f.Lower(k, kv.TxnID{6})
	require.Equal(t, kv.TxnID{4}, f.Floor(k, f.Now()))
	for i := range maxFloors + 10 {
		f.Raise(name(fmt.Sprint("k", i)), kv.TxnID{8})
	}
	require.LessOrEqual(t, len(f.of), maxFloors)
	require.Equal(t, kv.TxnID{0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, kv.TxnID{0, 1}.Prev())
}
