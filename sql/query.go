package sql

import (
	"bytes"
	"encoding/binary"
	"slices"
	"unicode/utf8"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Query runs a simple-query message: any number of statements, in one implicit transaction unless they say otherwise.
func (s *Session) Query(text string) (err error) {
	defer func() {
		if err != nil && s.block == blockIdle && s.tx != nil {
			s.failed(err)
		}
		s.reportSettings()
		s.setIdle()
	}()
	s.unnamed = nil
	if s.portal0 != nil {
		s.dropPortal(s.portal0)
	}
	s.refreshSettings()
	if done, err := s.queryNormalized(text); done {
		return err
	}
	if p := s.texts.byText[text]; p != nil {
		return s.querySimple(p, nil, true)
	}
	stmts, err := parse.Parse(text)
	if err != nil {
		s.failed(err)
		return err
	}
	if len(stmts) == 0 {
		s.client.Empty()
		return s.Sync()
	}
	s.several = len(stmts) > 1
	defer func() { s.several = false }()
	for i := range stmts {
		p := &prepared{text: text, stmt: stmts[i]}
		last := i == len(stmts)-1
		if err := s.querySimple(p, nil, last); err != nil {
			return err
		}
		if len(stmts) == 1 && p.plan != nil && p.epoch == 0 {
			s.texts.put(text, p)
		}
	}
	return nil
}

// querySimple runs one statement with the portal of simple queries.
func (s *Session) querySimple(p *prepared, params []types.Datum, last bool) error {
	if p.stmt.Params > 0 && params == nil && planned(p.stmt.Statement) {
		err := noParameter(p.text, p.stmt.Start)
		s.failed(err)
		return err
	}
	po := &s.one
	po.rewind()
	po.stmt, po.params = p, params
	po.shape = nil
	// The plan and the columns are made first, so that errors in them come before any output.
	if err := s.describeSimple(po); err != nil {
		return err
	}
	// A statement that ends the implicit transaction commits before its completion is reported. One among several commits with the last.
	final := last && s.block == blockIdle
	if err := s.execute(po, 0, final); err != nil {
		return err
	}
	if last && s.block == blockIdle {
		return s.Sync()
	}
	return nil
}

// describeSimple plans the statement and announces its columns.
func (s *Session) describeSimple(po *portal) (err error) {
	p := po.stmt
	defer func() {
		if err != nil {
			s.failed(err)
		}
	}()
	ctx, err := s.begin()
	if err != nil {
		return err
	}
	defer s.finish()
	if p.plan == nil {
		if err := s.analyze(ctx, p); err != nil {
			return s.translate(err)
		}
	} else {
		if s.block == blockFailed {
			return errFailedBlock()
		}
		p.described = false
		if err := s.revalidate(ctx, p); err != nil {
			return s.translate(err)
		}
		p.fields = p.plan.Columns
	}
	if _, ok := p.stmt.Statement.(*ast.Copy); ok {
		return nil
	}
	var formats []int16
	if f, ok := p.stmt.Statement.(*ast.Fetch); ok {
		if c := s.portals[f.Cursor]; c != nil && c.decl != nil && c.decl.binary {
			formats = []int16{1}
		}
	}
	if po.shape, err = s.shapeFor(p, formats); err != nil {
		return err
	}
	if len(p.fields) > 0 || returnsRows(p) {
		s.client.Describe(po.shape)
	}
	return nil
}

// queryNormalized runs a simple statement with its literals taken out, so that texts that differ only in them share a
// plan. done is false if the text has to be planned as it is.
func (s *Session) queryNormalized(text string) (done bool, err error) {
	if s.block == blockFailed {
		return false, nil
	}
	key, lits, ok := parse.AppendNormalized(s.normBuf[:0], s.normLits[:0], text)
	s.normBuf, s.normLits = key[:0], lits[:0]
	if !ok {
		return false, nil
	}
	// Literals of other types make other plans: the types are part of the key.
	end := len(key)
	key = append(key, 0)
	for i := range lits {
		key = append(key, byte(lits[i].Kind))
	}
	s.normBuf = key[:0]
	p, known := s.texts.byText[string(key)]
	if p == nil {
		if known {
			return false, nil // it did not plan before
		}
		p = s.prepareNormalized(string(key[:end]), lits)
		s.texts.put(string(key), p)
		if p == nil {
			return false, nil
		}
	}
	po := &s.one
	params := po.params[:0]
	buf := po.buf[:0]
	if po.logged {
		params, buf = nil, nil
	}
	for i := range lits {
		l := &lits[i]
		t := p.params[i]
		var d types.Datum
		if (l.Kind == parse.Int4 || l.Kind == parse.Int8) && types.ReprOf(t.OID) == types.ReprInt {
			d = types.NewInt(l.Int)
		} else {
			at := len(buf)
			buf = append(buf, l.Text...)
			if d, err = types.ParseText(t, buf[at:len(buf):len(buf)], s.effects.env); err != nil {
				return false, nil // the original text gives the right error
			}
		}
		params = append(params, d)
	}
	po.buf = buf
	if len(p.plan.Peeks) > 0 {
		p = s.forValues(key, p, params)
	}
	s.plain = text
	err = s.querySimple(p, params, true)
	s.plain = ""
	return true, err
}

// forValues returns p with a plan for parameters like these: where a column has common values, what is good for one of them may be bad for another. key is p's
// among the texts.
func (s *Session) forValues(key []byte, p *prepared, params []types.Datum) *prepared {
	base := len(key)
	key = binary.BigEndian.AppendUint64(key, p.plan.CatalogVersion)
	at := len(key)
	for i := range p.plan.Peeks {
		key = binary.BigEndian.AppendUint64(key, p.plan.Peeks[i].Class(params))
	}
	s.normBuf = key[:0]
	q, known := s.texts.byText[string(key)]
	if !known {
		q = s.prepareFor(p, string(key[at:]), params)
		s.texts.put(string(key), q)
	}
	if q == nil {
		return p
	}
	if q.plan.CatalogVersion != p.plan.CatalogVersion {
		delete(s.texts.byText, string(key[:base])) // next time p tells what is common now
	}
	return q
}

func (s *Session) prepareFor(p *prepared, values string, params []types.Datum) *prepared {
	q := &prepared{text: p.text, stmt: p.stmt, hints: p.hints, values: values, peeked: p.plan.CatalogVersion, peek: slices.Clone(params)}
	for i := range q.peek {
		q.peek[i].B = bytes.Clone(q.peek[i].B) // the original is in the portal's buffer
	}
	ctx, err := s.begin()
	if err != nil {
		return nil
	}
	defer s.finish()
	if err := s.analyze(ctx, q); err != nil || q.epoch != 0 {
		return nil
	}
	return q
}

// prepareNormalized plans a normalised text; nil if it has no plan.
func (s *Session) prepareNormalized(key string, lits []parse.Literal) *prepared {
	stmt, err := parse.One(key)
	if err != nil || stmt.Statement == nil || !planned(stmt.Statement) {
		return nil
	}
	p := &prepared{text: key, stmt: stmt, hints: make([]types.OID, len(lits))}
	for i, l := range lits {
		switch l.Kind {
		case parse.Int4:
			p.hints[i] = types.Int4OID
		case parse.Int8:
			p.hints[i] = types.Int8OID
		case parse.Numeric:
			p.hints[i] = types.NumericOID
		}
	}
	ctx, err := s.begin()
	if err != nil {
		return nil
	}
	defer s.finish()
	if err := s.analyze(ctx, p); err != nil || p.epoch != 0 {
		return nil
	}
	return p
}

// noParameter is the error about the first parameter in a text that can have none.
func noParameter(text string, start int) error {
	for i := max(start, 0); i+1 < len(text); i++ {
		if text[i] == '$' && text[i+1] >= '1' && text[i+1] <= '9' {
			n := i + 1
			for n < len(text) && text[n] >= '0' && text[n] <= '9' {
				n++
			}
			return pgerr.New(pgerr.UndefinedParameter, "there is no parameter %s", text[i:n]).At(utf8.RuneCountInString(text[:i]) + 1)
		}
	}
	return pgerr.New(pgerr.UndefinedParameter, "there is no parameter $1")
}
