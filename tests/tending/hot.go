package tending

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// showHot has 32 clients ask one range for more than a core can do.
func showHot(t *testing.T) {
	s := startShow(t, 3)
	const rows = 100_000
	s.exec("create table hot (id bigint primary key, v bigint not null)", "select pamir.split_at('hot', 0)",
		fmt.Sprintf("insert into hot select g, 0 from generate_series(0, %d) g", rows-1))
	s.rest(3 * time.Second)
	at := s.dsns()[:min(max(*hotNodes, 1), 3)]
	say("hot: 32 clients, on %d of three nodes, add up 2,000 rows anywhere in one range, and one in ten updates a row", len(at))
	w := startTraffic(32, at, 0, 30*time.Second, time.Minute, func(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) error {
		at := rng.Int64N(rows)
		if rng.IntN(10) == 0 {
			_, err := conn.Exec(ctx, "update hot set v = v + 1 where id = $1", at)
			return err
		}
		var sum int64
		return conn.QueryRow(ctx, "select coalesce(sum(v), 0)::bigint from hot where id >= $1 and id < $2", at, at+2000).Scan(&sum)
	})
	defer w.stop()
	began := time.Now()
	var split time.Duration
	var since time.Time // they are led by different nodes
	var rs []rng
	s.eventually("split by load, and led by different nodes", func() error {
		var err error
		if rs, err = s.ranges("hot"); err != nil {
			return err
		}
		rs = slices.DeleteFunc(rs, func(r rng) bool { return r.Live == 0 }) // what is before the first row
		if len(rs) > 1 && split == 0 {
			split = time.Since(began)
			say("split by load after %s", seconds(split))
		}
		leaders := map[int32]bool{}
		for _, r := range rs {
			leaders[r.Leader] = r.Leader != 0
		}
		if split == 0 || len(leaders) < 2 {
			since = time.Time{}
			return fmt.Errorf("%d ranges, led by %d nodes", len(rs), len(leaders))
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) < 20*time.Second { // longer than after which leaders follow their clients
			return errors.New("just now")
		}
		return nil
	})
	apart := since.Sub(began)
	w.stop()
	var lines [][]string
	for _, r := range rs {
		lines = append(lines, []string{strconv.FormatInt(r.ID, 10), r.Start, strconv.Itoa(int(r.Leader)), fmt.Sprintf("%.0f", r.Rates.Requests), fmt.Sprintf("%.2f", r.Rates.CPU)})
	}
	table("The hot table", "range|from|leader|requests/s|cores", lines)
	d := w.durations(began, time.Now())
	for _, line := range s.transfers(rs) {
		fmt.Println(line)
	}
	say("one range became %d after %s, led by different nodes %s after the clients had begun; %d operations, p50 %s, p99 %s", len(rs), seconds(split), seconds(apart), len(d),
		ms(quantile(d, 0.5)), ms(quantile(d, 0.99)))
	require.Empty(t, w.errorsSeen(), "errors of clients")
}

// transfers says which leaders of some ranges placement has moved, and why.
func (s *show) transfers(of []rng) (lines []string) {
	s.t.Helper()
	var view struct {
		Recent []struct {
			Operator struct {
				RangeID int64  `json:"range_id"`
				Text    string `json:"text"`
			} `json:"operator"`
			Error string `json:"error"`
		} `json:"recent"`
	}
	require.NoError(s.t, s.c.API(0, "/api/v1/placement", &view))
	for _, d := range view.Recent {
		if slices.ContainsFunc(of, func(r rng) bool { return r.ID == d.Operator.RangeID }) && strings.Contains(d.Operator.Text, "leader to") {
			lines = append(lines, strings.TrimSpace("placement: "+d.Operator.Text+" "+d.Error))
		}
	}
	return lines
}
