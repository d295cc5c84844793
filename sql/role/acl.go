package role

import (
	"slices"
	"strings"
)

// Privilege is a set of privileges.
type Privilege uint16

// Privileges, in the order in which PostgreSQL writes them.
const (
	Insert Privilege = 1 << iota
	Select
	Update
	Delete
	Truncate
	References
	Trigger
	Execute
	Usage
	Create
	Temporary
	Connect
	SetParameter
	AlterSystem

	None Privilege = 0
)

const letters = "arwdDxtXUCTcsA"

var words = []string{"INSERT", "SELECT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "EXECUTE", "USAGE", "CREATE", "TEMPORARY", "CONNECT", "SET", "ALTER SYSTEM"}

// Parse finds a privilege by its word.
func Parse(word string) (Privilege, bool) {
	word = strings.ToUpper(word)
	if word == "TEMP" {
		return Temporary, true
	}
	i := slices.Index(words, word)
	if i < 0 {
		return None, false
	}
	return 1 << i, true
}

// Words names the privileges.
func (p Privilege) Words() []string {
	var out []string
	for i, w := range words {
		if p&(1<<i) != 0 {
			out = append(out, w)
		}
	}
	return out
}

// Class of an object: 'r' tables and views, 'c' columns, 'S' sequences, 'n' schemas, 'd' the database, 'f' functions, 'T' types.
type Class byte

// All are the privileges that a class has.
func (c Class) All() Privilege {
	switch c {
	case 'r':
		return Insert | Select | Update | Delete | Truncate | References | Trigger
	case 'c':
		return Insert | Select | Update | References
	case 'S':
		return Select | Update | Usage
	case 'n':
		return Usage | Create
	case 'd':
		return Create | Temporary | Connect
	case 'f':
		return Execute
	case 'T':
		return Usage
	}
	return None
}

// Public is the grantee that everybody is.
const Public = ""

// Item is what one grantor has granted to one grantee.
type Item struct {
	Grantee string    `json:"to"`
	Grantor string    `json:"by"`
	Privs   Privilege `json:"p"`
	// Grant is the part of Privs that the grantee may grant on.
	Grant Privilege `json:"g,omitempty"`
}

// ACL of an object. It is never changed in place.
type ACL []Item

// Default is what a nil ACL means.
func Default(c Class, owner string) ACL {
	var a ACL
	switch c {
	case 'd':
		a = append(a, Item{Grantee: Public, Grantor: owner, Privs: Temporary | Connect})
	case 'f', 'T':
		a = append(a, Item{Grantee: Public, Grantor: owner, Privs: c.All()})
	case 'c':
		return nil
	}
	return append(a, Item{Grantee: owner, Grantor: owner, Privs: c.All()})
}

// Strings is the ACL as aclitem[] prints it.
func (a ACL) Strings() []string {
	out := make([]string, len(a))
	for i, it := range a {
		var b strings.Builder
		b.WriteString(quoteRole(it.Grantee))
		b.WriteByte('=')
		for k := range letters {
			if it.Privs&(1<<k) != 0 {
				b.WriteByte(letters[k])
				if it.Grant&(1<<k) != 0 {
					b.WriteByte('*')
				}
			}
		}
		b.WriteByte('/')
		b.WriteString(quoteRole(it.Grantor))
		out[i] = b.String()
	}
	return out
}

func quoteRole(s string) string {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
		}
	}
	return s
}

// granted returns the grant options that a grantee holds; the owner holds all.
func (a ACL) granted(grantee, owner string, c Class) Privilege {
	if grantee == owner {
		return c.All()
	}
	p := None
	for _, it := range a {
		if it.Grantee == grantee {
			p |= it.Grant
		}
	}
	return p
}

// With adds privileges; option adds the right to grant them on. It fails (circular) if a grantee would get options that its own grants are the source of.
func (a ACL) With(grantor, grantee string, privs Privilege, option bool, owner string, c Class) (_ ACL, circular bool) {
	out := slices.Clone(a)
	if out == nil {
		out = ACL{}
	}
	grant := None
	if option {
		grant = privs
		if grantee != owner && a.dependsOn(grantor, grantee, privs, owner) {
			return a, true
		}
	}
	for i := range out {
		if out[i].Grantee == grantee && out[i].Grantor == grantor {
			out[i].Privs |= privs
			out[i].Grant |= grant
			return out, false
		}
	}
	return append(out, Item{Grantee: grantee, Grantor: grantor, Privs: privs, Grant: grant}), false
}

// dependsOn reports whether grantor holds any of the options only because grantee granted them.
func (a ACL) dependsOn(grantor, grantee string, privs Privilege, owner string) bool {
	if grantor == owner {
		return false
	}
	// Without the grantee's own options, does the grantor still hold them?
	held := map[string]Privilege{owner: ^None}
	for changed := true; changed; {
		changed = false
		for _, it := range a {
			if it.Grantor == grantee || it.Grantee == grantee {
				continue
			}
			if p := it.Grant & held[it.Grantor]; p&^held[it.Grantee] != 0 {
				held[it.Grantee] |= p
				changed = true
			}
		}
	}
	return privs&^held[grantor] != 0
}

