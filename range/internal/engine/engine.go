package engine

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pamirdb/pamir/range/kv"
)

// FormatVersion is the on-disk format that this program writes. Raise it when an older
// program must not open the store any more, and say in docs/formats what changed.
const FormatVersion = 2

// oldestFormat is the oldest one that can be opened: there is no conversion from those before it.
const oldestFormat = 2

const (
	formatFile   = "PAMIR-FORMAT"
	formatPrefix = "pamir store format "
)

// Config says where a store is and how much it may use. The zero values of all but Dir are good defaults.
type Config struct {
	// Dir is made if it does not exist, unless MustExist or ReadOnly.
	Dir string
	// FS is the file system; nil means the operating system's, watched for slow writes.
	FS vfs.FS
	// CacheBytes is the memory for cached blocks (default 128 MiB); two memtables come on top. Cache, if set, is
	// used instead: several stores of one process then share it, and it must have room for their memtables too.
	CacheBytes int64
	Cache      *pebble.Cache
	// MemTableBytes is the size of a memtable (default half of CacheBytes, 16 to 64 MiB; tests take less).
	MemTableBytes uint64
	// Cores are the processors that this process has (default GOMAXPROCS). Compactions take half of them at most.
	Cores int
	// MaxOpenFiles bounds open tables (default 2000).
	MaxOpenFiles int
	// ReserveBytes is the free space below which CheckSpace reports a full disk
	// (default 256 MiB, or 2 % of the disk if that is less, but not less than 64 MiB, or an eighth of a tiny one). Writes must be refused before the
	// disk is really full: Pebble cannot go on after a failed WAL or MANIFEST write.
	ReserveBytes uint64
	MustExist    bool
	ReadOnly     bool
	Logger       *slog.Logger
	// OnFatal is told, once, that the store cannot go on: the WAL or MANIFEST could not be written, or
	// data is damaged. The error is a *kv.Error of CodeDiskFull, CodeCorruption or CodeInternal.
	// It must not block on the store. For failed writes, the goroutine that found out is stopped
	// for good afterwards, so that nothing unwritten is ever acknowledged; OnFatal is expected to
	// end the process or to give up the store's replicas. By default it exits the process with status 75.
	OnFatal func(error)
}

// Engine is an open store. Its methods may be called by several goroutines.
type Engine struct {
	db   *pebble.DB
	fs   vfs.FS
	dir  string
	lock *pebble.Lock
	log  *slog.Logger
	// fresh: there was no store in the directory.
	fresh bool

	ownCache *pebble.Cache // released by Close; nil if it is Config.Cache
	fsCloser io.Closer     // stops the watcher for slow disks; nil with Config.FS

	failedAt  atomic.Int64 // when background work failed last that was logged
	reserve   uint64
	spaceAt   atomic.Int64 // when the disk was last measured (UnixNano)
	spaceFree atomic.Uint64
	spaceAll  atomic.Uint64
	reclaimed time.Time // when a memtable was last flushed for want of space; of Reclaim's caller

	onFatal   func(error)
	fatalOnce sync.Once
	fatalErr  atomic.Pointer[kv.Error]

	grown atomic.Uint64 // the size at which memtables stop growing; 0 when they have, or need not

	stalls   atomic.Int64
	slowDisk atomic.Int64

	closeOnce sync.Once
	closeErr  error
}

