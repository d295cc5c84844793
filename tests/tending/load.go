package tending

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

// showLoad fills one table of three nodes and has two more join. With the step delete it then empties most of it.
func showLoad(t *testing.T) {
	s := startShow(t, 3, cluster.WithFlags("--range-merge-after", mergeAfter.String()))
	say("load: COPY of %d MB into one table of three nodes", *megabytes)
	rows, took := s.copyRows("load", *megabytes)
	say("%d rows in %s, %.0f MB/s", rows, seconds(took), float64(*megabytes)/took.Seconds())
	since := time.Now()
	calm := s.rest(5 * time.Second)
	say("at rest %s after the last COPY", seconds(max(0, calm.Sub(since))))
	s.tableOfNodes("Three nodes, loaded", "load")
	read := func(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) error {
		var v string
		return conn.QueryRow(ctx, "select v from load where id = $1", rng.Int64N(rows)).Scan(&v)
	}
	const readers = 8
	w := startTraffic(readers, s.dsns(), time.Second*readers/time.Duration(*readRate), 30*time.Second, time.Minute, read)
	pause(context.Background(), 5*time.Second) // statements are planned, blocks cached
	before := time.Now()
	pause(context.Background(), 20*time.Second)
	moved := s.sum(snapshotBytes)
	joined := time.Now()
	s.c.Add()
	s.c.Add()
	say("two nodes have joined after %s", seconds(time.Since(joined)))
	even := s.balance(joined)
	d := s.sum(snapshotBytes) - moved
	w.stop()
	s.tableOfNodes("Five nodes, balanced", "load")
	was, during := w.durations(before, joined), w.durations(joined, even)
	row := func(what string, d []time.Duration, over time.Duration) []string {
		return []string{what, fmt.Sprintf("%.0f", float64(len(d))/over.Seconds()), ms(quantile(d, 0.5)), ms(quantile(d, 0.99)), ms(quantile(d, 1))}
	}
	table("Point reads", "|reads/s|p50|p99|max", [][]string{row("before", was, joined.Sub(before)), row("while replicas move", during, even.Sub(joined))})
	say("balanced %s after the two joined; %s moved, %.0f MiB/s; p99 %.2f times what it was, p50 %.2f times", seconds(even.Sub(joined)), mib(d), d/even.Sub(joined).Seconds()/(1<<20),
		float64(quantile(during, 0.99))/float64(quantile(was, 0.99)), float64(quantile(during, 0.5))/float64(quantile(was, 0.5)))
	require.Empty(t, w.errorsSeen(), "errors of readers")
	if wanted("delete") {
		t.Run("delete", func(t *testing.T) {
			s.t = t
			s.showDelete(rows)
		})
	}
}

// uneven is by how much, at most, a node's replicas and bytes differ from the mean, as shares of it. A replica more or less is none.
func uneven(ss []stored) (replicas, bytes, mean float64) {
	var n, sum, size float64
	for _, x := range ss {
		if x.State == "member" {
			n, sum, size = n+1, sum+float64(x.Replicas), size+float64(x.Bytes)
		}
	}
	for _, x := range ss {
		if d := math.Abs(float64(x.Replicas) - sum/n); x.State == "member" && d >= 1 {
			replicas = max(replicas, d/(sum/n))
		}
		if d := math.Abs(float64(x.Bytes) - size/n); x.State == "member" {
			bytes = max(bytes, d/(size/n))
		}
	}
	return replicas, bytes, size / n
}

// evenBytes is from which mean on placement evens bytes out.
const evenBytes = 256 << 20

