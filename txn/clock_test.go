package txn

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A node whose clock is not believed chooses no snapshot: what reads waits, and then reads at a time that was chosen after the wait. Transactions that
// have their snapshot go on.
func TestSnapshotWaitsForTheClock(t *testing.T) {
	s := newFakeStore("m")
	var fenced atomic.Pointer[kv.Error]
	var mu sync.Mutex
	lifted := make(chan struct{})
	waiting := make(chan struct{}, 10)
	c := New(Config{Sender: s, Clock: s.clock, Node: 1, Incarnation: 7, Fenced: fenced.Load, AwaitClock: func(ctx context.Context) error {
		mu.Lock()
		ch := lifted
		mu.Unlock()
		waiting <- struct{}{}
		select {
		case <-ch:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	s.recover = c.Recover
	t.Cleanup(func() { c.Close(bg); s.waitLate() })
	put(t, c, "a", "1", "x", "1")
	old := c.Begin(bg, Options{})
	require.Equal(t, "1", get(t, old, "a"))

	fenced.Store(kv.Errorf(kv.CodeFenced, "off"))
	require.Equal(t, "1", get(t, old, "x"), "it has its snapshot")
	early := c.Begin(bg, Options{})
	suspect := early.ReadTimestamp() // as whoever asks without being able to wait gets it
	read := func(x Txn) chan string {
		out := make(chan string, 1)
		go func() {
			v, _, err := x.Get(bg, k("x"), ScanOptions{})
			if err != nil {
				v = []byte(err.Error())
			}
			out <- string(v)
		}()
		return out
	}
	got := read(early)
	<-waiting
	wrote := make(chan error, 1)
	go func() {
		w := c.Begin(bg, Options{})
		if err := w.Put(k("y"), []byte("1")); err != nil {
			wrote <- err
			return
		}
		_, err := w.Commit(bg)
		wrote <- err
	}()
	<-waiting

	// Whoever is asked to stop does.
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_, _, err := c.Begin(bg, Options{}).Get(ctx, k("x"), ScanOptions{})
	require.True(t, kv.HasCode(err, kv.CodeCanceled), "%v", err)
	<-waiting

	s.mu.Lock()
	now := s.clock.Now()
	s.versions["x"] = append(s.versions["x"], fakeVersion{ts: now, value: []byte("2")}) // elsewhere, meanwhile
	s.mu.Unlock()
	fenced.Store(nil)
	mu.Lock()
	close(lifted)
	mu.Unlock()
	require.Equal(t, "2", <-got)
	require.True(t, suspect.Less(early.ReadTimestamp()))
	require.NoError(t, <-wrote)
	require.Equal(t, "1", get(t, old, "x"), "a snapshot that was chosen in time stays")

	// A reading that ran into the clock's limit is as good as none, though nobody has raised a fence yet.
	s.clock.SetLimit(s.clock.Physical() - int64(time.Second))
	early = c.Begin(bg, Options{})
	suspect = early.ReadTimestamp()
	s.clock.SetLimit(1 << 62)
	require.Equal(t, "2", get(t, early, "x"))
	require.True(t, suspect.Less(early.ReadTimestamp()))
	<-waiting
}
