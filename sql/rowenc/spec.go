package rowenc

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Spec says how the entries of an index look and which columns are wanted, in which order. It is
// immutable, knows no catalog, and has a wire form.
type Spec struct {
	prefixLen int
	// primary index, or a unique one (with the primary key in the value unless the key has a NULL).
	primary, unique bool
	key             []keyField
	pk              []keyField
	tuple           []tupleField
	out             []types.Type
}

// keyField is a column in the key. Out is the position among the outputs, or -1.
type keyField struct {
	Kind         kind
	Desc, Marker bool
	Out          int
}

type tupleField struct {
	Slot int
	Kind kind
	Out  int
	// missing is what rows have that are older than the column; nil for NULL.
	missing []byte
}

// NewSpec wants the columns at these positions of Table.Columns from an index that covers them.
func NewSpec(x *Index, columns []int) (*Spec, error) {
	t := x.Table
	s := &Spec{prefixLen: len(x.prefix), primary: x.Desc.Primary, unique: x.Desc.Unique && !x.Desc.Primary}
	taken := make([]bool, len(columns))
	find := func(pos int) int {
		for i, c := range columns {
			if c == pos && !taken[i] {
				taken[i] = true
				return i
			}
		}
		return -1
	}
	for _, c := range columns {
		s.out = append(s.out, t.Columns[c].Type)
	}
	// A column asked for twice is decoded once from each place that has it; asking for it more often is refused below.
	for i := range x.key {
		k := &x.key[i]
		f := keyField{Kind: k.kind, Desc: k.desc, Marker: k.marker, Out: -1}
		if !k.kind.lossy() {
			f.Out = find(k.pos)
		}
		s.key = append(s.key, f)
	}
	if !x.Desc.Primary {
		for i := range x.pk {
			k := &x.pk[i]
			f := keyField{Kind: k.kind, Desc: k.desc, Marker: k.marker, Out: -1}
			if !k.kind.lossy() {
				f.Out = find(k.pos)
			}
			s.pk = append(s.pk, f)
		}
	}
	fields := make([]tupleField, 0, len(x.tuple))
	for i := range x.tuple {
		c := &x.tuple[i]
		f := tupleField{Slot: c.slot, Kind: c.kind, Out: find(c.pos)}
		if x.Desc.Primary && f.Out >= 0 {
			f.missing = t.Columns[c.pos].Missing
		}
		fields = append(fields, f)
	}
	if x.Desc.Primary {
		for i := range t.Columns { // rows from before a column was dropped still have it
			if c := &t.Columns[i]; c.Dropped {
				// Whoever reads whole rows, to write them again, asks for it as well.
				fields = append(fields, tupleField{Slot: int(c.ID) - 1, Kind: kindOf(c.Type.OID), Out: find(i)})
			}
		}
	}
	slices.SortFunc(fields, func(a, b tupleField) int { return a.Slot - b.Slot })
	last := -1
	for i := range fields {
		if fields[i].Out >= 0 {
			last = i
		}
	}
	s.tuple = fields[:last+1]
	for i, ok := range taken {
		if !ok {
			return nil, pgerr.New(pgerr.InternalError, "index %q of table %q does not hold column %d",
				x.Desc.Name, t.Name, columns[i])
		}
	}
	return s, nil
}

// Types are those of the outputs.
func (s *Spec) Types() []types.Type { return s.out }

// Decoder decodes entries into vectors. It belongs to one goroutine.
type Decoder struct {
	s *Spec
	// lastKey and lastPK are how many fields of key and primary key need to be gone through.
	lastKey, lastPK int
	arena           arena
	scratch         []byte
}

// NewDecoder returns a decoder. With alias, decoded bytes point into the keys and values that were handed in, which must
// never change then; otherwise they are copied.
func (s *Spec) NewDecoder(alias bool) *Decoder {
	d := &Decoder{s: s, arena: arena{alias: alias}}
	for i := range s.key {
		if s.key[i].Out >= 0 {
			d.lastKey = i + 1
		}
	}
	for i := range s.pk {
		if s.pk[i].Out >= 0 {
			d.lastPK = i + 1
		}
	}
	if d.lastPK > 0 {
		d.lastKey = len(s.key)
	}
	return d
}

// NewBatch makes an empty batch of the outputs, with room for n rows.
func (s *Spec) NewBatch(n int) *types.Batch {
	return types.NewBatch(s.out, n)
}

