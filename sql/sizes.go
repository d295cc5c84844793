package sql

import (
	"context"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/types"
)

// tableSizes says about how many bytes indexes take, for the size functions and \dt+. What is known are the bytes of
// ranges: one replica's, old versions included. A range that holds more than one index is divided by how many rows ANALYZE has counted.
type tableSizes struct {
	srv *Server

	mu    sync.Mutex
	at    time.Time
	of    catalog.Snapshot
	bytes map[sizeKey]int64
	total int64
}

type sizeKey struct {
	data  uint64
	index catalog.IndexID
}

const (
	// sizesLast is how long figures are used: a list of a thousand tables asks once.
	sizesLast = 5 * time.Second
	// sizesWait bounds asking the nodes for them.
	sizesWait = 2 * time.Second
	// unknownRows is taken for a table that was never analyzed.
	unknownRows = 100
)

// Size implements pgcatalog.Sizes.
func (z *tableSizes) Size(snap catalog.Snapshot, t *catalog.Table, ix *catalog.Index) int64 {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.refresh(snap)
	return z.bytes[sizeKey{t.DataID, ix.ID}]
}

// Total implements pgcatalog.Sizes: the bytes of all tables.
func (z *tableSizes) Total(snap catalog.Snapshot) int64 {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.refresh(snap)
	return z.total
}

// refresh makes the figures anew if they are old; z.mu is held, so that others wait for them.
func (z *tableSizes) refresh(snap catalog.Snapshot) {
	if z.srv.cfg.Cluster == nil || time.Since(z.at) < sizesLast && z.of == snap {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), sizesWait)
	defer cancel()
	ranges, err := z.srv.cfg.Cluster.Ranges(ctx)
	if err != nil {
		z.srv.cfg.Log.Warn("the sizes of ranges are not known now", "err", err)
		return
	}
	z.at, z.of = time.Now(), snap
	z.bytes, z.total = shareSizes(ranges, snap)
}

// shareSizes divides the bytes of each range among the indexes in it.
func shareSizes(ranges []ClusterRange, snap catalog.Snapshot) (bytes map[sizeKey]int64, total int64) {
	type part struct {
		key    sizeKey
		weight float64
	}
	bytes = map[sizeKey]int64{}
	in := make([][]part, len(ranges))
	for _, t := range snap.Tables() {
		if t.Virtual || t.DataID == 0 {
			continue
		}
		rows := snap.Stats(t.ID).Rows
		if rows < 0 {
			rows = unknownRows
		}
		for i := range t.Indexes {
			ix := &t.Indexes[i]
			start := keys.Index(t.DataID, uint64(ix.ID))
			end := start.PrefixEnd()
			var hit []int
			for r := range ranges {
				d := &ranges[r].Descriptor
				if start.Less(d.EndKey) && d.StartKey.Less(end) {
					hit = append(hit, r)
				}
			}
			for _, r := range hit {
				in[r] = append(in[r], part{sizeKey{t.DataID, ix.ID}, (rows + 1) * entryWidth(t, ix) / float64(len(hit))})
			}
		}
	}
	for r, parts := range in {
		sum := 0.0
		for _, p := range parts {
			sum += p.weight
		}
		if sum == 0 {
			continue
		}
		total += ranges[r].Stats.Bytes
		for _, p := range parts {
			bytes[p.key] += int64(float64(ranges[r].Stats.Bytes) * p.weight / sum)
		}
	}
	return bytes, total
}

// entryWidth guesses how large an entry of an index is.
func entryWidth(t *catalog.Table, ix *catalog.Index) float64 {
	width := func(id catalog.ColumnID) float64 {
		if i := t.ColumnByID(id); i >= 0 && types.ReprOf(t.Columns[i].Type.OID) != types.ReprBytes {
			return 8
		}
		return 24
	}
	w := 24.0
	if ix.Primary {
		for i := range t.Columns {
			if !t.Columns[i].Dropped {
				w += width(t.Columns[i].ID)
			}
		}
		return w
	}
	for _, c := range ix.Columns {
		w += width(c.Column)
	}
	for _, c := range t.Primary().Columns {
		w += width(c.Column)
	}
	for _, id := range ix.Include {
		w += width(id)
	}
	return w
}
