package node

import (
	"bytes"
	"math"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// busy is how much of the processors this process uses, and how much of them is left to it, smoothed like the rates of ranges: placement
// leads ranges elsewhere if that is too little.
type busy struct {
	mu   sync.Mutex
	last processorReading // guarded by mu, like the rest
	used float64          // cores
	idle float64
}

// processorReading is what processors have done so far.
type processorReading struct {
	at time.Time
	// used by this process; idle are all processors of the machine, and counted says whether the machine tells.
	used, idle time.Duration
	counted    bool
}

// update takes a reading. It may be called at any time.
func (b *busy) update(now time.Time, cores int) (used, idle float64) {
	r := readProcessors(now)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.step(r, float64(cores))
	return b.used, b.idle
}

func (b *busy) step(r processorReading, cores float64) {
	was := b.last
	sec := r.at.Sub(was.at).Seconds()
	if was.at.IsZero() {
		b.last, b.idle = r, cores
		return
	}
	if sec < 0.1 { // the clock of the counters is coarse
		return
	}
	b.last = r
	used := max(0, (r.used-was.used).Seconds()/sec)
	idle := max(0, cores-used)
	if r.counted && was.counted {
		idle = min(idle, max(0, (r.idle-was.idle).Seconds()/sec))
	}
	a := 1 - math.Exp(-sec/rateTime.Seconds())
	b.used += a * (used - b.used)
	b.idle += a * (idle - b.idle)
}

// readProcessors asks the system. Where it cannot be asked how idle the machine is, what this process does not use counts as idle.
func readProcessors(now time.Time) processorReading {
	r := processorReading{at: now}
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil {
		r.used = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	if raw, err := os.ReadFile("/proc/stat"); err == nil {
		r.idle, r.counted = idleTime(raw)
	}
	return r
}

// idleTime reads the first line of /proc/stat, "cpu  user nice system idle iowait ...", in hundredths of a second.
func idleTime(stat []byte) (time.Duration, bool) {
	line, _, _ := bytes.Cut(stat, []byte{'\n'})
	f := bytes.Fields(line)
	if len(f) < 6 || string(f[0]) != "cpu" {
		return 0, false
	}
	sum := int64(0)
	for _, x := range f[4:6] {
		n, err := strconv.ParseInt(string(x), 10, 64)
		if err != nil {
			return 0, false
		}
		sum += n
	}
	return time.Duration(sum) * (time.Second / 100), true
}
