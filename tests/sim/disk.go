package sim

import (
	"math/rand/v2"
	"path"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// disk is the disk of a node. It survives the node's lives: crashes lose what was not synced, some of it or all.
type disk struct {
	n   *node
	mem *vfs.MemFS

	mu      sync.Mutex
	rng     *rand.Rand
	slow    time.Duration // added to each sync, at most
	stalled time.Time     // until then nothing is synced
	failing bool          // the next sync of the log fails
}

func isSync(k errorfs.OpKind) bool {
	return k == errorfs.OpFileSync || k == errorfs.OpFileSyncData || k == errorfs.OpFileSyncTo || k == errorfs.OpFileFlush
}

// open gives the disk to a life of the node.
func (d *disk) open(l *life) vfs.FS {
	return errorfs.Wrap(d.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if l.dead.Load() || !isSync(op.Kind) {
			return nil
		}
		d.mu.Lock()
		took := 20*time.Microsecond + time.Duration(d.rng.ExpFloat64()*float64(100*time.Microsecond))
		if d.slow > 0 {
			took += rand.N(d.slow)
		}
		if w := time.Until(d.stalled); w > took {
			took = w
		}
		fail := d.failing && strings.HasSuffix(op.Path, ".log") && !closingLog()
		if fail {
			d.failing = false
		}
		d.mu.Unlock()
		d.n.w.trace.event("sync "+path.Ext(op.Path), int64(d.n.id), int64(took), nil)
		time.Sleep(took)
		if fail && !l.dead.Load() {
			d.n.w.trace.say("node %d: its disk fails to sync %s", d.n.id, path.Base(op.Path))
			return errorfs.ErrInjected
		}
		return nil
	}))
}

// closingLog reports whether the caller closes a log for good. Pebble ends the process if that fails, as it should, and the simulation with
// it: it is the next sync that fails instead. Crashes are a fault of their own.
func closingLog() bool {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "record.(*LogWriter).Close") || strings.HasSuffix(f.Function, "record.(*LogWriter).closeInternal") {
			return true
		}
		if !more {
			return false
		}
	}
}

// crash loses what was not synced, or a part of it.
func (d *disk) crash(rng *rand.Rand) {
	percent := 0
	if rng.IntN(2) == 0 {
		percent = rng.IntN(101)
	}
	d.mem = d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(rng.Uint64(), 1))})
	d.mu.Lock()
	d.failing, d.stalled = false, time.Time{}
	d.mu.Unlock()
}

func (d *disk) set(f func(d *disk)) {
	d.mu.Lock()
	f(d)
	d.mu.Unlock()
}
