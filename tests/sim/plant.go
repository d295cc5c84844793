package sim

import (
	"time"

	"github.com/pamirdb/pamir/range/store"
)

// mutant is a bug that the simulation must find, and the runs in which it is looked for: those that make what it takes likely.
type mutant struct {
	plant store.Planted
	o     Options
	what  string
	// open says why it is not caught, as far as is known: the test looks for it only if it is asked to by -planted.
	open string
	// long: it takes more seeds than a test of minutes has; make sim looks for it.
	long bool
}

// mutants by name. The empty name is the product as it is.
var mutants = map[string]mutant{
	"lost-refresh": {
		plant: store.Planted{LostRefresh: true}, o: Options{Profile: "calm"},
		what: "what a transaction has read is said to be unchanged up to its commit without being looked at",
	},
	"split-forgets-reads": {
		plant: store.Planted{SplitForgetsReads: true}, o: Options{Profile: "splits", Length: 5 * time.Second, Nodes: 3, Splits: 1, Clients: 12},
		long: true,
		what: "the timestamp cache is not carried over a split",
	},
	"uncertainty-ignored": {
		plant: store.Planted{UncertaintyIgnored: true}, o: Options{Profile: "clocks"},
		what: "a value with a later timestamp is taken for later, however the clocks differ",
	},
	"lapsed-resolution": {
		plant: store.Planted{LapsedResolution: true}, o: Options{Profile: "lapse", Splits: 12, Clients: 16},
		long: true,
		what: "recovery and the resolution of locks go to a leader whose support has run out",
	},
	"no-fence": {
		plant: store.Planted{NoFence: true}, o: Options{Profile: "recovery", Splits: 12, Clients: 16},
		what: "recovery decides while a prepare that it missed is still on its way",
		open: "a coordinator that lives must be out of reach of one node for seconds, just when its prepare to another was lost",
	},
	"split-forgets-gc": {
		plant: store.Planted{SplitForgetsGC: true}, o: Options{Profile: "splits", GCAfter: 500 * time.Millisecond, Length: 5 * time.Second, Nodes: 3, Splits: 1, Clients: 12},
		what: "the right side of a split does not know what has been collected",
		open: "the collector visits a new range at once, and then it knows again",
	},
	"forgotten-commits": {
		plant: store.Planted{ForgottenCommits: true}, o: Options{Profile: "gateways"},
		what: "commit ids are forgotten when the leader changes",
	},
	"follower-ahead": {
		plant: store.Planted{FollowerAhead: true}, o: Options{Profile: "network"},
		what: "followers answer above the closed timestamp",
	},
}
