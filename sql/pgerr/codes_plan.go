package pgerr

// SQLSTATEs of binding and planning beyond those in codes.go.
const (
	AmbiguousAlias   = "42P09"
	GeneratedAlways  = "428C9"
	InvalidRecursion = "42P19"
)
