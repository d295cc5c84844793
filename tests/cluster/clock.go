package cluster

import (
	"os"
	"time"
)

// WithClocks lets SetClock move the nodes' physical clocks.
func WithClocks() Option { return func(o *options) { o.clocks = true } }

// SetClock moves the physical clock of node i to d off the machine's, within a tenth of a second; it stays so
// over restarts.
func (c *Cluster) SetClock(i int, d time.Duration) {
	c.t.Helper()
	path := c.nodes[i].clock
	// Renamed, so that it is never read half written.
	if err := os.WriteFile(path+".new", []byte(d.String()), 0o644); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		c.t.Fatal(err)
	}
}