// Open opens the store in cfg.Dir, or makes one. The error says clearly why it refuses, and
// wraps ErrLocked, ErrNewerFormat, ErrOlderFormat, ErrCorrupt, ErrNotStore or ErrNoStore where one of them is the reason.
func Open(cfg Config) (*Engine, error) {
	e := &Engine{dir: cfg.Dir, fs: cfg.FS, log: cfg.Logger, onFatal: cfg.OnFatal, reserve: cfg.ReserveBytes}
	if e.fs == nil {
		e.fs = vfs.Default
	}
	if e.log == nil {
		e.log = slog.Default()
	}
	e.log = e.log.With("store", cfg.Dir)
	if e.onFatal == nil {
		e.onFatal = func(err error) { os.Exit(75) } // EX_TEMPFAIL; the error was logged
	}
	if cfg.Dir == "" {
		return nil, errors.New("engine: open: no directory given")
	}

	exists, err := e.exists()
	if err != nil {
		return nil, fmt.Errorf("engine: open %s: %w", cfg.Dir, err)
	}
	if !exists {
		if cfg.MustExist || cfg.ReadOnly {
			return nil, openError(cfg.Dir, ErrNoStore, nil)
		}
		if err := e.fs.MkdirAll(cfg.Dir, 0o755); err != nil {
			return nil, fmt.Errorf("engine: open %s: %w", cfg.Dir, err)
		}
	}
	if e.lock, err = pebble.LockDirectory(cfg.Dir, e.fs); err != nil {
		return nil, openError(cfg.Dir, ErrLocked, err)
	}
	fail := func(err error) (*Engine, error) {
		return nil, errors.Join(err, e.release())
	}
	// What the log holds is flushed when it has been read, and Pebble would try for ever to do that on a full disk.
	if e.NoRoom() && !cfg.ReadOnly {
		free, _ := e.Space()
		return fail(fmt.Errorf("engine: open %s: %d KiB free: %w", cfg.Dir, free>>10, syscall.ENOSPC))
	}
	if err := e.checkFormat(cfg); err != nil {
		return fail(err)
	}
	if err := e.checkManifest(); err != nil {
		return fail(err)
	}

	opts := e.options(cfg)
	if e.fresh {
		opts.EventListener.FormatUpgrade = nil // a new store goes through all formats, and nothing is upgraded
	}
	e.db, err = pebble.Open(cfg.Dir, opts)
	if err != nil {
		switch {
		case pebble.IsCorruptionError(err), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, os.ErrNotExist) && exists:
			err = openError(cfg.Dir, ErrCorrupt, err)
		default:
			err = fmt.Errorf("engine: open %s: %w", cfg.Dir, err)
		}
		return fail(err)
	}
	if !cfg.ReadOnly && cfg.MemTableBytes == 0 {
		e.grown.Store(opts.MemTableSize)
	}
	return e, nil
}

// maxQueued is how many memtables a read should have to look into.
const maxQueued = 2

// FlushQueued is to be called every second or so. Pebble's first memtable after a start is small, each is twice as large as the one before, and none is
// flushed before they make up half of a grown one: for the first 64 MiB of writes after every start each read looked into up to eight. So what queues
// up meanwhile is flushed. It does nothing where Config.MemTableBytes says how large memtables are.
func (e *Engine) FlushQueued() error {
	grown := e.grown.Load()
	if grown == 0 || e.Err() != nil {
		return nil
	}
	switch m := e.db.Metrics(); {
	case m.MemTable.Size >= grown:
		e.grown.Store(0)
	case m.MemTable.Count > maxQueued && m.Flush.NumInProgress == 0:
		if _, err := e.db.AsyncFlush(); err != nil {
			return Classify(err)
		}
	}
	return nil
}

// reclaimEvery is how often at most a full disk is looked for room in what was deleted.
const reclaimEvery = 10 * time.Second

// Reclaim is to be called every second or so. Tables that a deletion covers go when the memtable that has it is flushed, and not before. Where little more is
// free than the reserve, nobody may write as much as fills a memtable: it is flushed without that.
func (e *Engine) Reclaim() error {
	free, all := e.Space()
	if all == 0 || free >= 4*e.reserveOf(all) || e.Err() != nil || time.Since(e.reclaimed) < reclaimEvery {
		return nil
	}
	e.reclaimed = time.Now()
	_, err := e.db.AsyncFlush()
	return Classify(err)
}

// exists reports whether the directory exists.
func (e *Engine) exists() (bool, error) {
	fi, err := e.fs.Stat(e.dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !fi.IsDir():
		return false, errors.New("not a directory")
	}
	return true, nil
}

// checkFormat reads PAMIR-FORMAT, or writes it into an empty directory.
func (e *Engine) checkFormat(cfg Config) error {
	path := e.fs.PathJoin(e.dir, formatFile)
	f, err := e.fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		e.fresh = true
		return e.newStore(cfg, path)
	} else if err != nil {
		return fmt.Errorf("engine: open %s: %w", e.dir, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 256))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("engine: open %s: %w", e.dir, err)
	}
	var v int
	if n, err := fmt.Sscanf(string(b), formatPrefix+"%d\n", &v); n != 1 || err != nil || v < 1 {
		return openError(e.dir, ErrCorrupt, fmt.Errorf("%s says %q", formatFile, b))
	}
	if v > FormatVersion {
		return openError(e.dir, ErrNewerFormat, fmt.Errorf("format %d, this program knows up to %d", v, FormatVersion))
	}
	if v < oldestFormat {
		return openError(e.dir, ErrOlderFormat, fmt.Errorf("format %d, this program knows %d to %d", v, oldestFormat, FormatVersion))
	}
	return nil
}

