package sql

import (
	"context"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// Deferrable constraints: foreign keys that are checked when the transaction commits, or when SET CONSTRAINTS says so.

// checkReferences sees to what foreign keys have left: all of it (a commit), or what is not deferred.
func (s *Session) checkReferences(ctx context.Context, all bool) error {
	if s.tx == nil || !s.refs.Pending() {
		return nil
	}
	if _, err := s.snapshot(ctx); err != nil {
		return err
	}
	rt := s.runtime(&portal{})
	if all {
		return s.refs.Commit(ctx, &rt)
	}
	return s.refs.Finish(ctx, &rt)
}

// runSetConstraints is SET CONSTRAINTS.
func (s *Session) runSetConstraints(ctx context.Context, st *ast.SetConstraints) error {
	if s.alone() {
		s.warn(pgerr.NoActiveSQLTransaction, "SET CONSTRAINTS can only be used in transaction blocks")
	}
	if len(st.Names) == 0 {
		s.refs.SetAll(st.Deferred)
	}
	if len(st.Names) > 0 {
		if err := s.ensureTxn(ctx); err != nil {
			return err
		}
		if _, err := s.snapshot(ctx); err != nil {
			return err
		}
	}
	var oids []uint32
	for _, n := range st.Names {
		found, err := s.deferrables(n)
		if err != nil {
			return err
		}
		oids = append(oids, found...)
	}
	for _, oid := range oids {
		s.refs.SetNamed(oid, st.Deferred)
	}
	if st.Deferred {
		return nil
	}
	if err := s.settlePortals(ctx); err != nil { // the checks take a step
		return err
	}
	return s.translate(s.checkReferences(ctx, false))
}

// deferrables finds the constraints of a name, in the first schema of the search path that has any.
func (s *Session) deferrables(name []string) ([]uint32, error) {
	last := name[len(name)-1]
	path := s.usablePath()
	if len(name) > 1 {
		path = []string{name[len(name)-2]}
	}
	for _, schema := range path {
		sc, ok := s.snap.Schema(schema)
		if !ok {
			if len(name) > 1 {
				return nil, pgerr.New(pgerr.InvalidSchemaName, "schema \"%s\" does not exist", schema)
			}
			continue
		}
		var out []uint32
		for _, t := range s.snap.Tables() {
			if t.Schema != sc.ID || t.Virtual {
				continue
			}
			found, err := constraintNamed(t, last)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		}
		if len(out) > 0 {
			return out, nil
		}
	}
	return nil, pgerr.New(pgerr.UndefinedObject, "constraint \"%s\" does not exist", last)
}

func constraintNamed(t *catalog.Table, name string) (oids []uint32, err error) {
	fixed := func() error {
		return pgerr.New(pgerr.WrongObjectType, "constraint \"%s\" is not deferrable", name)
	}
	for i := range t.ForeignKeys {
		if k := &t.ForeignKeys[i]; k.Name == name {
			if !k.Deferrable {
				return nil, fixed()
			}
			oids = append(oids, k.OID)
		}
	}
	for i := range t.Indexes {
		if t.Indexes[i].Constraint && t.Indexes[i].Name == name {
			return nil, fixed()
		}
	}
	for i := range t.Checks {
		if t.Checks[i].Name == name {
			return nil, fixed()
		}
	}
	return oids, nil
}
