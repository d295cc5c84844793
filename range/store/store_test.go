package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSingleNode(t *testing.T) {
	c := newCluster(t, 1, testKnobs)
	ctx := c.ctx(10 * time.Second)
	for i := range 100 {
		require.NoError(t, c.put(ctx, i, fmt.Sprint("v", i)))
	}
	v, err := c.get(ctx, 42)
	require.NoError(t, err)
	require.Equal(t, "v42", v)
	c.nodes[1].crash()
	c.nodes[1].start()
	for i := range 100 {
		v, err := c.get(ctx, i)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("v", i), v)
	}
}