// newStore marks an empty directory as a store.
func (e *Engine) newStore(cfg Config, path string) error {
	names, err := e.fs.List(e.dir)
	if err != nil {
		return fmt.Errorf("engine: open %s: %w", e.dir, err)
	}
	for _, n := range names {
		// LOCK is ours from a moment ago; lost+found is what a fresh disk comes with; the
		// temporary name is left by a crash in here.
		if n != "LOCK" && n != "lost+found" && !strings.HasPrefix(n, formatFile) {
			return openError(e.dir, ErrNotStore, fmt.Errorf("it holds %q and no %s", n, formatFile))
		}
	}
	if cfg.MustExist || cfg.ReadOnly {
		return openError(e.dir, ErrNoStore, nil)
	}
	tmp := path + ".tmp"
	err = func() error {
		f, err := e.fs.Create(tmp, "pamir-format")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f, "%s%d\n", formatPrefix, FormatVersion)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
		if err := e.fs.Rename(tmp, path); err != nil {
			return err
		}
		d, err := e.fs.OpenDir(e.dir)
		if err != nil {
			return err
		}
		return errors.Join(d.Sync(), d.Close())
	}()
	if err != nil {
		return fmt.Errorf("engine: open %s: write %s: %w", e.dir, formatFile, err)
	}
	return nil
}

// DB returns the database. It must not be used after Close, and not be closed by the caller.
func (e *Engine) DB() *pebble.DB { return e.db }

// FS and Dir say where the store is, for files that live beside the database (snapshots being received).
func (e *Engine) FS() vfs.FS { return e.fs }

// Dir: see FS.
func (e *Engine) Dir() string { return e.dir }

// Err returns the error that made the store unusable, or nil.
func (e *Engine) Err() error {
	if err := e.fatalErr.Load(); err != nil {
		return err
	}
	return nil
}

// Close closes the store. Iterators, snapshots and batches must be closed before.
func (e *Engine) Close() error {
	e.closeOnce.Do(func() {
		if e.fatalErr.Load() == nil {
			e.closeErr = e.db.Close()
		} // After a failed write Pebble's locks may be held for ever by the stopped goroutine: leave it.
		e.closeErr = errors.Join(e.closeErr, e.release())
	})
	return e.closeErr
}

// release gives back what Open took besides the database.
func (e *Engine) release() error {
	err := e.lock.Close()
	if e.ownCache != nil {
		e.ownCache.Unref()
	}
	if e.fsCloser != nil {
		err = errors.Join(err, e.fsCloser.Close())
	}
	return err
}

// CheckSpace returns a *kv.Error of CodeDiskFull if the disk has less free space than the
// reserve, or than half of it for a write that makes room: without those a full disk would stay so. It is cheap: the disk is measured at most once a second.
func (e *Engine) CheckSpace(makesRoom bool) error {
	free, all := e.Space()
	if all == 0 {
		return nil // the file system cannot say
	}
	reserve := e.reserveOf(all)
	if makesRoom {
		reserve /= 2
	}
	if free < reserve {
		return kv.Errorf(kv.CodeDiskFull, "store %s has %d MiB free, below its reserve of %d MiB", e.dir, free>>20, reserve>>20)
	}
	return nil
}

// reserveOf returns the reserve of a disk of that size.
func (e *Engine) reserveOf(all uint64) uint64 {
	if e.reserve != 0 {
		return e.reserve
	}
	return max(min(256<<20, all/50), min(64<<20, all/8))
}

// NoRoom reports whether the disk is so full that a follower had better miss entries of a log, which it gets later, than be the one whose write fails.
func (e *Engine) NoRoom() bool {
	free, all := e.Space()
	return all > 0 && free < e.reserveOf(all)/4
}

// Space returns the free and the whole space of the disk, at most a second old; zero if unknown. What is kept for the superuser, or for other
// tenants of the file system, is no part of the whole: of a disk that looks a tenth free because of it nothing need be moved away.
func (e *Engine) Space() (free, all uint64) {
	now := time.Now().UnixNano()
	if last := e.spaceAt.Load(); now-last > int64(time.Second) && e.spaceAt.CompareAndSwap(last, now) {
		if u, err := e.fs.GetDiskUsage(e.dir); err == nil {
			e.spaceFree.Store(u.AvailBytes)
			e.spaceAll.Store(u.UsedBytes + u.AvailBytes)
		} else if !errors.Is(err, vfs.ErrUnsupported) {
			e.log.Warn("cannot measure free space", "err", err)
		}
	}
	return e.spaceFree.Load(), e.spaceAll.Load()
}

// WriteStalls and SlowWrites count how often Pebble held writes back, and how often a disk
// operation took more than the slowness threshold.
func (e *Engine) WriteStalls() int64 { return e.stalls.Load() }

// SlowWrites: see WriteStalls.
func (e *Engine) SlowWrites() int64 { return e.slowDisk.Load() }

// fatal records and reports the error that ends the store, once.
func (e *Engine) fatal(err *kv.Error) {
	e.fatalOnce.Do(func() {
		e.fatalErr.Store(err)
		e.log.Error("store cannot go on", "code", err.Code.String(), "err", err.Message)
		e.onFatal(err)
	})
}
