package replica

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// See Replica: a field more is 128 bytes more for each of tens of thousands. The allocator adds 8 bytes to what has pointers and
// is larger than 512.
func TestReplicaSize(t *testing.T) {
	require.LessOrEqual(t, reflect.TypeFor[Replica]().Size(), uintptr(760), "what few replicas need belongs behind a pointer")
}
