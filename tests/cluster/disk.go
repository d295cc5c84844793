package cluster

import (
	"os"
	"time"
)

// WithDisks makes the nodes' disks ones that SlowDisk can slow down.
func WithDisks() Option { return func(o *options) { o.disks = true } }

// SlowDisk makes every sync of node i's store take longer by d, within a tenth of a second; 0 ends that.
func (c *Cluster) SlowDisk(i int, d time.Duration) {
	c.t.Helper()
	if err := os.WriteFile(c.nodes[i].disk, []byte(d.String()), 0o644); err != nil {
		c.t.Fatal(err)
	}
}