// Without takes privileges away, or only the right to grant them on. What the grantee granted on by that right goes with
// cascade, and otherwise stands in the way (dependents).
func (a ACL) Without(grantor, grantee string, privs Privilege, optionOnly, cascade bool, owner string, c Class) (_ ACL, dependents bool) {
	out := slices.Clone(a)
	before := a.granted(grantee, owner, c)
	for i := range out {
		if out[i].Grantee == grantee && out[i].Grantor == grantor {
			if !optionOnly {
				out[i].Privs &^= privs
			}
			out[i].Grant &^= privs
		}
	}
	out = slices.DeleteFunc(out, func(it Item) bool { return it.Privs == 0 })
	lost := before &^ out.granted(grantee, owner, c)
	if lost == 0 || grantee == Public {
		return out, false
	}
	for {
		i := slices.IndexFunc(out, func(it Item) bool { return it.Grantor == grantee && it.Privs&lost != 0 })
		if i < 0 {
			return out, false
		}
		if !cascade {
			return a, true
		}
		out, _ = out.Without(grantee, out[i].Grantee, lost, false, true, owner, c)
	}
}

// Rename replaces a role's name, and Drop removes what a role was granted and has granted.
func (a ACL) Rename(before, after string) ACL {
	if a == nil {
		return nil
	}
	out := slices.Clone(a)
	for i := range out {
		if out[i].Grantee == before {
			out[i].Grantee = after
		}
		if out[i].Grantor == before {
			out[i].Grantor = after
		}
	}
	return out
}

// NewOwner moves what the old owner had and granted to the new one, merging with what the new one has.
func (a ACL) NewOwner(before, after string) ACL {
	if a == nil {
		return nil
	}
	out := ACL{}
	for _, it := range a.Rename(before, after) {
		i := slices.IndexFunc(out, func(o Item) bool { return o.Grantee == it.Grantee && o.Grantor == it.Grantor })
		if i < 0 {
			out = append(out, it)
			continue
		}
		out[i].Privs |= it.Privs
		out[i].Grant |= it.Grant
	}
	return out
}

// Mentions reports whether a role is in the list.
func (a ACL) Mentions(name string) bool {
	return slices.ContainsFunc(a, func(it Item) bool { return it.Grantee == name || it.Grantor == name })
}

// Object is what privileges are on.
type Object struct {
	Class Class
	Owner string
	ACL   ACL
}

// list is the ACL, or the default.
func (o *Object) list() ACL {
	if o.ACL == nil {
		return Default(o.Class, o.Owner)
	}
	return o.ACL
}

// List is the ACL that counts: the default if there is none.
func (o *Object) List() ACL { return o.list() }

// Privileges returns all that a user has on an object, by whatever way.
func (s *Set) Privileges(user string, o Object) Privilege {
	if s.Super(user) {
		return o.Class.All()
	}
	p := None
	own := s.InheritsFrom(user)
	for _, it := range o.list() {
		if it.Grantee == Public || slices.Contains(own, it.Grantee) {
			p |= it.Privs
		}
	}
	switch o.Class {
	case 'r', 'S', 'n':
		for _, r := range own {
			switch r {
			case ReadAll:
				p |= (Select | Usage) & map[Class]Privilege{'r': Select, 'S': Select, 'n': Usage}[o.Class]
			case WriteAll:
				p |= map[Class]Privilege{'r': Insert | Update | Delete, 'S': Update, 'n': Usage}[o.Class]
			}
		}
	}
	return p
}

// Options returns which privileges a user may grant on.
func (s *Set) Options(user string, o Object) Privilege {
	if s.Has(user, o.Owner) {
		return o.Class.All()
	}
	p := None
	own := s.InheritsFrom(user)
	for _, it := range o.list() {
		if it.Grantee != Public && slices.Contains(own, it.Grantee) {
			p |= it.Grant
		}
	}
	return p
}

// Grantor chooses as whom a user grants or revokes: the owner if it may act as the owner, else the role among its own with the most of
// the grant options wanted.
func (s *Set) Grantor(user string, o Object, want Privilege) (grantor string, options Privilege) {
	if s.Has(user, o.Owner) {
		return o.Owner, o.Class.All()
	}
	best, count := user, -1
	for _, r := range s.InheritsFrom(user) {
		got := o.list().granted(r, o.Owner, o.Class)
		if got&want == want {
			return r, got
		}
		if n := bits(got & want); n > count {
			best, count, options = r, n, got
		}
	}
	return best, options
}

func bits(p Privilege) int {
	n := 0
	for ; p != 0; p &= p - 1 {
		n++
	}
	return n
}
