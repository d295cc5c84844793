package placement

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a rule asks for and the nodes cannot give is said; what they can is not.
func TestLacks(t *testing.T) {
	for _, c := range []struct {
		stores, rule string // localities of stores, and options, apart by blanks
		want         string // lacks, apart by |
	}{
		{"a b c", "", ""},
		{"a b c", "num_replicas=5", "table t wants 5 replicas, and there are 3 nodes"},
		{"a", "", "table t wants 3 replicas, and there is 1 node"},
		{"region=eu region=us region=ap", "constraints=region=mars", "no node meets the constraints of table t (region=mars)"},
		{"region=eu region=eu region=ap", "constraints=region=eu", "table t wants 3 replicas, and its constraints (region=eu) allow only 2 nodes"},
		{"region=eu region=eu region=ap", "constraints=region=eu:2", ""},
		{"region=eu region=eu region=ap", "constraints=region=mars:1,region=eu:2", "table t wants 1 replica in region=mars, and no node is there"},
		{"region=eu region=us region=ap", "constraints=region=eu:2", "table t wants 2 replicas in region=eu, and only 1 node is there"},
		{"region=eu region=us region=ap", "survive=region", ""},
		{"region=eu region=us region=us", "survive=region", "survive = region cannot hold for table t: no region may have half of 3 replicas, and there are 3 nodes of 2 regions"},
		{"region=eu region=us region=ap region=ap", "survive=region constraints=-region=eu", "survive = region cannot hold for table t: no region may have half of 3 replicas, and its constraints (-region=eu) allow only 3 nodes of 2 regions"},
		{"region=eu region=eu region=eu region=us", "survive=region num_replicas=3 constraints=region=eu", "survive = region cannot hold for table t: no region may have half of 3 replicas, and its constraints (region=eu) allow only 3 nodes of 1 region"},
		{"- - -", "survive=region", ""},
		{"a b c", "num_nonvoters=1", "table t wants 1 replica without a vote beside the 3 that have one, and there are too few nodes for that"},
		{"a b c d", "num_nonvoters=1 nonvoter_constraints=region=eu", "no node meets the nonvoter_constraints of table t (region=eu)"},
		{"region=eu region=us region=ap", "leader_preference=region=mars;region=eu", "no node is in region=mars, where table t prefers leaders"},
		{"region=eu region=eu region=eu region=us", "leader_preference=region=us constraints=region=eu", "table t prefers leaders in region=us, where its constraints (region=eu) allow none"},
		// Each could hold alone.
		{"region=eu region=eu region=eu region=us,zone=x", "constraints=region=eu,zone=x:1", "table t wants region=eu and zone=x:1, and the 4 nodes there are cannot give that together to 3 replicas"},
		{"region=eu region=eu region=us,disk=ssd region=us,disk=ssd", "constraints=region=eu:2,disk=ssd:1", ""},
		{"region=eu region=eu region=us,disk=ssd region=us,disk=ssd", "num_replicas=5 constraints=region=eu:2,disk=ssd:2", "table t wants 5 replicas, and its constraints (region=eu:2,disk=ssd:2) allow only 4 nodes"},
		{"region=eu,disk=ssd region=eu region=us,disk=ssd", "constraints=region=eu:1,disk=ssd:2", ""},
		{"region=eu,rack=1 region=eu,rack=1 region=us,rack=1 region=us,rack=2 region=us", "num_replicas=3 constraints=rack=1:2,rack=2:1,region=eu:2", ""},
		{"region=eu region=eu region=us,disk=ssd region=us,disk=ssd region=ap", "num_replicas=3 survive=region constraints=disk=ssd:2",
			"table t wants disk=ssd:2 and survive = region, and the 5 nodes there are cannot give that together to 3 replicas"},
		{"region=eu,disk=ssd region=us,disk=ssd region=us,disk=ssd region=ap", "num_replicas=3 survive=region constraints=disk=ssd:2", ""},
		{"region=eu region=eu region=eu region=us", "constraints=region=eu num_nonvoters=1 nonvoter_constraints=region=eu",
			"table t wants region=eu, num_nonvoters = 1 and region=eu for those without a vote, and the 4 nodes there are cannot give that together to 3 replicas"},
		{"region=eu region=eu region=eu region=us", "constraints=region=eu num_nonvoters=1", ""},
		{"region=eu region=eu region=us region=us", "num_nonvoters=1 nonvoter_constraints=region=eu", ""},
	} {
		var stores []Store
		for i, l := range strings.Fields(c.stores) {
			s := Store{ID: StoreID(i + 1), Node: NodeID(i + 1)}
			if l != "-" {
				s.Locality = append(strings.Split(l, ","), "zone=z"+string(rune('1'+i)))
			}
			stores = append(stores, s)
		}
		r := Rule{Name: "table t", Replicas: 3}
		var options []string
		for _, o := range strings.Fields(c.rule) {
			name, v, _ := strings.Cut(o, "=")
			require.NoError(t, r.Set(name, v))
			options = append(options, name)
		}
		var got []string
		for _, l := range r.Lacks(stores) {
			got = append(got, l.Why)
			require.True(t, len(options) == 0 || l.Concerns(options), "%s: %v", l.Why, l.Options)
		}
		require.Equal(t, c.want, strings.Join(got, "|"), "%s on %s", c.rule, c.stores)
	}
}
