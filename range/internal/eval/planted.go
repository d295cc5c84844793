package eval

// Planted are bugs for the tests of the tests: whoever simulates whole clusters (tests/sim) must catch each of them. Nothing
// but tests sets one; the zero value plants none. Each is looked at in one place, beside work that costs far more.
type Planted struct {
	// LostRefresh: reads are said to be unchanged without being looked at.
	LostRefresh bool
	// SplitForgetsReads: the right side of a split begins with an empty timestamp cache.
	SplitForgetsReads bool
	// UncertaintyIgnored: values that may be from before the transaction are taken for later ones.
	UncertaintyIgnored bool
	// LapsedResolution: recovery's questions, and the resolution of locks, are served by a leader whose support has run out.
	LapsedResolution bool
	// NoFence: recovery does not keep a key that it found missing from being prepared later.
	NoFence bool
	// SplitForgetsGC: the right side of a split does not know what has been collected.
	SplitForgetsGC bool
	// ForgottenCommits: a new leader does not know the commits of those before it.
	ForgottenCommits bool
	// FollowerAhead: followers answer without asking how far they are.
	FollowerAhead bool
	// RiderLeftBehind: a resolution that went along with another write is answered, and has not happened.
	RiderLeftBehind bool
	// CommitWithoutRecord: a transaction that has sent writes ahead commits although its record is gone.
	CommitWithoutRecord bool
	// FloorStays: a lock that is laid below a key's floor does not lower it.
	FloorStays bool
	// GapStays: a write into a gap does not cut it.
	GapStays bool
	// SaidTooEarly: gateways say of transactions that are being prepared that they have committed (txn.Config.PlantedSaidTooEarly).
	SaidTooEarly bool
	// StaleLocks: a row that was changed while its lock was waited for is locked, and overwritten, as it was before.
	StaleLocks bool
}
