package ddl

import (
	"math"
	"strconv"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// newSequence makes the descriptor of the sequence behind a column.
func (c *change) newSequence(t *catalog.Table, column string, opts []ast.Option, of types.OID) (*catalog.Table, error) {
	name, err := c.chooseName(t.Schema, t.Name, column, "seq")
	if err != nil {
		return nil, err
	}
	sc, ok := c.cat.SchemaByID(t.Schema)
	if !ok {
		return nil, pgerr.New(pgerr.InternalError, "schema of table \"%s\" not found", t.Name)
	}
	s, err := c.newTable(sc, name)
	if err != nil {
		return nil, err
	}
	s.Kind = 'S'
	s.Sequence = &catalog.Sequence{Type: of}
	return s, setSequence(s.Sequence, opts, true)
}

func limits(of types.OID) (lo, hi int64) {
	switch of {
	case types.Int2OID:
		return math.MinInt16, math.MaxInt16
	case types.Int4OID:
		return math.MinInt32, math.MaxInt32
	}
	return math.MinInt64, math.MaxInt64
}

// setSequence applies options; with fresh, what is not said gets its default.
func setSequence(s *catalog.Sequence, opts []ast.Option, fresh bool) error {
	var minV, maxV, start, inc, cache *int64
	noMin, noMax := false, false
	for _, o := range opts {
		num := func() (*int64, error) {
			n, err := strconv.ParseInt(o.Text, 10, 64)
			if err != nil {
				return nil, pgerr.New(pgerr.InvalidTextRepresentation, "invalid value for sequence option \"%s\": \"%s\"", o.Name, o.Text)
			}
			return &n, nil
		}
		var err error
		switch o.Name {
		case "as":
			oid, ok := types.ByName(o.Text)
			if !ok || (oid != types.Int2OID && oid != types.Int4OID && oid != types.Int8OID) {
				return pgerr.New(pgerr.InvalidParameterValue, "sequence type must be smallint, integer, or bigint")
			}
			s.Type = oid
		case "increment":
			inc, err = num()
		case "start":
			start, err = num()
		case "restart":
			// restartAt is for it.
		case "minvalue":
			if o.HasValue && o.Text != "" {
				minV, err = num()
			} else {
				noMin = true
			}
		case "maxvalue":
			if o.HasValue && o.Text != "" {
				maxV, err = num()
			} else {
				noMax = true
			}
		case "cache":
			cache, err = num()
		case "cycle":
			s.Cycle = !o.HasValue || (o.Text != "false" && o.Text != "0")
		case "owned_by", "sequence_name":
		default:
			return pgerr.New(pgerr.SyntaxError, "unrecognized sequence option \"%s\"", o.Name)
		}
		if err != nil {
			return err
		}
	}
	if s.Type == 0 {
		s.Type = types.Int8OID
	}
	if inc != nil {
		s.Increment = *inc
	} else if fresh {
		s.Increment = 1
	}
	if s.Increment == 0 {
		return pgerr.New(pgerr.InvalidParameterValue, "INCREMENT must not be zero")
	}
	lo, hi := limits(s.Type)
	switch {
	case minV != nil:
		s.Min = *minV
	case fresh || noMin:
		if s.Min = 1; s.Increment < 0 {
			s.Min = lo
		}
	}
	switch {
	case maxV != nil:
		s.Max = *maxV
	case fresh || noMax:
		if s.Max = hi; s.Increment < 0 {
			s.Max = -1
		}
	}
	if s.Min < lo || s.Min > hi {
		return pgerr.New(pgerr.InvalidParameterValue, "MINVALUE (%d) is out of range for sequence data type %s", s.Min, types.FormatType(types.Of(s.Type)))
	}
	if s.Max < lo || s.Max > hi {
		return pgerr.New(pgerr.InvalidParameterValue, "MAXVALUE (%d) is out of range for sequence data type %s", s.Max, types.FormatType(types.Of(s.Type)))
	}
	if s.Min >= s.Max {
		return pgerr.New(pgerr.InvalidParameterValue, "MINVALUE (%d) must be less than MAXVALUE (%d)", s.Min, s.Max)
	}
	switch {
	case start != nil:
		s.Start = *start
	case fresh:
		if s.Start = s.Min; s.Increment < 0 {
			s.Start = s.Max
		}
	}
	if s.Start < s.Min {
		return pgerr.New(pgerr.InvalidParameterValue, "START value (%d) cannot be less than MINVALUE (%d)", s.Start, s.Min)
	}
	if s.Start > s.Max {
		return pgerr.New(pgerr.InvalidParameterValue, "START value (%d) cannot be greater than MAXVALUE (%d)", s.Start, s.Max)
	}
	switch {
	case cache != nil:
		if s.Cache = *cache; s.Cache <= 0 {
			return pgerr.New(pgerr.InvalidParameterValue, "CACHE (%d) must be greater than zero", s.Cache)
		}
	case fresh:
		s.Cache = 1
	}
	if fresh {
		_, err := restartAt(s, opts)
		return err
	}
	return nil
}

func (c *change) createSequence(st *ast.CreateSequence) error {
	sc, err := c.newSchemaFor(st.Name.Schema)
	if err != nil {
		return err
	}
	if taken, err := c.w.NameTaken(c.ctx, sc.ID, st.Name.Name); err != nil {
		return err
	} else if taken {
		if st.IfNotExists {
			c.notice(pgerr.DuplicateTable, "relation \"%s\" already exists, skipping", st.Name.Name)
			return nil
		}
		return pgerr.New(pgerr.DuplicateTable, "relation \"%s\" already exists", st.Name.Name)
	}
	s, err := c.newTable(sc, st.Name.Name)
	if err != nil {
		return err
	}
	s.Kind = 'S'
	s.Sequence = &catalog.Sequence{}
	if err := setSequence(s.Sequence, st.Options, true); err != nil {
		return err
	}
	if err := c.ownedBy(s, st.Options); err != nil {
		return err
	}
	return c.create(s)
}

// ownedBy applies OWNED BY.
func (c *change) ownedBy(s *catalog.Table, opts []ast.Option) error {
	for _, o := range opts {
		if o.Name != "owned_by" {
			continue
		}
		names := o.List
		if len(names) == 1 && names[0] == "none" {
			s.Sequence.OwnedTable, s.Sequence.OwnedColumn = 0, 0
			continue
		}
		if len(names) < 2 {
			return pgerr.New(pgerr.SyntaxError, "invalid OWNED BY option").WithHint("Specify OWNED BY table.column or OWNED BY NONE.")
		}
		n := &ast.TableName{Name: names[len(names)-2]}
		if len(names) > 2 {
			n.Schema = names[len(names)-3]
		}
		t, err := c.anyTable(n)
		if err != nil {
			return err
		}
		if t.Owner != s.Owner {
			return pgerr.New(pgerr.ObjectNotInPrerequisiteState, "sequence must have same owner as table it is linked to")
		}
		pos := t.ColumnByName(names[len(names)-1])
		if pos < 0 {
			return pgerr.New(pgerr.UndefinedColumn, "column \"%s\" of relation \"%s\" does not exist", names[len(names)-1], t.Name)
		}
		s.Sequence.OwnedTable, s.Sequence.OwnedColumn = t.ID, t.Columns[pos].ID
	}
	return nil
}

func (c *change) alterSequence(st *ast.AlterSequence) error {
	s, err := c.find(st.Name.Schema, st.Name.Name)
	if err != nil {
		return err
	}
	if s == nil {
		if st.IfExists {
			c.notice("00000", "relation \"%s\" does not exist, skipping", st.Name.Name)
			return nil
		}
		return missingRelation(st.Name)
	}
	if err := c.mustOwn(s); err != nil {
		return err
	}
	if s.Kind != 'S' {
		return pgerr.New(pgerr.WrongObjectType, "\"%s\" is not a sequence", s.Name)
	}
	n := clone(s)
	if err := setSequence(n.Sequence, st.Options, false); err != nil {
		return err
	}
	if n.Sequence.Start != s.Sequence.Start && n.Sequence.From == nil { // START is for the next restart
		first := s.Sequence.First()
		n.Sequence.From = &first
	}
	if err := c.ownedBy(n, st.Options); err != nil {
		return err
	}
	restarted, err := restartAt(n.Sequence, st.Options)
	if err != nil {
		return err
	}
	if !restarted {
		if err := c.checkCounter(s, n.Sequence); err != nil {
			return err
		}
	}
	if restarted { // the counter is outside of transactions: a new one starts where it should
		if err := c.freshData(n); err != nil {
			return err
		}
	}
	return c.replace(s, n)
}

// checkCounter refuses bounds that the sequence is beyond already. The counter is outside of transactions: who takes a number meanwhile
// may pass a new bound all the same, after which the sequence is exhausted, as if it had reached it.
func (c *change) checkCounter(s *catalog.Table, to *catalog.Sequence) error {
	if c.env.SequenceValue == nil || to.Min <= s.Sequence.Min && to.Max >= s.Sequence.Max {
		return nil
	}
	last, err := c.env.SequenceValue(s)
	if err != nil {
		return err
	}
	if last < to.Min {
		return pgerr.New(pgerr.InvalidParameterValue, "RESTART value (%d) cannot be less than MINVALUE (%d)", last, to.Min)
	}
	if last > to.Max {
		return pgerr.New(pgerr.InvalidParameterValue, "RESTART value (%d) cannot be greater than MAXVALUE (%d)", last, to.Max)
	}
	return nil
}

// restartAt applies RESTART: fresh data begin at its value, or at START.
func restartAt(s *catalog.Sequence, opts []ast.Option) (restarted bool, err error) {
	for _, o := range opts {
		if o.Name != "restart" {
			continue
		}
		restarted, s.From = true, nil
		if !o.HasValue || o.Text == "" {
			continue
		}
		v, err := strconv.ParseInt(o.Text, 10, 64)
		if err != nil {
			return false, pgerr.New(pgerr.InvalidTextRepresentation, "invalid value for sequence option \"%s\": \"%s\"", o.Name, o.Text)
		}
		if v < s.Min {
			return false, pgerr.New(pgerr.InvalidParameterValue, "RESTART value (%d) cannot be less than MINVALUE (%d)", v, s.Min)
		}
		if v > s.Max {
			return false, pgerr.New(pgerr.InvalidParameterValue, "RESTART value (%d) cannot be greater than MAXVALUE (%d)", v, s.Max)
		}
		s.From = &v
	}
	return restarted, nil
}
