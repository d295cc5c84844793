package regions

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/tests/cluster"
)

var processes = flag.Bool("processes", false, "run nine processes as well")

// locality of the i-th node.
func locality(region string, i int) []string {
	return []string{"region=" + region, fmt.Sprintf("zone=%s-%d", region, i)}
}

// TestFiveNodes has three nodes in eu, one in us and one in ap, all in this process.
func TestFiveNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes half a minute, most of it distance")
	}
	region := []string{"eu", "us", "ap", "eu", "eu"}
	l := cluster.StartLocal(t, len(region), func(i int, c *node.Config) {
		r := placement.DefaultRules()
		r.Limits.FollowAfter = time.Second
		c.Rules = &r
		c.DeadAfter = 6 * time.Second // for so long, and a minute at most, a node that was silent is given nothing that can wait
		c.Locality = locality(region[i], i)
	})
	for i, a := range l.Nodes {
		for j, b := range l.Nodes {
			if i != j {
				l.Net.Delay(a.Identity().NodeID, b.Identity().NodeID, between(region[i], region[j])/2)
			}
		}
	}
	w := &world{t: t, region: region,
		dsn: func(i int) string {
			if l.Nodes[i] == nil {
				return "postgresql://root@127.0.0.1:1/defaultdb?connect_timeout=1"
			}
			_, sql, _ := l.Nodes[i].Addresses()
			return "postgresql://root@" + sql + "/defaultdb?sslmode=disable"
		},
		away:    4 * time.Second,
		kill:    func(i int) { l.Stop(i, false) },
		restart: func(i int) { l.Restart(i) },
	}
	conn := w.connect(0)
	w.tables(conn, "eu", "us", "ap")
	w.costs("eu", "us", "ap")
	w.costs("us")
	w.follow("ap")
	w.loss("eu", "eu", "us", "ap")
}

// TestNineProcesses has three processes in each region, started as an operator would. Its network delays the bytes of their connections.
func TestNineProcesses(t *testing.T) {
	if !*processes {
		t.Skip("skipped: nine processes are heavy; make regions runs them")
	}
	names := []string{"eu", "us", "ap"}
	of := func(i int) string { return names[i%3] }
	c := cluster.Start(t, 9, cluster.WithTimeout(90*time.Second), cluster.WithFlags("--cache", "32MiB", "--dead-after", "15s"),
		cluster.WithLocality(func(i int) string { l := locality(of(i), i); return l[0] + "," + l[1] }),
		cluster.WithDelay(func(from, to int) time.Duration { return between(of(from), of(to)) / 2 }))
	w := &world{t: t, away: 8 * time.Second, dsn: c.DSN, kill: c.Kill, restart: func(i int) { c.Restart(i); c.WaitReady(i) }}
	for i := range 9 {
		w.region = append(w.region, of(i))
	}
	conn := w.connect(0)
	w.tables(conn, names...)
	for _, r := range names {
		var far []string
		for _, f := range names {
			if f != r {
				far = append(far, f)
			}
		}
		w.costs(r, far...)
	}
	w.follow("ap")
	w.loss("eu", names...)
}
