package faults

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Verdict is what the books say after a load.
type Verdict struct {
	Acked, Failed int
	// Resolved tells of every unknown transaction whether it is there.
	Resolved map[string]bool
	// Problems is empty if everything holds.
	Problems []string
}

// String is a report for people.
func (v Verdict) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "acknowledged %d, failed %d, unknown %d", v.Acked, v.Failed, len(v.Resolved))
	marks := make([]string, 0, len(v.Resolved))
	for m := range v.Resolved {
		marks = append(marks, m)
	}
	sort.Strings(marks)
	for _, m := range marks {
		if v.Resolved[m] {
			fmt.Fprintf(&b, "\n  unknown %s: committed", m)
		} else {
			fmt.Fprintf(&b, "\n  unknown %s: not committed", m)
		}
	}
	for _, p := range v.Problems {
		fmt.Fprintf(&b, "\n  PROBLEM %s", p)
	}
	return b.String()
}

// Verify counts money, rows and acknowledgements (package comment, 1 to 3), with the load stopped.
func (l *Load) Verify(ctx context.Context, dsn string) (Verdict, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return Verdict{}, err
	}
	defer closeConn(conn)

	v := Verdict{Resolved: map[string]bool{}}
	problem := func(format string, args ...any) { v.Problems = append(v.Problems, fmt.Sprintf(format, args...)) }

	var sums [4]int64
	for i, q := range []string{
		"select coalesce(sum(abalance), 0)::bigint from pgbench_accounts",
		"select coalesce(sum(tbalance), 0)::bigint from pgbench_tellers",
		"select coalesce(sum(bbalance), 0)::bigint from pgbench_branches",
		"select coalesce(sum(delta), 0)::bigint from pgbench_history",
	} {
		if err := conn.QueryRow(ctx, q).Scan(&sums[i]); err != nil {
			return v, fmt.Errorf("%s: %w", q, err)
		}
	}
	if sums[0] != sums[1] || sums[1] != sums[2] || sums[2] != sums[3] {
		problem("sums differ: accounts %d, tellers %d, branches %d, history %d", sums[0], sums[1], sums[2], sums[3])
	}

	rows, err := conn.Query(ctx, "select trim(filler), count(*) from pgbench_history group by 1")
	if err != nil {
		return v, err
	}
	found := map[string]int64{}
	for rows.Next() {
		var mark string
		var n int64
		if err := rows.Scan(&mark, &n); err != nil {
			return v, err
		}
		found[mark] = n
	}
	if err := rows.Err(); err != nil {
		return v, err
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	for mark, o := range l.outcomes {
		n := found[mark]
		switch {
		case n > 1:
			problem("%s has %d history rows", mark, n)
		case o == Acked && n == 0:
			problem("%s was acknowledged and is lost", mark)
		case o == Failed && n == 1:
			problem("%s was reported as failed and is there", mark)
		}
		switch o {
		case Acked:
			v.Acked++
		case Failed:
			v.Failed++
		case Unknown:
			v.Resolved[mark] = n == 1
		}
	}
	for mark := range found {
		if _, ok := l.outcomes[mark]; !ok {
			problem("history row %q is of no known transaction", mark)
		}
	}
	sort.Strings(v.Problems)
	return v, nil
}
