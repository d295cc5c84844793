package sql

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/internal/memtxn"
	"github.com/pamirdb/pamir/txn"
)

// records is a gateway with prepared transactions.
type records struct {
	*memtxn.Store
	status    map[kv.TxnID]kv.TxnStatus
	away      map[kv.TxnID]bool
	asked     map[kv.TxnID]int
	forgotten []kv.TxnID
}

func (r *records) PreparedStatus(_ context.Context, m kv.TxnMeta) (kv.TxnStatus, hlc.Timestamp, error) {
	r.asked[m.ID]++
	if r.away[m.ID] {
		return kv.TxnUnknown, hlc.Timestamp{}, errors.New("away")
	}
	return r.status[m.ID], hlc.Timestamp{}, nil
}

func (r *records) Decide(_ context.Context, m kv.TxnMeta, commit bool) (kv.TxnStatus, error) {
	if r.status[m.ID] == kv.TxnPrepared {
		r.status[m.ID] = kv.TxnAborted
		if commit {
			r.status[m.ID] = kv.TxnCommitted
		}
	}
	return r.status[m.ID], nil
}

func (r *records) Forget(_ context.Context, m kv.TxnMeta) error {
	r.forgotten = append(r.forgotten, m.ID)
	return nil
}

// The names of prepared transactions whose end somebody did not come to go at the second look, and no others.
func TestForgetPrepared(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	g := &records{Store: w.store, status: map[kv.TxnID]kv.TxnStatus{}, away: map[kv.TxnID]bool{}, asked: map[kv.TxnID]int{}}
	w.srv.cfg.Gateway = g
	put := func(gid string, id byte, status kv.TxnStatus, ready bool) kv.TxnID {
		row := &preparedRow{GID: gid, Meta: kv.TxnMeta{ID: kv.TxnID{id}, Anchor: []byte("a")}, At: time.Unix(int64(id), 0), Ready: ready}
		g.status[row.Meta.ID] = status
		require.NoError(t, w.srv.changePrepared(ctx, gid, func(txn.Txn, *preparedRow) (*preparedRow, error) { return row, nil }))
		return row.Meta.ID
	}
	names := func() (out []string) {
		rows, err := w.srv.preparedTransactions(ctx)
		require.NoError(t, err)
		for i := range rows {
			out = append(out, rows[i].GID)
		}
		return out
	}
	committed := put("committed", 1, kv.TxnCommitted, true)
	put("reused", 2, kv.TxnCommitted, true)
	put("aborted", 3, kv.TxnAborted, true)
	open := put("open", 4, kv.TxnPrepared, true)
	begun := put("begun", 5, kv.TxnUnknown, false)
	put("later", 6, kv.TxnPrepared, true)
	away := put("away", 7, kv.TxnCommitted, true)
	g.away[away] = true

	decided, err := w.srv.forgetPrepared(ctx, nil)
	require.ErrorContains(t, err, "away")
	require.Len(t, names(), 7)
	put("reused", 8, kv.TxnCommitted, true)
	g.status[kv.TxnID{6}] = kv.TxnCommitted
	g.away[away] = false
	decided, err = w.srv.forgetPrepared(ctx, decided)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"away", "begun", "later", "open", "reused"}, names())
	require.Contains(t, g.forgotten, committed)
	_, err = w.srv.forgetPrepared(ctx, decided)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"begun", "open"}, names())
	require.Equal(t, kv.TxnPrepared, g.status[open])
	require.Zero(t, g.asked[begun], "to ask would end it")
}
