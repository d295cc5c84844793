package statistics

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/internal/memtxn"
)

func newGatherer(t *testing.T) *Gatherer {
	st := memtxn.New()
	cat := catalog.NewStore(catalog.Options{Counters: st})
	require.NoError(t, cat.Bootstrap(t.Context(), st))
	return New(Config{Gateway: st, Catalog: cat, Log: slog.New(slog.DiscardHandler)})
}

// One table's reading leaves a core alone for nearly all of the time, however much is written.
func TestAnalyzingRests(t *testing.T) {
	g := newGatherer(t)
	tab := &catalog.Table{ID: 200, Name: "t", Kind: 'r'}
	st := catalog.TableStats{At: time.Now(), Rows: 2000}
	require.False(t, g.due(tab, st, time.Now()), "nothing was written")
	g.Note(tab, 2000)
	g.of[tab.ID].after = time.Now().Add(time.Hour)
	require.False(t, g.due(tab, st, time.Now()))
	require.True(t, g.due(tab, st, g.of[tab.ID].after.Add(1)))
	require.False(t, g.due(&catalog.Table{ID: 201, Name: "v", Kind: 'v'}, st, time.Now()))
}

// What is due is a fifth of the rows and fifty more, written since somebody has analyzed the table; of what nobody has, any row, and to a node that
// has just been started, nothing.
func TestDue(t *testing.T) {
	at := time.Now()
	for _, c := range []struct {
		name         string
		rows         float64
		before, then int64 // written before somebody else analyzed the table, and since
		first, due   bool
	}{
		{"enough", 1000, 0, 250, false, true},
		{"too little", 1000, 0, 249, false, false},
		{"before", 1000, 200, 100, false, false},
		{"before, and enough since", 1000, 200, 250, false, true},
		{"never analyzed, not written", -1, 0, 0, false, false},
		{"never analyzed, written", -1, 0, 1, false, true},
		{"never analyzed, after the start", -1, 0, 0, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGatherer(t)
			g.first = c.first
			tab := &catalog.Table{ID: 200, Name: "t", Kind: 'r'}
			st := catalog.TableStats{At: at, Rows: c.rows}
			if c.before > 0 {
				g.Note(tab, c.before)
				require.False(t, g.due(tab, st, at))
				st.At = at.Add(time.Second)
			}
			g.Note(tab, c.then)
			require.Equal(t, c.due, g.due(tab, st, at))
		})
	}
}

// What was dropped is forgotten.
func TestDroppedTablesAreForgotten(t *testing.T) {
	g := newGatherer(t)
	tab := &catalog.Table{ID: 200, Name: "t", Kind: 'r'}
	g.Note(tab, 5)
	require.False(t, g.due(tab, catalog.TableStats{Rows: 1000}, time.Now()))
	require.NoError(t, g.Once(t.Context()))
	require.Empty(t, g.of)
	g.wrote.Range(func(any, any) bool { t.Error("it is counted still"); return false })
}
