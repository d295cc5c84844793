package pgcatalog

import (
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// fill computes a relation. Relations that are not named here have their generated rows, or none.
func (o *Overlay) fill(b *builder) error {
	name := b.d.table.Name
	if b.d.table.Schema == oidInfoSchema {
		if f := infoSchema[name]; f != nil {
			f(o, b)
		}
		return nil
	}
	switch name {
	case "pg_settings", "pg_namespace":
	default:
		if err := static(b); err != nil {
			return err
		}
	}
	if f := pgCatalog[name]; f != nil {
		f(o, b)
	}
	return nil
}

// static adds the rows generated from PostgreSQL.
func static(b *builder) error {
	cols, rows, ok := builtin.Catalog(b.d.table.Name)
	if !ok {
		return nil
	}
	pos := make([]int, len(cols))
	for i, c := range cols {
		p, ok := b.d.index[c]
		if !ok {
			return pgerr.New(pgerr.InternalError, "generated rows of %s have an unknown column %s", b.d.table.Name, c)
		}
		pos[i] = p
	}
	for _, r := range rows {
		b.row()
		for i, v := range r {
			if v == nil {
				continue
			}
			c := &b.d.table.Columns[pos[i]]
			d, err := types.ParseText(types.Of(c.Type.OID), []byte(*v), types.DefaultEnv)
			if err != nil {
				return pgerr.New(pgerr.InternalError, "generated row of %s, column %s: %v", b.d.table.Name, c.Name, err)
			}
			b.cols[pos[i]].Set(b.n-1, d)
		}
	}
	return nil
}

var pgCatalog map[string]func(*Overlay, *builder)

func init() {
	pgCatalog = map[string]func(*Overlay, *builder){
		"pg_namespace":         fillNamespace,
		"pg_class":             fillClass,
		"pg_attribute":         fillAttribute,
		"pg_attrdef":           fillAttrdef,
		"pg_index":             fillIndex,
		"pg_constraint":        fillConstraint,
		"pg_sequence":          fillSequence,
		"pg_depend":            fillDepend,
		"pg_rewrite":           fillRewrite,
		"pg_database":          fillDatabase,
		"pg_tablespace":        fillTablespace,
		"pg_authid":            fillAuthid,
		"pg_roles":             fillRoles,
		"pg_user":              fillUser,
		"pg_shadow":            fillShadow,
		"pg_auth_members":      fillMembers,
		"pg_group":             fillGroup,
		"pg_default_acl":       fillDefaultACL,
		"pg_db_role_setting":   fillRoleSettings,
		"pg_tables":            fillTables,
		"pg_indexes":           fillIndexes,
		"pg_views":             fillViews,
		"pg_extension":         fillExtension,
		"pg_stat_all_tables":   fillStatTables(true),
		"pg_stat_user_tables":  fillStatTables(false),
		"pg_stat_all_indexes":  fillStatIndexes,
		"pg_stat_user_indexes": fillStatIndexes,
		"pg_shdescription":     nil,
		"pg_description":       fillDescription,
		"pg_proc":              fillProc,
	}
}

func fillNamespace(o *Overlay, b *builder) {
	for _, s := range o.Schemas() {
		b.row().i("oid", int64(s.ID)).s("nspname", s.Name).i("nspowner", o.owner(s.Owner)).acl("nspacl", s.ACL)
		if s.ID == oidPublic { // what it begins with is not the default of schemas
			b.acl("nspacl", s.Object().ACL)
		}
	}
}

// visible columns of a table in their attnum order.
func eachColumn(t *catalog.Table, f func(i int, c *catalog.Column, attnum int64)) {
	for i := range t.Columns {
		c := &t.Columns[i]
		if c.Hidden {
			continue
		}
		f(i, c, int64(i+1))
	}
}

// shownIndexes are the indexes that users see: all but the primary index over a hidden row id.
func shownIndexes(t *catalog.Table) []*catalog.Index {
	var out []*catalog.Index
	for i := range t.Indexes {
		ix := &t.Indexes[i]
		if ix.State != catalog.Public && ix.State != catalog.WriteOnly {
			continue
		}
		if ix.Primary && hiddenKey(t, ix) {
			continue
		}
		out = append(out, ix)
	}
	return out
}

func hiddenKey(t *catalog.Table, ix *catalog.Index) bool {
	for _, k := range ix.Columns {
		if i := t.ColumnByID(k.Column); i >= 0 && t.Columns[i].Hidden {
			return true
		}
	}
	return false
}

func fillClass(o *Overlay, b *builder) {
	// Generated rows leave out what depends on the machine.
	for i := range b.n {
		b.cols[b.d.index["relfilenode"]].Set(i, types.NewInt(b.cols[b.d.index["oid"]].Ints[i]))
		b.cols[b.d.index["reltuples"]].Set(i, types.NewFloat(-1))
	}
	for _, d := range pamirRelations() {
		b.row().i("oid", int64(d.table.ID)).s("relname", d.table.Name).i("relnamespace", oidPamir).i("relowner", oidRoot).c("relpersistence", 'p').
			c("relkind", 'v').i("relnatts", int64(len(d.table.Columns))).b("relispopulated", true).c("relreplident", 'n')
	}
	for _, t := range o.Snapshot.Tables() {
		if t.Virtual {
			continue
		}
		indexes := shownIndexes(t)
		attrs := 0
		eachColumn(t, func(i int, _ *catalog.Column, _ int64) { attrs = i + 1 })
		b.row().i("oid", int64(t.ID)).s("relname", t.Name).i("relnamespace", int64(t.Schema)).i("relowner", o.owner(t.Owner)).
			i("relfilenode", int64(t.ID)).f("reltuples", o.Snapshot.Stats(t.ID).Rows).b("relhasindex", len(indexes) > 0).c("relpersistence", 'p').
			c("relkind", t.Kind).i("relnatts", int64(attrs)).i("relchecks", int64(len(t.Checks))).b("relispopulated", true).c("relreplident", 'd')
		if t.Kind == 'r' {
			// Tools look for foreign keys only where PostgreSQL has the triggers that check them.
			b.i("relam", oidHeapAM).b("relhastriggers", len(t.ForeignKeys)+len(t.ReferencedBy) > 0)
		}
		if t.Kind == 'v' {
			b.b("relhasrules", true).c("relreplident", 'n')
		}
		if t.Kind == 'S' {
			b.i("relnatts", 3).c("relreplident", 'n').f("reltuples", 1)
		}
		b.acl("relacl", t.ACL)
		if len(t.Options) > 0 {
			b.strings("reloptions", t.Options)
		}
		for _, ix := range indexes {
			b.row().i("oid", int64(ix.OID)).s("relname", ix.Name).i("relnamespace", int64(t.Schema)).i("relowner", o.owner(t.Owner)).
				i("relam", oidBtreeAM).i("relfilenode", int64(ix.OID)).f("reltuples", o.Snapshot.Stats(t.ID).Rows).c("relpersistence", 'p').
				c("relkind", 'i').i("relnatts", int64(len(ix.Columns)+len(ix.Include))).b("relispopulated", true).c("relreplident", 'n')
			if len(ix.Options) > 0 {
				b.strings("reloptions", ix.Options)
			}
		}
	}
}

// typeAttributes are pg_attribute's copies of a type's properties.
func (b *builder) typeAttributes(t types.Type) *builder {
	r := typeInfo()[t.OID]
	b.i("atttypid", int64(t.OID)).i("attlen", r.length).b("attbyval", r.byval).c("attalign", r.align).c("attstorage", r.storage).
		i("attcollation", r.collation).i("atttypmod", int64(t.Mod)).i("attstattarget", -1).i("attcacheoff", -1).b("attislocal", true)
	if types.ElemOf(t.OID) != 0 && t.OID != types.OidVectorOID && t.OID != types.Int2VectorOID {
		b.i("attndims", 1)
	}
	return b
}

func fillAttribute(o *Overlay, b *builder) {
	for i := range b.n { // grants on columns of system relations, which pg_dump would take for somebody's
		b.cols[b.d.index["attacl"]].Set(i, types.NullDatum)
	}
	for _, d := range pamirRelations() {
		for i, c := range d.table.Columns {
			b.row().i("attrelid", int64(d.table.ID)).s("attname", c.Name).i("attnum", int64(i+1)).typeAttributes(c.Type)
		}
	}
	for _, t := range o.Snapshot.Tables() {
		if t.Virtual {
			continue
		}
		if t.Kind == 'S' {
			for i, c := range []struct {
				name string
				typ  types.OID
			}{{"last_value", types.Int8OID}, {"log_cnt", types.Int8OID}, {"is_called", types.BoolOID}} {
				b.row().i("attrelid", int64(t.ID)).s("attname", c.name).i("attnum", int64(i+1)).typeAttributes(types.Of(c.typ)).b("attnotnull", true)
			}
			continue
		}
		eachColumn(t, func(_ int, c *catalog.Column, attnum int64) {
			b.row().i("attrelid", int64(t.ID)).i("attnum", attnum).typeAttributes(c.Type)
			if len(c.ACL) > 0 {
				b.acl("attacl", c.ACL)
			}
			if c.Dropped {
				b.s("attname", droppedName(attnum)).b("attisdropped", true).i("atttypid", 0)
				return
			}
			b.s("attname", c.Name).b("attnotnull", c.NotNull).b("atthasdef", c.Default != "" && c.Identity == 0)
			if c.Identity != 0 {
				b.c("attidentity", c.Identity)
			}
		})
		for _, ix := range shownIndexes(t) {
			n := int64(0)
			add := func(id catalog.ColumnID) {
				i := t.ColumnByID(id)
				if i < 0 {
					return
				}
				n++
				b.row().i("attrelid", int64(ix.OID)).i("attnum", n).s("attname", t.Columns[i].Name).typeAttributes(t.Columns[i].Type)
			}
			for _, k := range ix.Columns {
				add(k.Column)
			}
			for _, id := range ix.Include {
				add(id)
			}
		}
	}
}

func fillAttrdef(o *Overlay, b *builder) {
	for _, t := range o.Snapshot.Tables() {
		if t.Virtual {
			continue
		}
		eachColumn(t, func(_ int, c *catalog.Column, attnum int64) {
			if c.Default != "" && !c.Dropped && c.Identity == 0 {
				b.row().i("oid", int64(attrdefOID(t, c))).i("adrelid", int64(t.ID)).i("adnum", attnum).s("adbin", o.defaultText(t, int(attnum)-1))
			}
		})
	}
}

// attnums are the column numbers of an index.
func attnums(t *catalog.Table, ix *catalog.Index) (keys, all []int64) {
	for _, k := range ix.Columns {
		all = append(all, int64(t.ColumnByID(k.Column)+1))
	}
	keys = all
	for _, id := range ix.Include {
		all = append(all, int64(t.ColumnByID(id)+1))
	}
	return keys[:len(ix.Columns):len(ix.Columns)], all
}

func fillIndex(o *Overlay, b *builder) {
	for _, t := range o.Snapshot.Tables() {
		if t.Virtual {
			continue
		}
		for _, ix := range shownIndexes(t) {
			_, all := attnums(t, ix)
			colls := make([]int64, len(ix.Columns))
			classes := make([]int64, len(ix.Columns))
			options := make([]int64, len(ix.Columns))
			for i, k := range ix.Columns {
				c := &t.Columns[t.ColumnByID(k.Column)]
				colls[i] = typeInfo()[c.Type.OID].collation
				classes[i] = btreeClass(c.Type.OID)
				if k.Desc {
					options[i] |= 1
				}
				if k.NullsFirst {
					options[i] |= 2
				}
			}
			ready := ix.State == catalog.Public
			b.row().i("indexrelid", int64(ix.OID)).i("indrelid", int64(t.ID)).i("indnatts", int64(len(all))).i("indnkeyatts", int64(len(ix.Columns))).
				b("indisunique", ix.Unique || ix.Primary).b("indisprimary", ix.Primary).b("indimmediate", true).b("indisvalid", ready).b("indisready", true).b("indislive", true).
				vector("indkey", all).vector("indcollation", colls).vector("indclass", classes).vector("indoption", options)
			if ix.Predicate != "" {
				b.s("indpred", o.predicateText(t, ix))
			}
		}
	}
}

func fillConstraint(o *Overlay, b *builder) {
	for _, t := range o.Snapshot.Tables() {
		if t.Virtual {
			continue
		}
		for _, ix := range shownIndexes(t) {
			if !ix.Primary && !ix.Constraint {
				continue
			}
			keys, _ := attnums(t, ix)
			kind := byte('u')
			if ix.Primary {
				kind = 'p'
			}
			b.row().i("oid", int64(constraintOID(ix))).s("conname", ix.Name).i("connamespace", int64(t.Schema)).c("contype", kind).
				i("conrelid", int64(t.ID)).i("conindid", int64(ix.OID)).b("convalidated", true).b("conislocal", true).b("connoinherit", true).
				c("confupdtype", ' ').c("confdeltype", ' ').c("confmatchtype", ' ').array("conkey", keys)
		}
		for i := range t.Checks {
			ck := &t.Checks[i]
			b.row().i("oid", int64(checkOID(t, i))).s("conname", ck.Name).i("connamespace", int64(t.Schema)).c("contype", 'c').
				i("conrelid", int64(t.ID)).b("convalidated", ck.State == catalog.Public).b("conislocal", true).
				c("confupdtype", ' ').c("confdeltype", ' ').c("confmatchtype", ' ').s("conbin", o.checkText(t, i))
		}
		o.foreignConstraints(b, t)
	}
}

func fillSequence(o *Overlay, b *builder) {
	for _, t := range o.Snapshot.Tables() {
		if t.Sequence == nil {
			continue
		}
		q := t.Sequence
		b.row().i("seqrelid", int64(t.ID)).i("seqtypid", int64(q.Type)).i("seqstart", q.Start).i("seqincrement", q.Increment).
			i("seqmax", q.Max).i("seqmin", q.Min).i("seqcache", q.Cache).b("seqcycle", q.Cycle)
	}
}

// fillDepend has what tools look for: which column owns a sequence, and which constraint an index belongs to.
func fillDepend(o *Overlay, b *builder) {
	dependOnExtension(b)
	dependOnRelations(o, b)
	for _, t := range o.Snapshot.Tables() {
		if t.Virtual {
			continue
		}
		if q := t.Sequence; q != nil && q.OwnedTable != 0 {
			owner, ok := o.Snapshot.TableByID(q.OwnedTable)
			if !ok {
				continue
			}
			kind := byte('a')
			i := owner.ColumnByID(q.OwnedColumn)
			if i >= 0 && owner.Columns[i].Identity != 0 {
				kind = 'i'
			}
			b.row().i("classid", oidClassPgClass).i("objid", int64(t.ID)).i("refclassid", oidClassPgClass).
				i("refobjid", int64(q.OwnedTable)).i("refobjsubid", int64(i+1)).c("deptype", kind)
		}
		for _, ix := range shownIndexes(t) {
			if ix.Primary || ix.Constraint {
				b.row().i("classid", oidClassPgClass).i("objid", int64(ix.OID)).i("refclassid", 2606).i("refobjid", int64(constraintOID(ix))).c("deptype", 'i')
			}
		}
		o.foreignDepends(b, t)
	}
}

func fillRewrite(o *Overlay, b *builder) {
	for _, t := range o.Snapshot.Tables() {
		if t.Kind == 'v' && !t.Virtual {
			b.row().i("oid", int64(ruleOID(t))).s("rulename", "_RETURN").i("ev_class", int64(t.ID)).c("ev_type", '1').c("ev_enabled", 'O').b("is_instead", true).s("ev_qual", "<>").s("ev_action", "<>")
		}
	}
}

func fillDatabase(o *Overlay, b *builder) {
	b.row().i("oid", oidDatabase).s("datname", o.env.Database).i("datdba", o.owner(o.Access().Database.Owner)).acl("datacl", o.Access().Database.ACL).i("encoding", 6).c("datlocprovider", 'c').b("datallowconn", true).
		i("datconnlimit", -1).i("dattablespace", oidTablespace).s("datcollate", "C").s("datctype", "C.UTF-8").i("datfrozenxid", 1).i("datminmxid", 1)
}

func fillTablespace(o *Overlay, b *builder) {
	b.row().i("oid", oidTablespace).s("spcname", "pg_default").i("spcowner", oidRoot)
}

func (o *Overlay) schemaOf(t *catalog.Table) string {
	if s, ok := o.SchemaByID(t.Schema); ok {
		return s.Name
	}
	return "?"
}

// tablesOf calls f for stored and system relations of a kind.
func (o *Overlay) tablesOf(kind byte, f func(t *catalog.Table)) {
	for _, d := range system().all {
		if d.kind == kind {
			f(d.table)
		}
	}
	for _, t := range o.Snapshot.Tables() {
		if t.Kind == kind && !t.Virtual {
			f(t)
		}
	}
}

func fillTables(o *Overlay, b *builder) {
	o.tablesOf('r', func(t *catalog.Table) {
		b.row().s("schemaname", o.schemaOf(t)).s("tablename", t.Name).s("tableowner", t.Owner).b("hasindexes", len(shownIndexes(t)) > 0).
			b("hasrules", false).b("hastriggers", len(t.ForeignKeys)+len(t.ReferencedBy) > 0).b("rowsecurity", false)
	})
}

// fillStatIndexes lists the indexes; how they are used is not counted. What shows is which there are: tools join with it.
func fillStatIndexes(o *Overlay, b *builder) {
	for _, t := range o.Snapshot.Tables() {
		if t.Virtual {
			continue
		}
		for _, ix := range shownIndexes(t) {
			b.row().i("relid", int64(t.ID)).i("indexrelid", int64(ix.OID)).s("schemaname", o.schemaOf(t)).s("relname", t.Name).s("indexrelname", ix.Name)
		}
	}
}

func fillIndexes(o *Overlay, b *builder) {
	for _, t := range o.Snapshot.Tables() {
		if t.Virtual {
			continue
		}
		for _, ix := range shownIndexes(t) {
			b.row().s("schemaname", o.schemaOf(t)).s("tablename", t.Name).s("indexname", ix.Name).s("indexdef", o.indexDef(t, ix, false))
		}
	}
}

func fillViews(o *Overlay, b *builder) {
	o.tablesOf('v', func(t *catalog.Table) {
		b.row().s("schemaname", o.schemaOf(t)).s("viewname", t.Name).s("viewowner", t.Owner).s("definition", viewDef(t))
	})
}

func fillStatTables(all bool) func(o *Overlay, b *builder) {
	return func(o *Overlay, b *builder) {
		add := func(t *catalog.Table) {
			b.row().i("relid", int64(t.ID)).s("schemaname", o.schemaOf(t)).s("relname", t.Name).i("n_live_tup", max(int64(o.Stats(t.ID).Rows), 0))
		}
		if all {
			o.tablesOf('r', add)
			return
		}
		for _, t := range o.Snapshot.Tables() {
			if t.Kind == 'r' && !t.Virtual {
				add(t)
			}
		}
	}
}