// Decode appends one row to the vectors, one per output. After an error the vectors are of no use.
func (d *Decoder) Decode(key, value []byte, out []*types.Vec) error {
	s := d.s
	var err error
	hasNull := false
	if d.lastKey > 0 {
		if len(key) < s.prefixLen {
			return ErrCorrupt
		}
		rest := key[s.prefixLen:]
		for i := range s.key[:d.lastKey] {
			f := &s.key[i]
			if f.Kind == kindInt && !f.Marker && !f.Desc && f.Out >= 0 {
				var x int64
				if x, rest, err = keys.DecodeVarint(rest); err != nil {
					return ErrCorrupt
				}
				appendInt(out[f.Out], x)
				continue
			}
			var null bool
			if rest, null, err = d.keyField(f, rest, out); err != nil {
				return err
			}
			hasNull = hasNull || null
		}
		if d.lastPK > 0 && (!s.unique || hasNull) {
			for i := range s.pk[:d.lastPK] {
				if rest, _, err = d.keyField(&s.pk[i], rest, out); err != nil {
					return err
				}
			}
		}
	}
	if len(s.tuple) == 0 && !(s.unique && d.lastPK > 0 && !hasNull) {
		return nil
	}
	if len(value) == 0 || value[0] != tupleVersion {
		return ErrCorrupt
	}
	b := value[1:]
	if s.unique {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return ErrCorrupt
		}
		if d.lastPK > 0 && !hasNull {
			rest := b[w : w+int(n)]
			for i := range s.pk[:d.lastPK] {
				if rest, _, err = d.keyField(&s.pk[i], rest, out); err != nil {
					return err
				}
			}
		}
		b = b[w+int(n):]
	}
	if len(s.tuple) == 0 {
		return nil
	}
	return d.tuple(b, out)
}

func (d *Decoder) tuple(b []byte, out []*types.Vec) error {
	slots := 0
	if len(b) > 0 {
		if b[0] < 0x80 {
			slots, b = int(b[0]), b[1:]
		} else {
			n, w := binary.Uvarint(b)
			if w <= 0 || n > math.MaxInt32 {
				return ErrCorrupt
			}
			slots, b = int(n), b[w:]
		}
	}
	bm := (slots + 7) / 8
	if len(b) < bm {
		return ErrCorrupt
	}
	bits, b := b[:bm], b[bm:]
	var err error
	fields := d.s.tuple
	for i := range fields {
		f := &fields[i]
		switch {
		case f.Slot >= slots:
			if f.Out < 0 {
				continue
			}
			if f.missing == nil {
				appendNull(out[f.Out])
			} else if _, err = decodeValueInto(f.missing, f.Kind, out[f.Out], &d.arena); err != nil {
				return err
			}
		case bits[f.Slot>>3]>>(f.Slot&7)&1 == 0:
			if f.Out >= 0 {
				appendNull(out[f.Out])
			}
		case f.Kind == kindInt && len(b) > 0 && b[0] < 0x80:
			if f.Out >= 0 {
				appendInt(out[f.Out], int64(b[0]>>1)^-int64(b[0]&1))
			}
			b = b[1:]
		case f.Out < 0:
			if b, err = skipValue(b, f.Kind); err != nil {
				return err
			}
		default:
			if b, err = decodeValueInto(b, f.Kind, out[f.Out], &d.arena); err != nil {
				return err
			}
		}
	}
	return nil
}

// marker takes off what says whether the field is NULL, if it can be.
func (f *keyField) marker(b []byte) (rest []byte, null bool, err error) {
	if !f.Marker {
		return b, false, nil
	}
	if len(b) == 0 {
		return nil, false, ErrCorrupt
	}
	switch b[0] {
	case markerNullFirst, markerNullLast:
		return b[1:], true, nil
	case markerValue:
		return b[1:], false, nil
	}
	return nil, false, ErrCorrupt
}

// skip returns what follows the field, and whether it was NULL.
func (f *keyField) skip(b []byte) (rest []byte, null bool, err error) {
	if b, null, err = f.marker(b); err != nil || null {
		return b, null, err
	}
	if !f.Desc {
		rest, err = skipOrdered(b, f.Kind)
		return rest, false, err
	}
	inv := slices.Clone(b)
	keys.Invert(inv, 0)
	if rest, err = skipOrdered(inv, f.Kind); err != nil {
		return nil, false, err
	}
	return b[len(b)-len(rest):], false, nil
}

func (d *Decoder) keyField(f *keyField, b []byte, out []*types.Vec) (rest []byte, null bool, err error) {
	if f.Out < 0 {
		return f.skip(b)
	}
	v := out[f.Out]
	if b, null, err = f.marker(b); err != nil || null {
		if null {
			appendNull(v)
		}
		return b, null, err
	}
	if !f.Desc {
		rest, err = decodeOrderedInto(b, f.Kind, v, &d.arena)
		return rest, false, err
	}
	d.scratch = append(d.scratch[:0], b...)
	keys.Invert(d.scratch, 0)
	copied := arena{buf: d.arena.buf} // scratch is used again: never alias it
	rest, err = decodeOrderedInto(d.scratch, f.Kind, v, &copied)
	d.arena.buf = copied.buf
	if err != nil {
		return nil, false, err
	}
	return b[len(b)-len(rest):], false, nil
}

