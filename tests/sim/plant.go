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

// soon is when a gateway out of reach is taken for dead in runs about that.
const soon = 20 * time.Millisecond

// mutants by name. The empty name is the product as it is.
var mutants = map[string]mutant{
	"lost-refresh": {
		plant: store.Planted{LostRefresh: true}, o: Options{Profile: "calm"},
		what: "what a transaction has read is said to be unchanged up to its commit without being looked at",
	},
	"split-forgets-reads": {
		plant: store.Planted{SplitForgetsReads: true}, o: Options{Profile: "splits", Length: 5 * time.Second, Nodes: 3, Splits: 1, Clients: 12, GCAfter: time.Hour},
		what: "the timestamp cache is not carried over a split",
	},
	"uncertainty-ignored": {
		plant: store.Planted{UncertaintyIgnored: true}, o: Options{Profile: "clocks", Nodes: 5},
		what: "a value with a later timestamp is taken for later, however the clocks differ",
	},
	"lapsed-resolution": {
		plant: store.Planted{LapsedResolution: true}, o: Options{Profile: "lapse", Nodes: 5, Splits: 10, Spread: true, Clients: 16, DeadAfter: soon},
		what: "recovery and the resolution of locks go to a leader whose support has run out",
	},
	"no-fence": {
		plant: store.Planted{NoFence: true}, o: Options{Profile: "recovery", Nodes: 5, Splits: 6, Clients: 16, DeadAfter: soon},
		what: "recovery decides while a prepare that it missed is still on its way",
	},
	"split-forgets-gc": {
		plant: store.Planted{SplitForgetsGC: true}, o: Options{Profile: "splits", GCAfter: 500 * time.Millisecond, Length: 5 * time.Second, Nodes: 3, Splits: 1, Clients: 12},
		what: "the right side of a split does not know what has been collected",
	},
	"forgotten-commits": {
		plant: store.Planted{ForgottenCommits: true}, o: Options{Profile: "gateways"},
		what: "commit ids are forgotten when the leader changes",
	},
	"follower-ahead": {
		plant: store.Planted{FollowerAhead: true}, o: Options{Profile: "network"},
		what: "followers answer above the closed timestamp",
	},
	"commit-without-record": {
		plant: store.Planted{CommitWithoutRecord: true}, o: Options{Profile: "pauses", Loads: 8, Clients: 2, Nodes: 5, Splits: 6, DeadAfter: soon, GCAfter: time.Second},
		what: "a load whose record is gone commits, whatever has become of its locks",
	},
	"floor-stays": {
		plant: store.Planted{FloorStays: true}, o: Options{Profile: "loads", Loads: 8},
		what: "a leader does not see locks of transactions that are older than those which it has looked past",
	},
	"gap-stays": {
		plant: store.Planted{GapStays: true}, o: Options{Profile: "hot"},
		what: "a row is put where all had been deleted, and scans go past it",
	},
	"said-too-early": {
		plant: store.Planted{SaidTooEarly: true}, o: Options{Profile: "splits", Nodes: 3, Splits: 4},
		what: "who meets a prepared lock is told that its transaction has committed, while it is being prepared",
	},
	"rider-left-behind": {
		plant: store.Planted{RiderLeftBehind: true}, o: Options{Profile: "calm", Splits: 4},
		what: "a resolution that went along with another write is answered, and has not happened",
	},
}
