package keys

// Counters of the system key space: 8-byte big-endian values, raised by kv.Increment. They hold the last id given out.
var (
	NodeIDCounter  = System("id/node")
	StoreIDCounter = System("id/store")
	RangeIDCounter = System("id/range")
)