const specVersion = 1

// AppendWire appends a form that DecodeSpec reads.
func (s *Spec) AppendWire(b []byte) []byte {
	flags := byte(0)
	if s.primary {
		flags |= 1
	}
	if s.unique {
		flags |= 2
	}
	b = append(b, specVersion, flags)
	b = binary.AppendUvarint(b, uint64(s.prefixLen))
	field := func(f keyField) {
		flags := byte(0)
		if f.Desc {
			flags |= 1
		}
		if f.Marker {
			flags |= 2
		}
		b = append(b, byte(f.Kind), flags)
		b = binary.AppendVarint(b, int64(f.Out))
	}
	for _, fs := range [][]keyField{s.key, s.pk} {
		b = binary.AppendUvarint(b, uint64(len(fs)))
		for _, f := range fs {
			field(f)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.tuple)))
	for _, f := range s.tuple {
		b = binary.AppendUvarint(b, uint64(f.Slot))
		b = append(b, byte(f.Kind))
		b = binary.AppendVarint(b, int64(f.Out))
		if f.missing == nil {
			b = append(b, 0)
		} else {
			b = binary.AppendUvarint(b, uint64(len(f.missing))+1)
			b = append(b, f.missing...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.out)))
	for _, t := range s.out {
		b = binary.AppendUvarint(b, uint64(t.OID))
		b = binary.AppendVarint(b, int64(t.Mod))
	}
	return b
}

// DecodeSpec reads what AppendWire wrote and returns the rest.
func DecodeSpec(b []byte) (*Spec, []byte, error) {
	bad := pgerr.New(pgerr.InternalError, "malformed scan program")
	fail := false
	uv := func() int {
		v, w := binary.Uvarint(b)
		if w <= 0 || v > 1<<30 {
			fail, b = true, nil
			return 0
		}
		b = b[w:]
		return int(v)
	}
	iv := func() int {
		v, w := binary.Varint(b)
		if w <= 0 || int64(int32(v)) != v {
			fail, b = true, nil
			return 0
		}
		b = b[w:]
		return int(v)
	}
	by := func() byte {
		if len(b) == 0 {
			fail = true
			return 0
		}
		c := b[0]
		b = b[1:]
		return c
	}
	count := func() int { // every element takes bytes: a count beyond them is a lie
		n := uv()
		if n > len(b) {
			fail = true
			return 0
		}
		return n
	}
	if by() != specVersion {
		return nil, nil, bad
	}
	flags := by()
	s := &Spec{primary: flags&1 != 0, unique: flags&2 != 0, prefixLen: uv()}
	for _, fs := range []*[]keyField{&s.key, &s.pk} {
		for range count() {
			k, fl := kind(by()), by()
			*fs = append(*fs, keyField{Kind: k, Desc: fl&1 != 0, Marker: fl&2 != 0, Out: iv()})
		}
	}
	prev := -1
	for range count() {
		f := tupleField{Slot: uv(), Kind: kind(by()), Out: iv()}
		if n := uv(); n > 0 {
			if n-1 > len(b) {
				return nil, nil, bad
			}
			f.missing, b = b[:n-1:n-1], b[n-1:]
		}
		if f.Slot <= prev {
			return nil, nil, bad
		}
		prev = f.Slot
		s.tuple = append(s.tuple, f)
	}
	for range count() {
		s.out = append(s.out, types.Type{OID: types.OID(uv()), Mod: int32(iv())})
	}
	if fail {
		return nil, nil, bad
	}
	// Each output is filled exactly once per row, with what its type carries.
	filled := make([]bool, len(s.out))
	check := func(k kind, out int, fromKey bool) bool {
		if k == 0 || k > kindMax || out < -1 || out >= len(s.out) {
			return false
		}
		if out >= 0 {
			if filled[out] || k.repr() != types.ReprOf(s.out[out].OID) || (fromKey && k.lossy()) {
				return false
			}
			filled[out] = true
		}
		return true
	}
	for _, fs := range [][]keyField{s.key, s.pk} {
		for _, f := range fs {
			if !check(f.Kind, f.Out, true) {
				return nil, nil, bad
			}
		}
	}
	for _, f := range s.tuple {
		if !check(f.Kind, f.Out, false) {
			return nil, nil, bad
		}
	}
	if slices.Contains(filled, false) {
		return nil, nil, bad
	}
	return s, b, nil
}

// Decodable reports whether the columns can be read from an index without the primary one.
func Decodable(x *Index, columns []int) bool {
	for _, c := range columns {
		if !x.Covers(c) {
			return false
		}
	}
	return true
}
