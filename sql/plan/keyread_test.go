package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKeyRead: reads lock for a while after a collision, and for longer the more often that has happened.
func TestKeyRead(t *testing.T) {
	var k KeyRead
	now := time.Unix(1000, 0)
	require.False(t, k.Locks(now))
	for i, d := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		k.Collided(now)
		k.Collided(now.Add(d / 2)) // of a transaction that had read before the others began to lock: known
		require.True(t, k.Locks(now.Add(d-1)), i)
		require.False(t, k.Locks(now.Add(d)), i)
		now = now.Add(d)
	}
	for range 20 {
		k.Collided(now)
		require.True(t, k.Locks(now))
		require.False(t, k.Locks(now.Add(lockMost)))
		now = now.Add(lockMost)
	}
}

// TestKeyReadUses: reads lock while most blocks write the row that they have read, and not otherwise.
func TestKeyReadUses(t *testing.T) {
	var k KeyRead
	now := time.Unix(1000, 0)
	k.Used(true)
	require.True(t, k.Locks(now), "the first block has written it")
	k.Used(false)
	require.False(t, k.Locks(now))
	for range 1000 {
		k.Used(true)
	}
	require.True(t, k.Locks(now))
	for range maxUses {
		k.Used(false)
	}
	require.False(t, k.Locks(now), "what was once is forgotten")
	for range 1000 {
		k.Used(false)
		k.Used(false)
		k.Used(true)
		require.False(t, k.Locks(now))
	}
}
