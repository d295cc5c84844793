package mvcc

import (
	"context"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// A key with many versions makes the scan seek instead of step, in both directions.
func TestManyVersions(t *testing.T) {
	e := testEngine(t)
	defer func() { require.NoError(t, e.Close()) }()
	m := &twin{}
	w := Writer{Batch: e.DB().NewBatch()}
	for _, k := range []string{"\x04a", "\x04b", "\x04c"} {
		n := 40
		if k == "\x04b" {
			n = 3
		}
		for i := range n {
			v := twinVersion{key: k, ts: hlc.Timestamp{WallTime: int64(i + 1)}, deleted: i%7 == 3, value: string(rune('a' + i%26))}
			v.local = v.ts
			if v.deleted {
				v.value = ""
			}
			require.NoError(t, w.Put(keys.Key(k), v.ts, v.deleted, []byte(v.value), m.newest(k)))
			m.versions = append(m.versions, v)
		}
	}
	require.NoError(t, w.Batch.Commit(pebble.Sync))
	for range 2 {
		for ts := int64(0); ts < 42; ts++ {
			for _, reverse := range []bool{false, true} {
				for _, limit := range []int64{0, ts + 1, ts + 10} {
					r := NewReader(e.DB())
					win := Window{Local: hlc.Timestamp{WallTime: limit}, Global: hlc.Timestamp{WallTime: limit}}
					checkScan(t, m, r, modelDesc.Span(), reverse, hlc.Timestamp{WallTime: ts}, win)
					require.NoError(t, r.Close())
				}
			}
		}
		require.NoError(t, e.DB().Flush())
	}
}

func TestChecksumAndRecords(t *testing.T) {
	ctx := context.Background()
	a, b := testEngine(t), testEngine(t)
	defer func() { require.NoError(t, a.Close()); require.NoError(t, b.Close()) }()
	id := kv.TxnID{9}
	fill := func(e *engine.Engine) {
		w := Writer{Batch: e.DB().NewBatch()}
		require.NoError(t, w.Put(keys.Key("\x04k"), hlc.Timestamp{WallTime: 5}, false, []byte("v"), Newest{}))
		require.NoError(t, w.PutLock(keys.Key("\x04l"), &kv.LockRecord{Txn: kv.TxnMeta{ID: id}, TS: hlc.Timestamp{WallTime: 6}, Value: []byte("x")}, false))
		require.NoError(t, w.PutTxnRecord(&kv.TxnRecord{Meta: kv.TxnMeta{ID: id, Anchor: keys.Key("\x04l")}, Status: kv.TxnStaging, Prepared: []keys.Key{keys.Key("\x04l")}}))
		require.NoError(t, w.PutCommitOutcome(0, keys.Key("\x04l"), id, CommitOutcome{Committed: true, CommitTS: hlc.Timestamp{WallTime: 5}}))
		require.NoError(t, w.Batch.Set(DescriptorKey(7), modelDesc.AppendWire(nil), nil))
		require.NoError(t, w.Batch.Commit(pebble.Sync))
	}
	fill(a)
	fill(b)
	sum := func(e *engine.Engine) string {
		s, err := Checksum(ctx, e.DB(), modelDesc)
		require.NoError(t, err)
		return s
	}
	first := sum(a)
	require.Len(t, first, 64)
	require.Equal(t, first, sum(b))
	require.NoError(t, a.DB().Flush())
	require.Equal(t, first, sum(a))

	// The applied state does not count; everything else does.
	st := AppliedState{AppliedIndex: 3, AppliedTerm: 2, Stats: kv.Stats{LiveRows: 1, LiveBytes: -2, Versions: 3, Bytes: 4, Locks: 5},
		ClosedTS: hlc.Timestamp{WallTime: 9, Logical: 1}, GCThreshold: hlc.Timestamp{WallTime: 1},
		Outcomes: Outcomes{Half: 1, Since: hlc.Timestamp{WallTime: 8, Logical: 2}, Forgotten: hlc.Timestamp{WallTime: 7}}}
	require.NoError(t, a.DB().Set(AppliedStateKey(7), AppendAppliedState(nil, &st), pebble.Sync))
	require.Equal(t, first, sum(a))
	got, ok, err := LoadAppliedState(a.DB(), 7)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, st, got)
	_, ok, err = LoadAppliedState(b.DB(), 7)
	require.NoError(t, err)
	require.False(t, ok)
	for _, change := range []func(w *Writer) error{
		func(w *Writer) error { return w.ClearLock(keys.Key("\x04l"), id) },
		func(w *Writer) error { return w.ClearTxnRecord(keys.Key("\x04l"), id) },
		func(w *Writer) error {
			return w.PutCommitOutcome(1, keys.Key("\x04l"), kv.TxnID{1}, CommitOutcome{CommitTS: hlc.Timestamp{WallTime: 1}})
		},
		func(w *Writer) error {
			return w.Put(keys.Key("\x04k"), hlc.Timestamp{WallTime: 7}, true, nil, Newest{Exists: true, TS: hlc.Timestamp{WallTime: 5}, ValueLen: 1})
		},
	} {
		before := sum(b)
		w := Writer{Batch: b.DB().NewBatch()}
		require.NoError(t, change(&w))
		require.NoError(t, w.Batch.Commit(pebble.Sync))
		require.NotEqual(t, before, sum(b))
	}

	d, err := LoadDescriptor(a.DB(), 7)
	require.NoError(t, err)
	require.Equal(t, modelDesc.String(), d.String())
}

