package plan

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKeyRead: reads lock for a while after a collision, and for longer the more often that has happened.
func TestKeyRead(t *testing.T) {
	var k KeyHistory
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
	var k KeyHistory
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

// TestFirstReads: of the blocks that read a row before anything is known of the statement, the second waits for the end of the first.
func TestFirstReads(t *testing.T) {
	open := func(r *FirstRead) bool {
		select {
		case <-r.Ended():
			return false
		default:
			return true
		}
	}
	var k KeyHistory
	a, other := k.First(1, 7)
	require.NotNil(t, a)
	require.Nil(t, other)
	require.True(t, a.By(&k) && a.Of(1))
	require.False(t, a.Of(2))
	b, other := k.First(2, 8)
	require.NotNil(t, b, "another row")
	require.Nil(t, other)
	mine, other := k.First(1, 7)
	require.Nil(t, mine)
	require.True(t, open(other))
	require.Equal(t, int32(7), other.Session())

	k.Used(true) // b's; a's is read still
	b.End()
	mine, still := k.First(1, 7)
	require.Nil(t, mine)
	require.Equal(t, other, still, "the first read is still to be waited for")
	mine, none := k.First(2, 8)
	require.Nil(t, mine, "who reads now may as well lock")
	require.Nil(t, none)
	a.End()
	require.False(t, open(other))
	mine, none = k.First(1, 7)
	require.Nil(t, mine)
	require.Nil(t, none)

	k = KeyHistory{}
	a, _ = k.First(1, 7)
	require.True(t, k.Waits())
	k.InVain()
	require.False(t, k.Waits())
	mine, none = k.First(1, 7)
	require.Nil(t, mine)
	require.Nil(t, none, "nobody waits who has been seen to wait in vain")
	a.End()

	k = KeyHistory{}
	for i := range uint64(maxFirst) {
		mine, _ = k.First(i, 7)
		require.NotNil(t, mine)
	}
	mine, none = k.First(maxFirst, 7)
	require.Nil(t, mine, "no more than that")
	require.Nil(t, none)
}

// TestFirstReadsRace: once something is known, nobody reads without a lock whom a reader that locks has not seen.
func TestFirstReadsRace(t *testing.T) {
	for range 2000 {
		var k KeyHistory
		var free, seen bool
		var wg sync.WaitGroup
		wg.Go(func() {
			mine, _ := k.First(1, 7)
			free = mine != nil
		})
		wg.Go(func() {
			k.Used(true)
			_, other := k.First(1, 7)
			seen = other != nil
		})
		wg.Wait()
		require.Equal(t, free, seen)
	}
}
