package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/sql/role"
)

// What was asked has to be as it was; the rest may change.
func TestUses(t *testing.T) {
	type world struct {
		tables  map[TableID]*Table
		schemas []*Schema
		roles   map[string]*Role
	}
	build := func(version uint64, w world) *snapshot {
		s := newSnapshot(versionRow{version: version}, w.schemas, nil)
		for _, t := range w.tables {
			s.addTable(t)
		}
		for _, r := range w.roles {
			s.stored[r.Name] = r
		}
		s.finish()
		return s
	}
	granted := role.ACL{{Grantee: "ann", Grantor: "root", Privs: role.Select | role.Insert}}
	begin := func() world {
		return world{
			tables: map[TableID]*Table{
				1: {ID: 1, Schema: 10, Name: "a", Version: 3, DataID: 101, Kind: 'r', Owner: "root", ACL: granted, Columns: []Column{{ID: 1, Name: "x"}}},
				2: {ID: 2, Schema: 10, Name: "b", Version: 5, DataID: 102, Kind: 'r', Owner: "root"},
				3: {ID: 3, Schema: 10, Name: "v", Version: 1, Kind: 'v', Owner: "bob"},
			},
			schemas: []*Schema{{ID: 10, Name: "s", Owner: "root", ACL: role.ACL{{Grantee: role.Public, Grantor: "root", Privs: role.Usage}}}, {ID: 11, Name: "early", Owner: "root"}},
			roles:   map[string]*Role{"ann": {Name: "ann", OID: 20, MemberOf: []role.Membership{{Role: "staff"}}}, "bob": {Name: "bob", OID: 21}, "staff": {Name: "staff", OID: 22}, "other": {Name: "other", OID: 23}},
		}
	}
	change := func(w world, id TableID, f func(t *Table)) {
		n := *w.tables[id]
		f(&n)
		n.Version++
		if n.Shape = 0; sameShape(w.tables[id], &n) {
			n.Shape = w.tables[id].shape()
		}
		w.tables[id] = &n
	}
	for _, c := range []struct {
		name string
		f    func(w world) world
		hold bool
	}{
		{"nothing", func(w world) world { return w }, true},
		{"new table", func(w world) world { w.tables[9] = &Table{ID: 9, Schema: 10, Name: "z"}; return w }, true},
		{"other table dropped", func(w world) world { delete(w.tables, 2); return w }, true},
		{"other table changed", func(w world) world { change(w, 2, func(t *Table) { t.NextIndex++ }); return w }, true},
		{"other table renamed", func(w world) world { change(w, 2, func(t *Table) { t.Name = "c" }); return w }, true},
		{"dropped", func(w world) world { delete(w.tables, 1); return w }, false},
		{"index", func(w world) world {
			change(w, 1, func(t *Table) { t.Indexes = append(t.Indexes, Index{ID: 2}) })
			return w
		}, false},
		{"index and gone again", func(w world) world {
			change(w, 1, func(t *Table) { t.Indexes = append(t.Indexes, Index{ID: 2}) })
			change(w, 1, func(t *Table) { t.Indexes = nil })
			return w
		}, false},
		{"truncated", func(w world) world { change(w, 1, func(t *Table) { t.DataID = 200 }); return w }, false},
		{"renamed", func(w world) world { change(w, 1, func(t *Table) { t.Name = "c" }); return w }, false},
		{"replaced by another", func(w world) world {
			change(w, 1, func(t *Table) { t.Name = "c" })
			w.tables[9] = &Table{ID: 9, Schema: 10, Name: "a"}
			return w
		}, false},
		{"shadowed", func(w world) world { w.tables[9] = &Table{ID: 9, Schema: 11, Name: "a"}; return w }, false},
		{"schema renamed", func(w world) world {
			w.schemas[0] = &Schema{ID: 10, Name: "s2", Owner: "root", ACL: w.schemas[0].ACL}
			return w
		}, false},
		{"earlier schema dropped", func(w world) world { w.schemas = w.schemas[:1]; return w }, true},
		{"commented", func(w world) world { change(w, 1, func(t *Table) { t.Comment = "hello" }); return w }, true},
		{"granted", func(w world) world {
			change(w, 1, func(t *Table) {
				t.ACL = append(role.ACL{{Grantee: "bob", Grantor: "root", Privs: role.Select}}, t.ACL...)
			})
			return w
		}, true},
		{"revoked", func(w world) world {
			change(w, 1, func(t *Table) { t.ACL = role.ACL{{Grantee: "ann", Grantor: "root", Privs: role.Select}} })
			return w
		}, false},
		{"granted for columns instead", func(w world) world {
			change(w, 1, func(t *Table) {
				t.Columns = []Column{{ID: 1, Name: "x", ACL: t.ACL}}
				t.ACL = role.ACL{}
			})
			return w
		}, false},
		{"usage revoked", func(w world) world {
			w.schemas[0] = &Schema{ID: 10, Name: "s", Owner: "root", ACL: role.ACL{}}
			return w
		}, false},
		{"member of more", func(w world) world {
			w.roles["ann"] = &Role{Name: "ann", OID: 20, MemberOf: []role.Membership{{Role: "staff"}, {Role: "other"}}}
			return w
		}, true},
		{"role dropped", func(w world) world { delete(w.roles, "other"); return w }, true},
		{"member of less, without loss", func(w world) world { w.roles["ann"] = &Role{Name: "ann", OID: 20}; return w }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := build(1, begin())
			for _, how := range []string{"itself", "plan", "merged"} {
				var u Uses
				u.Seen(old, hlc.Timestamp{WallTime: 1}, "ann")
				ask := func(s Snapshot) {
					s.Table("early", "a")
					s.Table("s", "a")
					s.TableByID(1)
					s.Schema("s")
				}
				switch how {
				case "itself":
					ask(u.Watch(old))
				default:
					n := 1
					if how == "merged" {
						n = maxParts + 1
					}
					for range n {
						var plan Uses
						ask(plan.Watch(old))
						u.Add(&plan)
					}
				}
				require.Equal(t, c.hold, u.hold(build(2, c.f(begin()))), how)
			}
		})
	}

	t.Run("a view's owner", func(t *testing.T) {
		w := begin()
		w.tables[2].ACL = role.ACL{{Grantee: "staff", Grantor: "root", Privs: role.Select}}
		w.roles["bob"].MemberOf = []role.Membership{{Role: "staff"}}
		w.tables[3].ACL = granted
		old := build(1, w)
		var u Uses
		u.Seen(old, hlc.Timestamp{}, "ann")
		s := u.Watch(old)
		s.Table("s", "v")
		s.Table("s", "b")
		require.True(t, u.hold(build(2, w)))
		w.roles["bob"] = &Role{Name: "bob", OID: 21}
		require.False(t, u.hold(build(3, w)), "its owner may not read the table any more")
	})
	t.Run("two answers", func(t *testing.T) {
		w := begin()
		one := build(1, w)
		change(w, 1, func(t *Table) { t.NextIndex++ })
		two := build(2, w)
		var u Uses
		u.Seen(one, hlc.Timestamp{}, "ann")
		u.Watch(one).TableByID(1)
		u.Seen(two, hlc.Timestamp{}, "ann")
		u.Watch(two).TableByID(1)
		require.False(t, u.hold(two))
		u.Reset()
		require.True(t, u.none())
		u.Seen(two, hlc.Timestamp{}, "ann")
		u.Watch(two).TableByID(1)
		require.True(t, u.hold(two))
	})
	t.Run("more than is kept", func(t *testing.T) {
		old := build(1, begin())
		var u Uses
		u.Seen(old, hlc.Timestamp{}, "ann")
		s := u.Watch(old)
		for i := range maxAnswers + 1 {
			s.TableByID(TableID(1000 + i))
		}
		require.LessOrEqual(t, len(u.ids), maxAnswers)
		require.True(t, u.hold(old))
		require.False(t, u.hold(build(2, begin())))
	})
}
