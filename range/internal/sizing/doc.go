// Package sizing decides when a range is to be cut, why, and where: by size and by load.
//
// # What it is for
//
// [Machine] is told, every second or so, what each range that a store leads holds and has been asked to do. It says which is to be split. [Balance] finds
// the key that halves an observed load, [Trend] sees whether writers append. There is no I/O, no clock and no lock here: package store
// reads the counters, looks for keys on disk, and splits.
//
// # What it is not
//
// It moves nothing: where the halves go is placement's.
//
// # Invariants
//
//  1. A range below the size, with what its prepared locks will hold as versions, is never split by size. One that was split at its size
//     is not split again before a side of it has grown to the size: appending N bytes makes about N / (0.9 size) ranges.
//  2. A range is split by load only after its load has been above the threshold for the whole of Settings.LoadFor, and only where both
//     sides get at least a quarter of the load. So a range whose load is one key is left alone.
//  3. A range whose load appends is not split by load: all of it would go on to one side.
//  4. After a refusal or a failure the range is left alone for a time that doubles, up to [MaxBackoff].
//  5. What is remembered is bounded by the number of ranges that were reported last.
package sizing
