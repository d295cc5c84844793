package replica

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// See Replica: a field more is 128 bytes more for each of tens of thousands.
func TestReplicaSize(t *testing.T) {
	require.LessOrEqual(t, reflect.TypeFor[Replica]().Size(), uintptr(768), "what few replicas need belongs behind a pointer")
}
