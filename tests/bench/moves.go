package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	moveClients = 32
	moveEvery   = 500 * time.Millisecond
)

// moves measures for how long nobody commits on a hot row when the leader of its range is moved: 32 clients of all nodes write the row, and for each
// move the longest time between two commits around it is noted. Beside it stands the same for moments at which nothing was moved.
func moves(ctx context.Context, s *system, d time.Duration) error {
	admin, err := s.connect(ctx, "serializable")
	if err != nil {
		return err
	}
	defer admin.Close(context.WithoutCancel(ctx))
	for _, q := range []string{"drop table if exists hot", "create table hot (id int primary key, n bigint not null)", "insert into hot values (1, 0)",
		"select pamir.split_at('hot', 0)"} {
		if _, err := admin.Exec(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	began := time.Now()
	run, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var mu sync.Mutex
	var commits []time.Time
	var wg sync.WaitGroup
	failures := make(chan error, moveClients)
	for i := range moveClients {
		wg.Go(func() {
			conn, err := s.connectTo(ctx, s.ports[i%len(s.ports)], "serializable")
			if err != nil {
				failures <- err
				return
			}
			defer conn.Close(context.WithoutCancel(ctx))
			for run.Err() == nil {
				if _, err := conn.Exec(context.WithoutCancel(ctx), "update hot set n = n + 1 where id = $1", 1); err != nil {
					failures <- err
					return
				}
				mu.Lock()
				commits = append(commits, time.Now())
				mu.Unlock()
			}
		})
	}
	var woken []time.Time // what the machine did meanwhile
	wg.Go(func() {
		for run.Err() == nil {
			time.Sleep(time.Millisecond)
			woken = append(woken, time.Now())
		}
	})
	var moved, still []time.Time
	var took []time.Duration
	for i := 0; ; i++ {
		select {
		case <-run.Done():
		case <-time.After(moveEvery):
		}
		at := time.Now()
		if at.Add(moveEvery).After(began.Add(d)) {
			break
		}
		if i%2 == 0 {
			still = append(still, at)
			continue
		}
		ok, err := moveHot(ctx, admin, len(s.procs))
		if err != nil {
			fmt.Fprintf(os.Stderr, "move: %v\n", err)
		} else if ok {
			moved, took = append(moved, at), append(took, time.Since(at))
		}
	}
	wg.Wait()
	select {
	case err := <-failures:
		return err
	default:
	}
	slices.SortFunc(commits, time.Time.Compare)
	fmt.Printf("\n%s: %d commits of %d clients on one row in %s; the longest time without a commit, ms\n\n", s.name, len(commits), moveClients, d)
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "\tn\tp50\tp90\tmax\t")
	line := func(name string, ds []time.Duration) {
		if len(ds) == 0 {
			return
		}
		slices.Sort(ds)
		ms := func(i int) float64 { return float64(ds[i].Microseconds()) / 1000 }
		fmt.Fprintf(tw, "%s\t%d\t%.1f\t%.1f\t%.1f\t\n", name, len(ds), ms(len(ds)/2), ms(len(ds)*9/10), ms(len(ds)-1))
	}
	gaps := func(ats []time.Time) (out []time.Duration) {
		for _, at := range ats {
			from, to := longestGap(commits, at, at.Add(moveEvery-20*time.Millisecond))
			out = append(out, to.Sub(from))
			if gap := to.Sub(from); gap > 50*time.Millisecond {
				a, b := longestGap(woken, from, to)
				fmt.Fprintf(os.Stderr, "%s: nobody committed for %s, from %s after; a goroutine that wants to run every millisecond waited for %s meanwhile\n",
					at.Format("15:04:05.000"), gap, from.Sub(at), b.Sub(a))
			}
		}
		return out
	}
	line("nothing moves", gaps(still))
	line("the leader moves", gaps(moved))
	line("pamir.transfer_leader", took)
	return tw.Flush()
}

// moveHot moves the leader of the hot row's range to the next node; false if it is moving.
func moveHot(ctx context.Context, conn *pgx.Conn, nodes int) (bool, error) {
	var id, leader int
	if err := conn.QueryRow(ctx, "select range_id, coalesce(leader, 0) from pamir.ranges where table_name like '%hot%' order by range_id desc limit 1").Scan(&id, &leader); err != nil {
		return false, err
	}
	if leader == 0 {
		return false, nil
	}
	_, err := conn.Exec(ctx, "select pamir.transfer_leader($1, $2)", id, leader%nodes+1)
	return err == nil, err
}

// longestGap is the longest time between two moments in a window, or between one and an edge of it.
func longestGap(moments []time.Time, from, to time.Time) (begin, end time.Time) {
	i, _ := slices.BinarySearchFunc(moments, from, time.Time.Compare)
	last := from
	note := func(at time.Time) {
		if at.Sub(last) > end.Sub(begin) {
			begin, end = last, at
		}
		last = at
	}
	for ; i < len(moments) && moments[i].Before(to); i++ {
		note(moments[i])
	}
	note(to)
	return begin, end
}
