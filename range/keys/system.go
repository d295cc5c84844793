package keys

// Counters of the system key space: 8-byte big-endian values, raised by kv.Increment. They hold the last id given out.
var (
	NodeIDCounter  = System("id/node")
	StoreIDCounter = System("id/store")
	RangeIDCounter = System("id/range")
	ProtectionIDs  = System("id/protection")
	OperationIDs   = System("id/operation")
)

// ProtectionSpan holds the protected timestamps, JSON values: no garbage collection passes them.
var ProtectionSpan = Span{Start: System(protectionPrefix), End: System(protectionPrefix).PrefixEnd()}

const protectionPrefix = "protected/"

// Protection returns the key of a protected timestamp.
func Protection(id int64) Key { return AppendUvarint(System(protectionPrefix), uint64(id)) }

// Placement: JSON values, read by whoever leads the meta range.
var (
	ClusterRule      = System("placement/rule/cluster")
	TableRules       = System("placement/rule/tables") // those of the catalog, as of when they were last read
	PlacementPaused  = System("placement/paused")
	membershipPrefix = "placement/node/"
	MembershipSpan   = Span{Start: System(membershipPrefix), End: System(membershipPrefix).PrefixEnd()}
)

// Membership returns the key under which it is written that a node leaves, or has left, for good.
func Membership(node int32) Key { return AppendUvarint(System(membershipPrefix), uint64(node)) }

// DecodeMembership takes a Membership key apart.
func DecodeMembership(k Key) (node int32, err error) {
	v, _, err := DecodeUvarint(k[min(len(k), 1+len(membershipPrefix)):])
	return int32(v), err
}

const operationPrefix = "operation/record/"

// OperationSpan holds the records of operations, by number.
var OperationSpan = Span{Start: System(operationPrefix), End: System(operationPrefix).PrefixEnd()}

// Operation is where the record of an operation is.
func Operation(id int64) Key { return AppendUvarint(System(operationPrefix), uint64(id)) }

// OperationKey is where the number of the operation is that a user has asked for under a key of their own.
func OperationKey(user, key string) Key { return System("operation/key/" + user + "\x00" + key) }
