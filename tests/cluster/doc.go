// Package cluster runs clusters of real Pamir processes on loopback, for tests that kill, pause and
// restart them, and clusters of nodes inside the test's own process.
//
// The binary is built once per test process (or taken from PAMIR_BINARY). What nodes log is
// shown when a test fails. Processes die with the test that started them, however it ends.
//
//	c := cluster.Start(t, 3)
//	db := c.Open(0)             // database/sql over pgx
//	c.Kill(1); c.Restart(1)     // kill -9 and back
//	c.Pause(2); c.Resume(2)     // SIGSTOP, SIGCONT
//	c.Metrics(0)["pamir_..."]   // a scrape
//
// With WithNetwork every message between two nodes passes through the test's process, which can stop it:
//
//	c.Net.Isolate(1); c.Net.CutBoth(0, 2); c.Net.Cut(0, 1) // whole, partial, one way
//	c.Net.Heal()
//
// and, with WithDelay, keep it on the way for as long as a cable between continents would;
//
// and with WithClocks a node's physical clock can be moved: c.SetClock(1, -time.Second).
//
// A machine may stand still for a second, and a leader may be lost by it, as it may be in production. Who tests something that this would spoil, and that
// is not about the loss of leaders, starts its nodes WithLongSupport, or with
// LongSupportLocal.
package cluster
