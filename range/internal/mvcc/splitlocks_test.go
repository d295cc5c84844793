package mvcc

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Locks are counted as what they will be as versions, and cut in the middle of that, or near its end.
func TestSplitKeyByLocks(t *testing.T) {
	eng := testEngine(t)
	defer func() { require.NoError(t, eng.Close()) }()
	const locks = 1000
	key := func(i int) keys.Key { return keys.Key(fmt.Sprintf("\x04%04d", i)) }
	b := eng.DB().NewBatch()
	w := Writer{Batch: b}
	id := kv.TxnID{1}
	for i := range locks {
		n := 100
		if i < locks/2 {
			n = 300 // a half holds three quarters
		}
		require.NoError(t, w.PutLock(key(i), &kv.LockRecord{Txn: kv.TxnMeta{ID: id}, TS: hlc.Timestamp{WallTime: 6}, Value: make([]byte, n)}, false))
	}
	require.NoError(t, b.Commit(pebble.Sync))
	each := int64(5 + versionOverhead)
	total := locks/2*(300+each) + locks/2*(100+each)
	span := keys.Span{Start: key(0), End: keys.Key("\x05")}
	guess, err := GuessLocks(eng.DB(), span, w.Stats.Locks)
	require.NoError(t, err)
	require.Equal(t, locks*(100+each), guess, "it goes by the last")
	for at, want := range map[float64]int64{0.1: total / 10, 0.5: total / 2, 0.9: total * 9 / 10} {
		cut, bytes, err := SplitKeyByLocks(t.Context(), eng.DB(), span, guess, at)
		require.NoError(t, err)
		require.Equal(t, total, bytes)
		left := int64(0)
		for i := 0; key(i).Less(cut); i++ {
			left += 100 + each
			if i < locks/2 {
				left += 200
			}
		}
		require.InDelta(t, want, left, float64(total)/100)
	}

	// What is cut has a lock on either side.
	none, bytes, err := SplitKeyByLocks(t.Context(), eng.DB(), keys.Span{Start: key(7), End: key(8)}, guess, 0.5)
	require.NoError(t, err)
	require.Nil(t, none)
	require.EqualValues(t, 300+each, bytes)
	guess, err = GuessLocks(eng.DB(), keys.Span{Start: keys.Key("\x05"), End: keys.Key("\x06")}, 1000)
	require.NoError(t, err)
	require.Zero(t, guess, "the locks are gone meanwhile")
}
