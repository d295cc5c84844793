package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// change is one edit of a source file of the Go distribution. The old text must be there exactly once: a Go version in which
// it is not needs somebody to look at what has become of it.
type change struct {
	file     string // below GOROOT/src
	old, new string
	why      string
}

// changes make the runtime's own decisions functions of the seed. Programs are built with them by -overlay: nothing of the
// installed distribution is touched, and no other program sees them.
var changes = []change{
	{
		"runtime/rand.go", "func rand() uint64 {\n", `func rand() uint64 {
	if sim_inside() {
		return sim_next()
	}
`, "map iteration, hash seeds, math/rand: everything inside the bubble draws from one sequence",
	},
	// Not cheaprand as a whole: the runtime's locks draw from it when threads meet at them, which is nobody's choice.
	{
		"runtime/select.go", "		j := cheaprandn(uint32(norder + 1))\n", "		j := sim_cheaprandn(uint32(norder + 1))\n",
		"which of the cases of a select that are ready is taken",
	},
	{
		"runtime/time.go", "			t.rand = cheaprand()\n", `			// A select begins to wait for its timers in the order of their addresses: what they draw may not depend on who is first.
			if t.isChan {
				t.rand = uint32(sim_mix(sim_state^t.sim) >> 33)
			} else {
				t.rand = sim_cheaprandn(1 << 31)
			}
`, "which of the timers that are due at the same time is first",
	},
	{
		"runtime/time.go", "	rand    uint32 // randomizes", "	sim     uint64 // tells the timers of one select apart\n	rand    uint32 // randomizes", "likewise",
	},
	{
		"runtime/time.go", "	t.timer.init(nil, nil)\n", `	t.timer.init(nil, nil)
	if sim_inside() {
		t.sim = sim_next()
	}
`, "likewise",
	},
	{
		"runtime/rand.go", "// rand32 is uint32(rand()), called from compiler-generated code.\n", `//go:linkname sim_state
var sim_state uint64

// sim_inside reports whether the goroutine that runs, or for which the scheduler does, is in a bubble.
//
//go:nosplit
func sim_inside() bool {
	if sim_state == 0 {
		return false
	}
	gp := getg()
	if gp == gp.m.g0 {
		gp = gp.m.curg
	}
	return gp != nil && gp.bubble != nil
}

//go:nosplit
func sim_next() uint64 {
	sim_state += 0x9e3779b97f4a7c15
	return sim_mix(sim_state)
}

//go:nosplit
func sim_mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

//go:nosplit
func sim_cheaprandn(n uint32) uint32 {
	if sim_inside() {
		return uint32(sim_next() >> 32 * uint64(n) >> 32)
	}
	return cheaprandn(n)
}

// rand32 is uint32(rand()), called from compiler-generated code.
`, "the sequence (splitmix64)",
	},
	{
		"runtime/rand.go", "	seed := &globalRand.seed\n	if len(startupRand) >= 16 &&", `	seed := &globalRand.seed
	if true {
		seed[0] = 1
	} else if len(startupRand) >= 16 &&`, "keys of hash functions, chosen once in a process",
	},
	{
		"runtime/proc.go", "	if randomizeScheduler && next && randn(2) == 0 {\n		next = false\n	}\n", `	if sim_state != 0 && gp.bubble != nil {
		h, t := pp.runqhead, pp.runqtail
		if n := t - h; n < uint32(len(pp.runq)) {
			// Anywhere in the queue: which of the goroutines that can run does is the seed's choice.
			i := h + uint32(sim_next()%uint64(n+1))
			if i != t {
				pp.runq[t%uint32(len(pp.runq))].set(pp.runq[i%uint32(len(pp.runq))].ptr())
			}
			pp.runq[i%uint32(len(pp.runq))].set(gp)
			atomic.StoreRel(&pp.runqtail, t+1)
			return
		}
		next = false
	} else if sim_state != 0 {
		// The runtime's own goroutines wait elsewhere: whether one of them is there decides nothing.
		lock(&sched.lock)
		globrunqput(gp)
		unlock(&sched.lock)
		return
	}
`, "the order of goroutines",
	},
	{
		"runtime/proc.go", "	n = min(n, sched.runq.size, sched.runq.size/gomaxprocs+1)\n", `	n = min(n, sched.runq.size, sched.runq.size/gomaxprocs+1)
	if sim_state != 0 {
		n = 1
	}
`, "likewise",
	},
	{
		"runtime/proc.go", "	if pp.schedtick%61 == 0 && !sched.runq.empty() {\n", "	if sim_state == 0 && pp.schedtick%61 == 0 && !sched.runq.empty() {\n",
		"a counter of the whole process decides nothing",
	},
	{
		"runtime/proc.go", "const forcePreemptNS = 10 * 1000 * 1000 // 10ms\n", "const forcePreemptNS = 1 << 60\n",
		"a goroutine runs until it waits: how busy the machine is decides nothing",
	},
	{
		"runtime/runtime2.go", "	waitReasonSynctestSelect:        true,\n", `	waitReasonSynctestSelect:        true,
	waitReasonSyncMutexLock:         true,
	waitReasonSyncRWMutexRLock:      true,
	waitReasonSyncRWMutexLock:       true,
`, "who waits for a mutex whose owner sleeps (a slow disk) does not keep time from passing",
	},
	{
		"context/context.go", "	children map[canceler]struct{} // set to nil by the first cancel call\n", `	children map[canceler]struct{} // set to nil by the first cancel call
	order    []canceler            // the keys of children, and of some that were
`, "contexts are cancelled in the order in which they were made, not in that of their addresses",
	},
	{
		"context/context.go", "			p.children[child] = struct{}{}\n", `			p.children[child] = struct{}{}
			if p.order = append(p.order, child); len(p.order) > 2*len(p.children)+16 {
				kept := p.order[:0]
				for _, child := range p.order {
					if _, ok := p.children[child]; ok {
						kept = append(kept, child)
					}
				}
				clear(p.order[len(kept):])
				p.order = kept
			}
`, "likewise",
	},
	{
		"context/context.go", "	for child := range c.children {\n", `	for _, child := range c.order {
		if _, ok := c.children[child]; !ok {
			continue
		}
`, "likewise",
	},
	{
		"internal/sync/mutex.go", "	starvationThresholdNs = 1e6\n", "	starvationThresholdNs = 1 << 62\n",
		"a mutex does not look at the real clock",
	},
}

// writeOverlay writes the changed files and the map of them that the go command takes, and returns the map's name.
func writeOverlay(goroot, dir string) (string, error) {
	src := filepath.Join(goroot, "src")
	text := map[string]string{}
	for _, c := range changes {
		path := filepath.Join(src, filepath.FromSlash(c.file))
		if _, ok := text[path]; !ok {
			b, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			text[path] = string(b)
		}
		if n := strings.Count(text[path], c.old); n != 1 {
			return "", fmt.Errorf("this version of Go has %d places like this in %s, and the simulation knows how to change one (%s):\n%s", n, c.file, c.why, c.old)
		}
		text[path] = strings.Replace(text[path], c.old, c.new, 1)
	}
	replace := map[string]string{}
	for path, s := range text {
		to := filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(path, src+string(filepath.Separator)), string(filepath.Separator), "_"))
		if err := os.WriteFile(to, []byte(s), 0o644); err != nil {
			return "", err
		}
		replace[path] = to
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, b, 0o644)
}