// Outcomes are kept for a turn, and belong to the range that holds their key.
func TestOutcomes(t *testing.T) {
	e := testEngine(t)
	defer func() { require.NoError(t, e.Close()) }()
	key, id := keys.Key("\x04l"), kv.TxnID{9}
	ts := func(n int64) hlc.Timestamp { return hlc.Timestamp{WallTime: n} }
	var o Outcomes
	do := func(fn func(w *Writer) error) {
		t.Helper()
		w := Writer{Batch: e.DB().NewBatch()}
		require.NoError(t, fn(&w))
		require.NoError(t, w.Batch.Commit(pebble.Sync))
	}
	put := func(key keys.Key) {
		t.Helper()
		do(func(w *Writer) error {
			return w.PutCommitOutcome(o.Half, key, id, CommitOutcome{Committed: true, CommitTS: ts(5)})
		})
	}
	turn := func(d *kv.RangeDescriptor, at int64) {
		t.Helper()
		do(func(w *Writer) error { return o.Turn(w.Batch, d, ts(at)) })
	}
	known := func(key keys.Key) string {
		t.Helper()
		s := ""
		for shelf := range byte(3) {
			got, ok, err := LoadCommitOutcome(e.DB(), shelf, key, id)
			require.NoError(t, err)
			require.Equal(t, ok, got.Committed)
			if ok {
				s += fmt.Sprint(shelf)
			}
		}
		return s
	}
	remembered := func(d *kv.RangeDescriptor) bool {
		t.Helper()
		ok, err := Remembered(e.DB(), d)
		require.NoError(t, err)
		return ok
	}

	require.False(t, remembered(modelDesc))
	put(key)
	require.Equal(t, "0", known(key))
	require.True(t, remembered(modelDesc))
	turn(modelDesc, 10)
	require.Equal(t, Outcomes{Half: 1, Since: ts(10)}, o)
	require.Equal(t, "0", known(key), "the older shelf now")
	put(keys.Key("\x04m"))
	turn(modelDesc, 20)
	require.Equal(t, Outcomes{Half: 0, Since: ts(20), Forgotten: ts(10)}, o)
	require.Equal(t, "", known(key))
	require.Equal(t, "1", known(keys.Key("\x04m")))

	// Two ranges that came of a split forget for themselves.
	left, right := modelDesc.Clone(), modelDesc.Clone()
	left.EndKey, right.StartKey = keys.Key("\x04m"), keys.Key("\x04m")
	put(key)
	require.True(t, remembered(left) && remembered(right))
	was := o
	turn(right, 30)
	require.Equal(t, "0", known(key))
	require.Equal(t, "", known(keys.Key("\x04m")))
	require.False(t, remembered(right))

	// United, they know all that either knew, and the next turn is a whole one.
	o = was.Merged(o, ts(40))
	require.Equal(t, Outcomes{Half: 0, Since: ts(40), Forgotten: ts(20)}, o)
	turn(modelDesc, 60)
	require.Equal(t, ts(40), o.Forgotten)
	require.Equal(t, "0", known(key))

	// Merges are remembered for longer.
	do(func(w *Writer) error {
		return w.PutCommitOutcome(MergeShelf, key, id, CommitOutcome{Committed: true, CommitTS: ts(50)})
	})
	turn(modelDesc, 80)
	require.Equal(t, "2", known(key))
	for _, c := range []struct{ below, removed int64 }{{50, 0}, {51, 1}} {
		do(func(w *Writer) error {
			n, err := PurgeMergeOutcomes(e.DB(), w, modelDesc.Span(), ts(c.below), 100)
			require.Equal(t, c.removed, n)
			return err
		})
	}
	require.Equal(t, "", known(key))
}

