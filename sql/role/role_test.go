package role

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMembership(t *testing.T) {
	s := NewSet([]*Role{
		{OID: 10, Name: Root, Super: true},
		{OID: 1, Name: "a", MemberOf: []Membership{{Role: "b"}}},
		{OID: 2, Name: "b", MemberOf: []Membership{{Role: "c", Admin: true}}},
		{OID: 3, Name: "c"},
		{OID: 4, Name: "stubborn", NoInherit: true, MemberOf: []Membership{{Role: "c"}}},
		{OID: 5, Name: "owner"},
	}, "owner")
	for _, c := range []struct {
		name, of           string
		has, member, admin bool
	}{
		{"a", "c", true, true, true}, {"c", "a", false, false, false}, {"stubborn", "c", false, true, false}, {Root, "c", true, true, true},
		{"a", "a", true, true, false}, {"owner", DatabaseOwner, true, true, false}, {"a", DatabaseOwner, false, false, false}, {"ghost", "c", false, false, false},
	} {
		require.Equal(t, c.has, s.Has(c.name, c.of), "%v", c)
		require.Equal(t, c.member, s.Member(c.name, c.of), "%v", c)
		require.Equal(t, c.admin, s.Admin(c.name, c.of), "%v", c)
	}
	require.False(t, s.MemberProper(Root, "c"))
	op, _ := s.Get(Operator)
	require.True(t, s.Has(op.Name, Viewer))
}

// A list is granted and revoked at random; a dumb twin keeps single grants and drops those that nothing supports any more.
func TestGrantsAgainstTwin(t *testing.T) {
	type edge struct {
		from, to string
		p        Privilege
		option   bool
	}
	names := []string{"o", "a", "b", "c", "d"}
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		acl, twin := Default('r', "o"), map[edge]bool{}
		holds := func(who string, p Privilege) bool { // the option, by a chain from the owner
			reached := map[string]bool{"o": true}
			for grown := true; grown; {
				grown = false
				for e := range twin {
					if e.option && e.p == p && reached[e.from] && !reached[e.to] {
						reached[e.to], grown = true, true
					}
				}
			}
			return reached[who]
		}
		for step := range 40 {
			from, to := names[rng.IntN(len(names))], names[1+rng.IntN(len(names)-1)]
			p := []Privilege{Select, Insert}[rng.IntN(2)]
			option := rng.IntN(2) == 0
			if from == to || acl.granted(from, "o", 'r')&p == 0 {
				continue
			}
			require.True(t, holds(from, p))
			if rng.IntN(3) > 0 {
				next, circular := acl.With(from, to, p, option, "o", 'r')
				if circular {
					continue
				}
				acl = next
				twin[edge{from, to, p, false}] = true
				if option {
					twin[edge{from, to, p, true}] = true
				}
			} else {
				acl, _ = acl.Without(from, to, p, option, true, "o", 'r')
				delete(twin, edge{from, to, p, true})
				if !option {
					delete(twin, edge{from, to, p, false})
				}
				for again := true; again; {
					again = false
					for e := range twin {
						if !holds(e.from, e.p) {
							delete(twin, e)
							again = true
						}
					}
				}
			}
			var got, want []string
			for _, it := range acl {
				for _, q := range []Privilege{Select, Insert} {
					if it.Grantee != "o" && it.Privs&q != 0 {
						got = append(got, fmt.Sprint(it.Grantor, it.Grantee, q, it.Grant&q != 0))
					}
				}
			}
			for e := range twin {
				if !e.option {
					want = append(want, fmt.Sprint(e.from, e.to, e.p, twin[edge{e.from, e.to, e.p, true}]))
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			require.Equal(t, want, got, "round %d step %d", round, step)
		}
	}
}

func TestVerifier(t *testing.T) {
	v, err := NewVerifier("pencil")
	require.NoError(t, err)
	back, ok := ParseVerifier(v.String())
	require.True(t, ok)
	require.Equal(t, v, back)
	require.True(t, back.Check("pencil"))
	require.False(t, back.Check("pen"))
	require.True(t, strings.HasPrefix(v.String(), "SCRAM-SHA-256$4096:"))
	for _, bad := range []string{"", "md5", "SCRAM-SHA-256$", "SCRAM-SHA-256$0:AA==$AA==:AA==", "SCRAM-SHA-256$4096:AA==$AA==:AA=="} {
		_, ok := ParseVerifier(bad)
		require.False(t, ok, bad)
	}
	m := Mock([]byte("s"), "u")
	require.Equal(t, m, Mock([]byte("s"), "u"))
	require.False(t, m.Check(""))
}

func TestText(t *testing.T) {
	a := ACL{{Grantee: "o", Grantor: "o", Privs: Class('r').All()}, {Grantee: Public, Grantor: "o", Privs: Select}, {Grantee: "a b", Grantor: "o", Privs: Select | Update, Grant: Update}}
	require.Equal(t, []string{"o=arwdDxt/o", "=r/o", `"a b"=rw*/o`}, a.Strings())
	require.Equal(t, []string{"n=arwdDxt/n", "=r/n", `"a b"=rw*/n`}, a.NewOwner("o", "n").Strings())
}
