package differential

// counts are what a run did.
type counts struct {
	statements map[string]int // by kind
	compared   int
	rows       int
	errors     map[string]int // equal ones, by SQLSTATE
	refused    map[string]int // 0A000 of Pamir, by message
	slow       int            // too slow for PostgreSQL, not compared
	slower     []string       // too slow for Pamir only
	memory     int            // 53200 under a small budget
	lost       int            // errors that faults explain
	failed     int            // executions of which a read was made to fail
	shown      int            // 40001 after that: the client had been shown too much, or what is not so any more
	large      []string       // 53200 though the budget is not small: not everything spills
	differ     int
	splits     int            // by SQL
	internal   map[string]int // XX000, by message: the first of each is looked at
}

func newCounts() *counts {
	return &counts{statements: map[string]int{}, errors: map[string]int{}, refused: map[string]int{}, internal: map[string]int{}}
}

func (c *counts) refusals() int {
	n := c.slow + len(c.slower) + c.memory
	for _, r := range c.refused {
		n += r
	}
	return n
}
