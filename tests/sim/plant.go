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
}

// mutants by name. The empty name is the product as it is.
var mutants = map[string]mutant{
	"lost-refresh": {store.Planted{LostRefresh: true}, Options{Profile: "calm"},
		"what a transaction has read is said to be unchanged up to its commit without being looked at"},
	"split-forgets-reads": {store.Planted{SplitForgetsReads: true}, Options{Profile: "splits"},
		"the timestamp cache is not carried over a split"},
	"uncertainty-ignored": {store.Planted{UncertaintyIgnored: true}, Options{Profile: "clocks"},
		"a value with a later timestamp is taken for later, however the clocks differ"},
	"lapsed-resolution": {store.Planted{LapsedResolution: true}, Options{Profile: "lapse"},
		"recovery and the resolution of locks go to a leader whose support has run out"},
	"no-fence": {store.Planted{NoFence: true}, Options{Profile: "recovery"},
		"recovery decides while a prepare that it missed is still on its way"},
	"split-forgets-gc": {store.Planted{SplitForgetsGC: true}, Options{Profile: "splits", GCAfter: 500 * time.Millisecond},
		"the right side of a split does not know what has been collected"},
	"forgotten-commits": {store.Planted{ForgottenCommits: true}, Options{Profile: "gateways"},
		"commit ids are forgotten when the leader changes"},
	"follower-ahead": {store.Planted{FollowerAhead: true}, Options{Profile: "network"},
		"followers answer above the closed timestamp"},
}
