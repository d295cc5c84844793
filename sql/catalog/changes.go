package catalog

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sort"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

// Every version of the catalog has a row in the table of changes that lists the rows which it changed. A gateway that
// has an older version reads those rows and what they list, rather than the whole catalog. Versions are in one order, since
// every change writes the version row: what is between two versions is the sum of the changes in between.

const (
	// changesKept is how many versions back the changes can be read. Who is further behind reads everything.
	changesKept = 1000
	// changesFollowed bounds how many changes are followed rather than reading everything.
	changesFollowed = 200
)

// inSnapshot reports whether the rows of a system table are part of a Snapshot.
func inSnapshot(table uint64) bool {
	switch table {
	case descriptorTable, schemaTable, statsTable, roleTable, accessTable:
		return true
	}
	return false
}

func changeKey(version uint64) keys.Key { return idKey(changeTable, version) }

// note remembers that a row is being changed, and writes the list of this version's changes.
func (w *Writer) note(key keys.Key) error {
	table, _, _, err := keys.DecodeIndex(key)
	if err != nil || !inSnapshot(table) {
		return err
	}
	for _, k := range w.changed {
		if keys.Key(k).Equal(key) {
			return nil
		}
	}
	w.changed = append(w.changed, key)
	return w.writeChanges()
}

func (w *Writer) writeChanges() error {
	b, err := json.Marshal(envelopeOfChanges{V: formatVersion, Keys: w.changed})
	if err != nil {
		return err
	}
	return w.t.Put(changeKey(w.version), b)
}

type envelopeOfChanges struct {
	V    int      `json:"v"`
	Keys [][]byte `json:"k"`
}

// begin writes the (so far empty) list of a new version's changes, and removes the one that is too old.
func (w *Writer) begin() error {
	if w.version > changesKept {
		if err := w.t.Delete(changeKey(w.version - changesKept)); err != nil {
			return err
		}
	}
	return w.writeChanges()
}

// newestBefore is the newest version that is kept and not newer than version; nil if there is none that can be followed from.
func (s *Store) newestBefore(version uint64) *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *snapshot
	for _, r := range s.recent {
		if v := r.row.version; v <= version && version-v <= changesFollowed && (best == nil || v > best.row.version) {
			best = r
		}
	}
	return best
}

// follow makes the snapshot of a version out of an older one by reading what has changed. ok is false if that cannot be found out.
func (s *Store) follow(ctx context.Context, t txn.Txn, base *snapshot, row versionRow, opts txn.ScanOptions) (snap *snapshot, ok bool, err error) {
	if base.row == row {
		return base, true, nil
	}
	want := int(row.version - base.row.version)
	changed := map[string]struct{}{}
	n, known, err := readChanges(ctx, t, keys.Span{Start: changeKey(base.row.version + 1), End: changeKey(row.version + 1)}, changed, opts)
	if err != nil || !known || n != want || want == 0 {
		return nil, false, err
	}
	ks := make([]keys.Key, 0, len(changed))
	for k := range changed {
		ks = append(ks, keys.Key(k))
	}
	sort.Slice(ks, func(i, j int) bool { return ks[i].Less(ks[j]) })
	var vals [][]byte
	if len(ks) > 0 {
		if vals, err = t.GetMany(ctx, ks, opts); err != nil {
			return nil, false, err
		}
	}
	snap, err = base.with(row, ks, vals)
	return snap, err == nil, err
}

// readChanges collects the keys that some versions changed; known is false if one of the rows has a form of another release.
func readChanges(ctx context.Context, t txn.Txn, span keys.Span, into map[string]struct{}, opts txn.ScanOptions) (n int, known bool, err error) {
	sc := t.Scan(ctx, []keys.Span{span}, opts)
	defer sc.Close()
	for {
		page, ok, err := sc.Next(ctx)
		if err != nil || !ok {
			return n, true, err
		}
		for {
			_, v, ok, err := page.Rows.Next()
			if err != nil {
				return n, false, err
			}
			if !ok {
				break
			}
			var e envelopeOfChanges
			if err := json.Unmarshal(v, &e); err != nil {
				return n, false, pgerr.New(pgerr.DataCorrupted, "a list of the catalog's changes is corrupt: %v", err)
			}
			if e.V != formatVersion {
				return n, false, nil
			}
			for _, k := range e.Keys {
				into[string(k)] = struct{}{}
			}
			n++
		}
	}
}

// with is the snapshot with some rows replaced; a nil value removes one.
func (s *snapshot) with(row versionRow, ks []keys.Key, vals [][]byte) (*snapshot, error) {
	n := &snapshot{row: row, byID: maps.Clone(s.byID), byName: maps.Clone(s.byName), byData: maps.Clone(s.byData), schemas: maps.Clone(s.schemas),
		schByID: maps.Clone(s.schByID), tables: slices.Clone(s.tables), list: slices.Clone(s.list), stats: maps.Clone(s.stats),
		stored: maps.Clone(s.stored), access: s.access.clone()}
	// All that is old goes first: a name can move from one object to another.
	for _, k := range ks {
		if err := n.remove(k); err != nil {
			return nil, err
		}
	}
	for i, k := range ks {
		if vals[i] != nil {
			if err := n.add(k, vals[i]); err != nil {
				return nil, err
			}
		}
	}
	n.finish()
	return n, nil
}

// remove takes out what a stored row has put into a snapshot that nobody else has yet.
func (s *snapshot) remove(key keys.Key) error {
	table, _, rest, err := keys.DecodeIndex(key)
	if err != nil {
		return err
	}
	switch table {
	case roleTable:
		name, _, err := keys.DecodeBytes(rest)
		delete(s.stored, string(name))
		return err
	case accessTable:
		return s.access.remove(rest)
	}
	id, _, err := keys.DecodeUvarint(rest)
	if err != nil {
		return err
	}
	switch table {
	case descriptorTable:
		t, ok := s.byID[TableID(id)]
		if !ok {
			return nil
		}
		delete(s.byID, t.ID)
		delete(s.byName, qualified{t.Schema, t.Name})
		delete(s.byData, t.DataID)
		s.tables = slices.DeleteFunc(s.tables, func(x *Table) bool { return x == t })
	case schemaTable:
		sc, ok := s.schByID[SchemaID(id)]
		if !ok {
			return nil
		}
		delete(s.schByID, sc.ID)
		delete(s.schemas, sc.Name)
		s.list = slices.DeleteFunc(s.list, func(x *Schema) bool { return x == sc })
	case statsTable:
		delete(s.stats, TableID(id))
	}
	return nil
}
