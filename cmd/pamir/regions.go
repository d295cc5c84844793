package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pamirdb/pamir/internal/node"
)

// region of the i-th node of a demonstration: the first nodes are in different ones.
func (d *demo) region(i int) string { return d.opts.regions[i%len(d.opts.regions)] }

// place makes what the node sends take its time from now on.
func (d *demo) place(i int, n *node.Node) {
	if len(d.opts.regions) > 0 {
		d.opts.distance.place(n.Identity().NodeID, d.region(i))
	}
}

// regionStatements make tables that are at home in a region: users_eu has its leaders there and survives the loss of any region;
// carts_eu is kept within the region, and does not.
func regionStatements(regions []string, each int) (stmts []string) {
	if len(regions) > 2 {
		stmts = append(stmts, "SELECT pamir.set_rule('survive', 'region')")
	}
	for _, r := range regions {
		stmts = append(stmts,
			fmt.Sprintf("CREATE TABLE users_%s (id int8 PRIMARY KEY, name text NOT NULL, visits int8 NOT NULL DEFAULT 0) WITH (pamir.leader_preference = 'region=%s')", r, r),
			fmt.Sprintf("INSERT INTO users_%s SELECT g, 'user ' || g FROM generate_series(1, 100) g", r))
		if each >= 3 {
			stmts = append(stmts,
				fmt.Sprintf("CREATE TABLE carts_%s (id int8 PRIMARY KEY, items int8 NOT NULL DEFAULT 0) WITH (pamir.survive = 'zone', pamir.constraints = 'region=%s', pamir.leader_preference = 'region=%s')", r, r, r),
				fmt.Sprintf("INSERT INTO carts_%s SELECT g FROM generate_series(1, 100) g", r))
		}
	}
	return stmts
}

// greetRegions says where to connect and what to look at. It waits a little until leaders are where they are to be, for what it prints to be true.
func (d *demo) greetRegions(ctx context.Context, out io.Writer) {
	fmt.Fprintln(out)
	d.opts.distance.print(out, d.opts.regions)
	fmt.Fprintln(out, "\nA client in each region:")
	for i, n := range d.nodes[:len(d.opts.regions)] {
		_, sql, _ := n.Addresses()
		fmt.Fprintf(out, "\n  %-4s psql postgresql://root@%s/defaultdb", d.region(i), sql)
	}
	fmt.Fprint(out, "\n\nLeaders are on their way ...")
	if d.settled(ctx, time.Minute) {
		fmt.Fprintln(out, " and have arrived.")
	} else {
		fmt.Fprintln(out, " still. Look at pamir.ranges in a while.")
	}
	a, b := d.opts.regions[0], d.opts.regions[min(1, len(d.opts.regions)-1)]
	fmt.Fprintf(out, `
What to try, with \timing, in %[1]s and in %[2]s:

  SELECT r.range_id, r.table_name, r.replicas, r.leader, n.locality              -- where the leaders are
    FROM pamir.ranges r LEFT JOIN pamir.nodes n ON n.node_id = r.leader ORDER BY 1;
  SELECT * FROM users_%[1]s WHERE id = 7;                                          -- from %[2]s: a way there and back
  SET pamir.read_as_of = '-10s..'; SELECT * FROM users_%[1]s WHERE id = 7;         -- from %[2]s: no way at all, a little old
  RESET pamir.read_as_of;
  UPDATE users_%[1]s SET visits = visits + 1 WHERE id = 7;                         -- in %[1]s: one round, to the region that is nearest
`, a, b)
	if d.opts.each >= 3 {
		fmt.Fprintf(out, "  UPDATE carts_%s SET items = items + 1 WHERE id = 7;                          -- in %s: no message leaves the region\n", a, a)
	}
	fmt.Fprintf(out, "  ALTER TABLE users_%s SET (pamir.leader_preference = 'region=%s');              -- and see it move\n\n", a, b)
}

// settled waits until every table that is at home somewhere is led there.
func (d *demo) settled(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := pgx.Connect(ctx, d.dsn()+"?sslmode=disable")
	if err != nil {
		return false
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		var away int
		err := conn.QueryRow(ctx, `SELECT count(*) FROM pamir.ranges r LEFT JOIN pamir.nodes n ON n.node_id = r.leader
			WHERE (r.table_name LIKE 'users\_%' OR r.table_name LIKE 'carts\_%')
			  AND (n.locality IS NULL OR n.locality NOT LIKE 'region=' || substr(r.table_name, 7) || ',%')
			   OR coalesce(array_length(r.replicas, 1), 0) < 3`).Scan(&away)
		if err == nil && away == 0 {
			err = conn.QueryRow(ctx, `SELECT count(*) FROM pamir.ranges r JOIN pamir.nodes n ON n.node_id = ANY (r.replicas)
				WHERE r.table_name LIKE 'carts\_%' AND n.locality NOT LIKE 'region=' || substr(r.table_name, 7) || ',%'`).Scan(&away)
		}
		if err == nil && away == 0 {
			return true
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return false
		}
	}
}
