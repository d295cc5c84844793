package recovery

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/internal/engine"
)

// Whoever gives a plan to the store of another cluster can compare the two.
func TestApplyToAnotherCluster(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	fs, other := vfs.NewMem(), uuid.New()
	e, err := engine.Open(engine.Config{Dir: "store", FS: fs, Logger: log})
	require.NoError(t, err)
	require.NoError(t, e.SetIdentity(engine.Identity{ClusterID: other, NodeID: 1, StoreID: 1}))
	require.NoError(t, e.Close())
	_, err = Apply(t.Context(), fs, "store", &Plan{Version: formatVersion, Cluster: cluster}, time.Second, log)
	require.EqualError(t, err, "the store in store is of cluster "+other.String()+", the plan is for cluster "+cluster.String())
}
