package rowenc

import (
	"encoding/binary"
	"slices"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Row is a row by position in Table.Columns. Dropped columns are not looked at.
type Row = []types.Datum

// Table encodes the rows of a table. It is immutable and may be shared.
type Table struct {
	Desc    *catalog.Table
	Primary *Index
	// Secondary indexes, in the order of Desc.Indexes.
	Secondary []*Index
}

// Index encodes one index's entries.
type Index struct {
	Desc   *catalog.Index
	Table  *catalog.Table
	prefix []byte
	key    []keyColumn
	pk     []keyColumn // of the primary index; the suffix of a secondary one
	tuple  []tupleColumn
	// slots is the largest slot number plus one.
	slots int
}

type keyColumn struct {
	pos        int // in Table.Columns
	oid        types.OID
	kind       kind
	desc       bool
	nullsFirst bool
	marker     bool
}

type tupleColumn struct {
	pos, slot int
	oid       types.OID
	kind      kind
}

// ForTable compiles the encoders of all indexes of a table.
func ForTable(t *catalog.Table) (*Table, error) {
	p := t.Primary()
	if p == nil {
		return nil, pgerr.New(pgerr.WrongObjectType, "relation \"%s\" stores no rows", t.Name)
	}
	c := &Table{Desc: t}
	var err error
	if c.Primary, err = ForIndex(t, p); err != nil {
		return nil, err
	}
	for i := range t.Indexes {
		if t.Indexes[i].Primary {
			continue
		}
		x, err := ForIndex(t, &t.Indexes[i])
		if err != nil {
			return nil, err
		}
		c.Secondary = append(c.Secondary, x)
	}
	return c, nil
}

// ForIndex compiles the encoder of one index.
func ForIndex(t *catalog.Table, ix *catalog.Index) (*Index, error) {
	p := t.Primary()
	if p == nil {
		return nil, pgerr.New(pgerr.WrongObjectType, "relation \"%s\" stores no rows", t.Name)
	}
	x := &Index{Desc: ix, Table: t, prefix: slices.Clip(keys.Index(t.DataID, uint64(ix.ID)))}
	column := func(ic catalog.IndexColumn, marker bool) (keyColumn, error) {
		pos := t.ColumnByID(ic.Column)
		if pos < 0 {
			return keyColumn{}, pgerr.New(pgerr.InternalError, "index %q has no column %d", ix.Name, ic.Column)
		}
		oid := t.Columns[pos].Type.OID
		return keyColumn{pos: pos, oid: oid, kind: kindOf(oid), desc: ic.Desc, nullsFirst: ic.NullsFirst, marker: marker}, nil
	}
	inTuple := map[catalog.ColumnID]bool{}
	for _, ic := range ix.Columns {
		k, err := column(ic, !ix.Primary)
		if err != nil {
			return nil, err
		}
		x.key = append(x.key, k)
		if k.kind.lossy() {
			inTuple[ic.Column] = true
		}
	}
	for _, ic := range p.Columns {
		k, err := column(ic, false)
		if err != nil {
			return nil, err
		}
		x.pk = append(x.pk, k)
		if k.kind.lossy() {
			inTuple[ic.Column] = true
		}
	}
	if ix.Primary {
		for i := range t.Columns {
			if !t.Columns[i].Dropped && !inKey(ix, t.Columns[i].ID) {
				inTuple[t.Columns[i].ID] = true
			}
		}
	}
	for _, id := range ix.Include {
		if !inKey(ix, id) && !inKey(p, id) {
			inTuple[id] = true
		}
	}
	for id := range inTuple {
		pos := t.ColumnByID(id)
		if pos < 0 || id == 0 {
			return nil, pgerr.New(pgerr.InternalError, "index %q has no column %d", ix.Name, id)
		}
		oid := t.Columns[pos].Type.OID
		x.tuple = append(x.tuple, tupleColumn{pos: pos, slot: int(id) - 1, oid: oid, kind: kindOf(oid)})
		x.slots = max(x.slots, int(id))
	}
	slices.SortFunc(x.tuple, func(a, b tupleColumn) int { return a.slot - b.slot })
	if ix.Primary {
		// Every column that exists now is known to the rows written from now on, also when it is NULL and last.
		for i := range t.Columns {
			x.slots = max(x.slots, int(t.Columns[i].ID))
		}
	}
	return x, nil
}

func inKey(ix *catalog.Index, id catalog.ColumnID) bool {
	return slices.ContainsFunc(ix.Columns, func(c catalog.IndexColumn) bool { return c.Column == id })
}

// Prefix is what all keys of the index start with. It is shared: do not append to it.
func (x *Index) Prefix() keys.Key { return x.prefix }

// Span covers the whole index.
func (x *Index) Span() keys.Span {
	return keys.Span{Start: x.prefix, End: keys.Key(x.prefix).PrefixEnd()}
}

// KeyColumns is how many columns the index key has.
func (x *Index) KeyColumns() int { return len(x.key) }

// ColumnType returns the type of key column i.
func (x *Index) ColumnType(i int) types.Type { return x.Table.Columns[x.key[i].pos].Type }

// AppendColumn appends key column i (with its marker) for searching: NULL makes the marker alone.
func (x *Index) AppendColumn(dst []byte, i int, d types.Datum) ([]byte, error) {
	return x.key[i].append(dst, d)
}

// NullsFirst reports whether NULLs are before the values in key column i; Descending whether it is descending.
func (x *Index) NullsFirst(i int) bool { return x.key[i].nullsFirst }

// Descending: see NullsFirst.
func (x *Index) Descending(i int) bool { return x.key[i].desc }

// HasMarker reports whether key column i can be NULL and has a marker byte.
func (x *Index) HasMarker(i int) bool { return x.key[i].marker }

func (k *keyColumn) append(dst []byte, d types.Datum) ([]byte, error) {
	if k.marker {
		switch {
		case !d.Null:
			dst = append(dst, markerValue)
		case k.nullsFirst:
			return append(dst, markerNullFirst), nil
		default:
			return append(dst, markerNullLast), nil
		}
	} else if d.Null {
		return nil, pgerr.New(pgerr.InternalError, "NULL in a primary key")
	}
	if k.kind == kindInt && !k.desc {
		return keys.AppendVarint(dst, d.I), nil
	}
	return appendOrdered(dst, k.kind, k.oid, d, k.desc)
}

// AppendKey appends the key of a row's entry. distinct reports whether the key columns alone make the key, i.e. whether
// another row with the same values would be a duplicate.
func (x *Index) AppendKey(dst []byte, row Row) (key []byte, distinct bool, err error) {
	dst = append(dst, x.prefix...)
	distinct = x.Desc.Unique || x.Desc.Primary
	for i := range x.key {
		k := &x.key[i]
		if row[k.pos].Null {
			distinct = false
		}
		if dst, err = k.append(dst, row[k.pos]); err != nil {
			return nil, false, err
		}
	}
	if !distinct {
		dst, err = x.appendPK(dst, row)
	}
	return dst, distinct, err
}

func (x *Index) appendPK(dst []byte, row Row) ([]byte, error) {
	var err error
	for i := range x.pk {
		if dst, err = x.pk[i].append(dst, row[x.pk[i].pos]); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// AppendEntry appends the key and the value of a row's entry to the two buffers.
func (x *Index) AppendEntry(key, value []byte, row Row) (k, v []byte, distinct bool, err error) {
	if k, distinct, err = x.AppendKey(key, row); err != nil {
		return nil, nil, false, err
	}
	v, err = x.AppendTuple(value, row, distinct)
	return k, v, distinct, err
}

// AppendTuple appends the value of a row's entry; distinct as AppendKey reported it.
func (x *Index) AppendTuple(dst []byte, row Row, distinct bool) ([]byte, error) {
	var err error
	dst = append(dst, tupleVersion)
	if x.Desc.Unique && !x.Desc.Primary {
		pk := func(b []byte) ([]byte, error) { return b, nil }
		if distinct {
			pk = func(b []byte) ([]byte, error) { return x.appendPK(b, row) }
		}
		if dst, err = sized(dst, pk); err != nil {
			return nil, err
		}
	}
	if x.slots == 0 {
		return dst, nil
	}
	dst = binary.AppendUvarint(dst, uint64(x.slots))
	bits := len(dst)
	for range (x.slots + 7) / 8 {
		dst = append(dst, 0)
	}
	for i := range x.tuple {
		c := &x.tuple[i]
		d := &row[c.pos]
		if d.Null {
			continue
		}
		dst[bits+c.slot>>3] |= 1 << (c.slot & 7)
		if c.kind == kindInt {
			dst = binary.AppendVarint(dst, d.I)
			continue
		}
		if dst, err = appendValue(dst, c.kind, c.oid, *d); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// PrimaryKeyOf returns the primary key that a secondary index entry points to.
func (x *Index) PrimaryKeyOf(dst []byte, primary *Index, key, value []byte) (keys.Key, error) {
	dst = append(dst, primary.prefix...)
	if x.Desc.Unique {
		if len(value) == 0 || value[0] != tupleVersion {
			return nil, ErrCorrupt
		}
		n, w := binary.Uvarint(value[1:])
		if w <= 0 || n > uint64(len(value)-1-w) {
			return nil, ErrCorrupt
		}
		if n > 0 {
			return append(dst, value[1+w:1+w+int(n)]...), nil
		}
	}
	if len(key) < len(x.prefix) {
		return nil, ErrCorrupt
	}
	rest := key[len(x.prefix):]
	var err error
	for i := range x.key {
		f := keyField{Kind: x.key[i].kind, Desc: x.key[i].desc, Marker: x.key[i].marker, Out: -1}
		if rest, _, err = f.skip(rest); err != nil {
			return nil, err
		}
	}
	return append(dst, rest...), nil
}

// Covers reports whether the index holds the column's value, so that no look into the primary index is needed.
func (x *Index) Covers(pos int) bool {
	if x.Desc.Primary {
		return true
	}
	id := x.Table.Columns[pos].ID
	return inKey(x.Desc, id) || inKey(x.Table.Primary(), id) || slices.Contains(x.Desc.Include, id)
}

// DecodeKeyColumns returns the index columns in a key, for people: of types with a lossy ordered form the
// values are equal to what was written but may look different.
func (x *Index) DecodeKeyColumns(key []byte) ([]types.Datum, error) {
	out, err := x.DecodeKeyPrefix(key)
	if err == nil && len(out) < len(x.key) {
		return nil, ErrCorrupt
	}
	return out, err
}

// DecodeKeyPrefix does so of a key that may end after any of them: ranges are cut at such keys.
func (x *Index) DecodeKeyPrefix(key []byte) ([]types.Datum, error) {
	if len(key) < len(x.prefix) {
		return nil, ErrCorrupt
	}
	b := key[len(x.prefix):]
	out := make([]types.Datum, len(x.key))
	for i := range x.key {
		if len(b) == 0 {
			return out[:i], nil
		}
		k := &x.key[i]
		f := keyField{Kind: k.kind, Desc: k.desc, Marker: k.marker, Out: -1}
		rest, null, err := f.skip(b)
		if err != nil {
			return nil, err
		}
		raw := slices.Clone(b[:len(b)-len(rest)])
		b = rest
		if null {
			out[i] = types.NullDatum
			continue
		}
		if k.marker {
			raw = raw[1:]
		}
		if k.desc {
			keys.Invert(raw, 0)
		}
		if out[i], err = decodeForPeople(raw, k.kind, x.Table.Columns[k.pos].Type); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func decodeForPeople(b []byte, k kind, t types.Type) (types.Datum, error) {
	switch k {
	case kindFloat8, kindFloat4:
		f, _, err := keys.DecodeFloat64(b)
		return types.NewFloat(f), err
	case kindBpchar:
		v, _, err := keys.DecodeBytes(b)
		return types.NewBytes(v), err
	case kindNum:
		return decodeNumericKey(b)
	case kindIntvl:
		days, b, err := keys.DecodeInt64(b)
		if err != nil {
			return types.Datum{}, err
		}
		micros, _, err := keys.DecodeInt64(b)
		return types.NewInterval(types.Interval{Days: int32(days), Micros: micros}), err
	case kindAny:
		return decodeArrayKey(b)
	}
	v := types.NewVec(t, 1)
	if _, err := decodeOrderedInto(b, k, v, &arena{}); err != nil {
		return types.Datum{}, err
	}
	return v.Get(0), nil
}

// decodeArrayKey is the reverse of appendArrayKey.
func decodeArrayKey(b []byte) (types.Datum, error) {
	if rest, err := skipArrayKey(b); err != nil || len(rest) > 0 {
		return types.Datum{}, ErrCorrupt
	}
	oid, b, err := keys.DecodeUvarint(b)
	if err != nil {
		return types.Datum{}, err
	}
	a := &types.Array{Elem: types.OID(oid)}
	k := kindOf(a.Elem)
	for b[0] != 0 { // skipArrayKey has seen the end
		if b[0] == 2 {
			a.Elems, b = append(a.Elems, types.NullDatum), b[1:]
			continue
		}
		rest, err := skipOrdered(b[1:], k)
		if err != nil {
			return types.Datum{}, err
		}
		d, err := decodeForPeople(b[1:len(b)-len(rest)], k, types.Of(a.Elem))
		if err != nil {
			return types.Datum{}, err
		}
		a.Elems, b = append(a.Elems, d), rest
	}
	n, b, err := keys.DecodeUvarint(b[1:])
	if err != nil {
		return types.Datum{}, err
	}
	a.Dims = make([]types.ArrayDim, n)
	size := int64(1)
	for i := range 2 * len(a.Dims) {
		var v int64
		if v, b, err = keys.DecodeVarint(b); err != nil {
			return types.Datum{}, err
		}
		if i < len(a.Dims) {
			a.Dims[i].Len = int32(v)
			size *= max(v, 0)
		} else {
			a.Dims[i-len(a.Dims)].Lower = int32(v)
		}
	}
	if n > 0 && size != int64(len(a.Elems)) || n == 0 && len(a.Elems) > 0 {
		return types.Datum{}, ErrCorrupt
	}
	return types.NewArray(a), nil
}

// ValuesStart and ValuesEnd bound the keys under a prefix of i columns whose column i is not NULL.
func (x *Index) ValuesStart(prefix keys.Key, i int) keys.Key {
	if !x.key[i].marker {
		return slices.Clone(prefix)
	}
	return append(slices.Clone(prefix), markerValue)
}

// ValuesEnd: see ValuesStart.
func (x *Index) ValuesEnd(prefix keys.Key, i int) keys.Key {
	if !x.key[i].marker {
		return prefix.PrefixEnd()
	}
	return append(slices.Clone(prefix), markerValue+1)
}