// balance waits until replicas and bytes are even within a tenth, and returns since when they were.
func (s *show) balance(joined time.Time) time.Time {
	s.t.Helper()
	var since, told time.Time
	s.eventually("balanced", func() error {
		ss, err := s.stores()
		if err != nil {
			return err
		}
		replicas, bytes, mean := uneven(ss)
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			line := ""
			for _, x := range ss {
				line += fmt.Sprintf("  n%d %d/%d, %s", x.NodeID, x.Replicas, x.Leaders, mib(float64(x.Bytes)))
			}
			say("%7s: replicas/leaders, bytes:%s", seconds(time.Since(joined)), line)
		}
		if replicas > 0.1 || bytes > 0.1 && mean >= evenBytes {
			since = time.Time{}
			return fmt.Errorf("replicas differ by %.0f %% of the mean, bytes by %.0f %%", 100*replicas, 100*bytes)
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) < 3*time.Second {
			return errors.New("just now")
		}
		return nil
	})
	return since
}

// someLocks of a range are those of the transactions that are on their way. More are what a large one has left, and their resolution is work.
const someLocks = 1000

// rest waits until the set of ranges, their replicas and leaders have not changed for a while, and returns since when.
func (s *show) rest(quiet time.Duration) time.Time {
	s.t.Helper()
	var since time.Time
	last := ""
	s.eventually("at rest", func() error {
		rs, err := s.ranges("")
		if err != nil {
			return err
		}
		now := ""
		for _, r := range rs {
			now += fmt.Sprint(r.ID, r.Leader, r.Replicas)
			if r.Leader == 0 {
				return fmt.Errorf("nobody leads range %d", r.ID)
			}
			if r.Bytes > int64(*rangeMB)<<20*11/10 {
				return fmt.Errorf("range %d, of %s, is to be split", r.ID, mib(float64(r.Bytes)))
			}
			if r.Locks > someLocks {
				return fmt.Errorf("range %d has %d prepared locks that are to be resolved", r.ID, r.Locks)
			}
		}
		if now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < quiet {
			return errors.New("ranges still change")
		}
		return nil
	})
	return since
}

// showDelete deletes 19 of 20 rows and waits for the ranges to merge.
func (s *show) showDelete(rows int64) {
	t := s.t
	s.exec("alter table load set (pamir.gc_ttl = '1m')")
	say("delete: 19 of 20 rows, each range keeps a twentieth")
	began := time.Now()
	const piece = 100_000
	for from := int64(0); from < rows; from += piece {
		s.exec(fmt.Sprintf("delete from load where id >= %d and id < %d and id %% 20 <> 0", from, min(from+piece, rows)))
	}
	deleted := time.Now()
	say("deleted in %s", seconds(deleted.Sub(began)))
	before, err := s.ranges("load")
	require.NoError(t, err)
	var told time.Time
	var after []rng
	for end := time.Now().Add(*within); ; time.Sleep(500 * time.Millisecond) {
		rs, err := s.ranges("load")
		require.NoError(t, err)
		bytes, live := 0.0, 0.0
		for _, r := range rs {
			bytes, live = bytes+float64(r.Bytes), live+float64(r.Live)
		}
		pairs := mergeable(rs)
		if time.Since(told) > 15*time.Second {
			told = time.Now()
			say("%7s: %d ranges, %s, of which %s live; %d could merge with the next", seconds(time.Since(deleted)), len(rs), mib(bytes), mib(live), pairs)
		}
		if after = rs; pairs == 0 && bytes < 2*live {
			break
		}
		require.True(t, time.Now().Before(end), "%d ranges of %s could still merge with the next", pairs, mib(bytes))
	}
	took := time.Since(deleted)
	n := int64(0)
	require.NoError(t, s.c.Open(0).QueryRow("select count(*) from load").Scan(&n))
	require.Equal(t, (rows+19)/20, n)
	s.tableOfNodes("After the merges", "load")
	say("%d ranges before, %d after, %s after the last DELETE; none is left that could merge with its neighbour; %d rows", len(before), len(after), seconds(took), n)
}

// mergeable counts neighbours that are small enough to be one range: placement merges what holds no more than two fifths of what is split.
func mergeable(rs []rng) (pairs int) {
	for i := 1; i < len(rs); i++ {
		if (rs[i-1].Bytes+rs[i].Bytes)*5 <= int64(*rangeMB)<<20*2 {
			pairs++
		}
	}
	return pairs
}