func FuzzDecoders(f *testing.F) {
	f.Add([]byte{kindValue, 1})
	f.Add([]byte{kindTombstone | flagLocal, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2})
	f.Add(AppendAppliedState(nil, &AppliedState{AppliedIndex: 1}))
	f.Add(AppendCommitOutcome(nil, CommitOutcome{Committed: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var local hlc.Timestamp
		if _, v, err := decodeValue(b, &local); err == nil && len(v) >= len(b) {
			t.Fatalf("%x", b)
		}
		if s, err := DecodeAppliedState(b); err == nil {
			require.Equal(t, b, AppendAppliedState(nil, &s))
		}
		if o, err := DecodeCommitOutcome(b); err == nil {
			require.Equal(t, b, AppendCommitOutcome(nil, o))
		}
	})
}

// What LeftRecords returns outlives its iterator, and the blocks that it has read.
func TestLeftRecords(t *testing.T) {
	e := testEngine(t)
	defer func() { require.NoError(t, e.Close()) }()
	const n = 2000
	key := func(i, j int) keys.Key { return fmt.Appendf(keys.Key("\x04k"), "%d/%d/%0200d", i, j, 0) } // all of it more than the cache takes
	w := Writer{Batch: e.DB().NewBatch()}
	want := map[kv.TxnID]kv.TxnRecord{}
	for i := range n {
		rec := kv.TxnRecord{Meta: kv.TxnMeta{ID: kv.MakeTxnID(hlc.Timestamp{WallTime: int64(i + 1)}, uint64(i)), Anchor: key(i, 0)}, Status: kv.TxnCommitted, CommitTS: hlc.Timestamp{WallTime: 5}}
		for j := range i%30 + 1 {
			rec.Prepared = append(rec.Prepared, key(i, j))
		}
		switch i % 6 {
		case 0:
			rec.Status = []kv.TxnStatus{kv.TxnAborted, kv.TxnPrepared}[i/6%2]
		case 1:
			rec.Held = true
		case 2:
			rec.CommitTS.WallTime = 6
		case 3:
			rec.Prepared = nil
		default:
			rec.Status = []kv.TxnStatus{kv.TxnCommitted, kv.TxnStaging, kv.TxnOpen}[i/6%3]
			want[rec.Meta.ID] = rec
		}
		require.NoError(t, w.PutTxnRecord(&rec))
	}
	require.NoError(t, w.Batch.Commit(pebble.Sync))
	require.NoError(t, e.DB().Flush())
	recs, err := LeftRecords(e.DB(), keys.Span{Start: keys.Key("\x04"), End: keys.Key("\x05")}, nil, hlc.Timestamp{WallTime: 6}, n)
	require.NoError(t, err)
	require.Len(t, recs, len(want))
	for _, rec := range recs {
		require.Equal(t, want[rec.Meta.ID].Prepared, rec.Prepared)
		require.Equal(t, want[rec.Meta.ID].Meta.Anchor, rec.Meta.Anchor)
	}
	recs, err = LeftRecords(e.DB(), keys.Span{Start: keys.Key("\x04"), End: keys.Key("\x05")}, nil, hlc.Timestamp{WallTime: 6}, 3)
	require.NoError(t, err)
	require.Len(t, recs, 3)

	// Piece by piece.
	var from keys.Key
	seen := 0
	for {
		recs, err := LeftRecords(e.DB(), keys.Span{Start: keys.Key("\x04"), End: keys.Key("\x05")}, from, hlc.Timestamp{WallTime: 6}, 100)
		require.NoError(t, err)
		if len(recs) == 0 {
			break
		}
		seen += len(recs)
		last := recs[len(recs)-1].Meta
		from = keys.TxnRecord(last.Anchor, last.ID).Next()
	}
	require.Equal(t, len(want), seen)
}
