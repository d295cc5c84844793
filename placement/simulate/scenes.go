package simulate

import "fmt"

// Scene is something that happens to a cluster, for Measure.
type Scene struct {
	Name   string
	Happen func(c *Cluster)
}

// Scenes happen one after the other to the same cluster.
func Scenes(joins, deaths int) []Scene {
	return []Scene{
		{"a load comes up", func(c *Cluster) { c.Busy() }},
		{fmt.Sprintf("%d nodes join", joins), func(c *Cluster) { c.Join(joins) }},
		{fmt.Sprintf("%d nodes die", deaths), func(c *Cluster) {
			for i := range deaths {
				c.Kill(c.Stores[i*7])
			}
		}},
		{"they come back", func(c *Cluster) {
			for i := range deaths {
				c.Revive(c.Stores[i*7])
			}
		}},
		{"a zone dies", func(c *Cluster) {
			for _, s := range c.In("zone=a1") {
				c.Kill(s)
			}
		}},
		{"it comes back", func(c *Cluster) {
			for _, s := range c.In("zone=a1") {
				c.Revive(s)
			}
		}},
		{"1 range in 50 is to have 5 replicas", func(c *Cluster) {
			r := c.Rules.Default
			r.Name, r.Replicas = "table t", 5
			c.Rule(r, 1, len(c.Ranges)/50)
		}},
		{"a node leaves", func(c *Cluster) { c.Stores[1].Decommissioning = true }},
	}
}

// Join adds nodes, each in the place of one there is.
func (c *Cluster) Join(nodes int) {
	for i := range nodes {
		like := c.Stores[i]
		c.AddStore(like.Locality[0], like.Locality[1], like.Capacity)
	}
}
