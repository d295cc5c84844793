package catalog

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/sql/internal/memtxn"
	"github.com/pamirdb/pamir/txn"
)

// A gateway that follows the changes comes to the same catalog as one that reads all of it.
func TestFollowTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		mem := memtxn.New()
		writer := NewStore(Options{Counters: mem})
		require.NoError(t, writer.Bootstrap(ctx, mem))
		follower := NewStore(Options{Counters: mem})
		names := []string{"a", "b", "c", "d"}
		for range rapid.IntRange(1, 8).Draw(rt, "transactions") {
			x := mem.Begin(ctx, txn.Options{})
			for range rapid.IntRange(1, 3).Draw(rt, "statements") {
				require.NoError(t, x.StepStatement(ctx))
				w, err := writer.Writer(ctx, x, nil)
				require.NoError(t, err)
				for range rapid.IntRange(0, 2).Draw(rt, "changes") {
					change(t, rt, ctx, w, names)
					break // one a statement: the Writer's snapshot does not show its own changes
				}
				if rapid.Bool().Draw(rt, "look") { // at its own changes
					require.NoError(t, x.StepStatement(ctx))
					same(t, ctx, writer, x)
				}
			}
			if rapid.IntRange(0, 3).Draw(rt, "end") == 0 {
				x.Rollback(ctx)
			} else {
				_, err := x.Commit(ctx)
				require.NoError(t, err)
			}
			for _, s := range []*Store{writer, follower} {
				if rapid.Bool().Draw(rt, "read") {
					x := mem.Begin(ctx, txn.Options{ReadOnly: true})
					same(t, ctx, s, x)
					x.Rollback(ctx)
				}
			}
		}
	})
}

func change(t *testing.T, rt *rapid.T, ctx context.Context, w *Writer, names []string) {
	snap := w.Snapshot()
	name := rapid.SampledFrom(names).Draw(rt, "name")
	tab, ok := snap.Table("public", name)
	switch op := rapid.IntRange(0, 4).Draw(rt, "op"); {
	case op == 4:
		id, err := w.NewObjectID(ctx)
		require.NoError(t, err)
		require.NoError(t, w.PutSchema(&Schema{ID: SchemaID(id), Name: fmt.Sprint("s", id)}))
	case !ok:
		id, err := w.NewObjectID(ctx)
		require.NoError(t, err)
		data, err := w.NewDataID(ctx)
		require.NoError(t, err)
		require.NoError(t, w.CreateTable(ctx, &Table{ID: TableID(id), Schema: PublicSchema, Name: name, Version: 1, DataID: data, Kind: 'r'}))
	case op == 0:
		require.NoError(t, w.DropTable(tab))
	case op == 1:
		require.NoError(t, w.PutStats(tab.ID, TableStats{Rows: float64(rapid.IntRange(0, 9).Draw(rt, "rows"))}))
	default:
		n := *tab
		if op == 2 {
			n.Name = rapid.SampledFrom(names).Draw(rt, "to")
			if _, taken := snap.Table("public", n.Name); taken {
				n.Name = name
			}
		}
		n.Comment = fmt.Sprint(n.Version)
		if rapid.Bool().Draw(rt, "truncate") {
			var err error
			n.DataID, err = w.NewDataID(ctx)
			require.NoError(t, err)
		}
		require.NoError(t, w.ReplaceTable(ctx, tab, &n))
	}
}

func same(t *testing.T, ctx context.Context, s *Store, x txn.Txn) {
	got, err := s.snapshot(ctx, x)
	require.NoError(t, err)
	want, err := s.loadAll(ctx, x, got.row, latest)
	require.NoError(t, err)
	if len(want.tables) == 0 && len(got.tables) == 0 {
		want.tables = got.tables // nil or empty
	}
	require.Equal(t, want, got)
}

// Refreshing reads what has changed, however many tables there are.
func TestFollowReadsLittle(t *testing.T) {
	ctx := context.Background()
	mem := memtxn.New()
	s := NewStore(Options{Counters: mem})
	require.NoError(t, s.Bootstrap(ctx, mem))
	for i := range 300 {
		x := mem.Begin(ctx, txn.Options{})
		scans, gets := mem.Scans, mem.Gets
		w, err := s.Writer(ctx, x, nil)
		require.NoError(t, err)
		require.NoError(t, w.CreateTable(ctx, &Table{ID: TableID(FirstObjectID + i), Schema: PublicSchema, Name: fmt.Sprint("t", i), Version: 1, Kind: 'r'}))
		_, err = x.Commit(ctx)
		require.NoError(t, err)
		x = mem.Begin(ctx, txn.Options{ReadOnly: true})
		snap, err := s.snapshot(ctx, x)
		require.NoError(t, err)
		require.Len(t, snap.tables, i+1)
		if i > 0 {
			require.LessOrEqual(t, mem.Scans-scans, 1)
			require.LessOrEqual(t, mem.Gets-gets, 8)
		}
	}
}
