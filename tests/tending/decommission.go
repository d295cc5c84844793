package tending

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// showDecommission empties the node that leads most, of four, under load, and then stops it.
func showDecommission(t *testing.T) {
	s := startShow(t, 4)
	rows, _ := s.copyRows("leave", *leaveMB)
	s.rest(5 * time.Second)
	s.tableOfNodes("Before", "leave")
	v, err := s.c.NodeWithMostLeaders()
	require.NoError(t, err)
	id, err := s.c.NodeID(v)
	require.NoError(t, err)
	w := startTraffic(32, s.dsns(), 100*time.Millisecond, 20*time.Second, time.Minute, func(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) error {
		at := rng.Int64N(rows)
		if rng.IntN(2) == 0 {
			var v string
			return conn.QueryRow(ctx, "select v from leave where id = $1", at).Scan(&v)
		}
		_, err := conn.Exec(ctx, "update leave set v = reverse(v) where id = $1", at)
		return err
	})
	defer w.stop()
	pause(context.Background(), 10*time.Second)
	calm := w.durations(time.Now().Add(-8*time.Second), time.Now())

	say("decommission: node %d, with 32 clients, 8 of them at it", id)
	db := s.c.Open((v + 1) % s.c.Size())
	began := time.Now()
	var op int64
	require.NoError(t, db.QueryRow("select pamir.decommission_node($1)", id).Scan(&op))
	type reading struct {
		at       time.Duration
		progress float64
		left     *float64
		why      string
	}
	var readings []reading
	var ended time.Time
	s.eventually("decommissioned", func() error {
		var state string
		var failure *string
		r := reading{at: time.Since(began)}
		if err := db.QueryRow(`select state, progress, left_seconds, coalesce(why, ''), error from pamir.operations where id = $1`, op).Scan(&state, &r.progress, &r.left, &r.why, &failure); err != nil {
			return err
		}
		if state == "failed" || state == "canceled" {
			t.Fatalf("the operation is %s: %v", state, failure)
		}
		if k := len(readings); k == 0 || r.at-readings[k-1].at > 2*time.Second {
			readings = append(readings, r)
		}
		if state != "succeeded" {
			return fmt.Errorf("%s, %.0f %%: %s", state, 100*r.progress, r.why)
		}
		ended = time.Now()
		return nil
	})
	during := w.durations(began, ended)
	errorsThen := w.errorsSeen()
	s.c.Stop(v)
	pause(context.Background(), 3*time.Second)
	w.stop()
	var lines [][]string
	for _, r := range readings {
		left := "-"
		if r.left != nil {
			left = fmt.Sprintf("%.0f s", *r.left)
		}
		lines = append(lines, []string{seconds(r.at), fmt.Sprintf("%.0f %%", 100*r.progress), left, seconds(max(0, ended.Sub(began)-r.at)), r.why})
	}
	table(fmt.Sprintf("Decommission of node %d", id), "after|progress|said to be left|was left|what it said", lines)
	say("empty after %s; p50 %s and p99 %s before, %s and %s meanwhile; errors of clients: %d until it was empty, %v when it was stopped", seconds(ended.Sub(began)),
		ms(quantile(calm, 0.5)), ms(quantile(calm, 0.99)), ms(quantile(during, 0.5)), ms(quantile(during, 0.99)), len(errorsThen), w.errorsSeen())
	require.Empty(t, errorsThen, "errors of clients while the node was emptied")
}
