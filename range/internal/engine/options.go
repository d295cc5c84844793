package engine

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pamirdb/pamir/range/kv"
)

const (
	defaultCacheBytes    = 128 << 20
	defaultMemTableBytes = 64 << 20
	minMemTableBytes     = 16 << 20
	leastMemTableBytes   = 2 << 20 // on a small disk
	defaultMaxOpenFiles  = 2000

	// slowDiskThreshold is when a single write or sync is reported as slow.
	slowDiskThreshold = 5 * time.Second
)

// options decides about Pebble. Every line has its reason; what is not here is left at
// Pebble's default because it is about features we do not use (remote storage, WAL
// failover, value separation).
func (e *Engine) options(cfg Config) *pebble.Options {
	cores := cfg.Cores
	if cores <= 0 {
		cores = runtime.GOMAXPROCS(0)
	}
	o := &pebble.Options{
		// The newest format of this Pebble that is not experimental: new stores need no later ratchet.
		FormatMajorVersion: pebble.FormatValueSeparation,

		// Keys are (key, descending MVCC timestamp); the schema stores them in columns, so that blocks are
		// small and a scan compares integers; the collector lets readers skip blocks by time.
		Comparer:                &cockroachkvs.Comparer,
		KeySchema:               cockroachkvs.KeySchema.Name,
		KeySchemas:              sstable.MakeKeySchemas(&cockroachkvs.KeySchema),
		BlockPropertyCollectors: cockroachkvs.BlockPropertyCollectors,

		// A 64 MiB memtable turns a burst of writes into one flush of a good size. Up to four may
		// queue (256 MiB) before writers stop: on slow disks a flush takes seconds.
		MemTableSize:                defaultMemTableBytes,
		MemTableStopWritesThreshold: 4,

		// Compact L0 when it has two sublevels (Pebble counts each twice): reads merge every sublevel, but compactions after every single flush were
		// 79 instead of 48 in a load of a million rows, and rewrote a fifth more of what lies below. Stop writers late: with one or two
		// compactions at a time, a bulk load passes Pebble's default of 12 sublevels too soon.
		L0CompactionThreshold:     4,
		L0CompactionFileThreshold: 500,
		L0StopWritesThreshold:     40,
		LBaseMaxBytes:             64 << 20,
		FlushSplitBytes:           4 << 20, // flushes cut at L0 boundaries, so that compactions can run side by side

		// Commits fsync on their own, and raft appends share the WAL with unsynced
		// application, so no background syncing of the WAL is needed, nor any artificial delay.
		WALBytesPerSync:    0,
		WALMinSyncInterval: func() time.Duration { return 0 },
		// Tables are written out steadily, so that the fsync at their end is short and does not
		// hold up the WAL's.
		BytesPerSync: 512 << 10,

		MaxOpenFiles: defaultMaxOpenFiles,
		// Rolling MANIFESTs keeps recovery short.
		MaxManifestFileSize: 16 << 20,

		// One compaction normally, so that foreground work keeps a core on a two-core machine; more when L0
		// or the debt grows. At least two, or one long compaction into the bottom level starves L0.
		CompactionConcurrencyRange: func() (int, int) { return 1, max(2, cores/2) },

		// Deleting many obsolete tables at once makes some disks stall.
		TargetByteDeletionRate: 128 << 20,
		// Below this much free space deletions are not paced.
		FreeSpaceThresholdBytes: 2 << 30,

		ReadOnly: cfg.ReadOnly,
		Lock:     e.lock,
		Logger:   pebbleLogger{e},
	}
	// A second concurrent compaction as soon as L0 has four sublevels more than wanted.
	o.Experimental.L0CompactionConcurrency = 4
	// Tables that arrive in snapshots may be split rather than be put into L0.
	o.Experimental.IngestSplit = func() bool { return true }
	// A snapshot replaces a span that must not wait for a flush.
	o.Experimental.DisableIngestAsFlushable = func() bool { return false }
	// Tables received from other nodes are checked in the background.
	o.Experimental.ValidateOnIngest = true

	for i := range o.Levels {
		l := &o.Levels[i]
		// 32 KiB blocks compress well and keep the index small; a columnar block is searched by
		// key without decoding its rows, so size does not hurt point reads that hit the cache.
		l.BlockSize = 32 << 10
		l.IndexBlockSize = 256 << 10
		// 10 bits a key: 1 % false positives. Prefix is the key without timestamp, so the filter
		// answers "has this key any version here". In L6 it is consulted on request only (UseL6Filters).
		l.FilterPolicy = bloom.FilterPolicy(10)
		// The cheapest codec everywhere: processor time is scarcer than disk here, and uncompressed
		// blocks are what the cache holds.
		l.Compression = func() *sstable.CompressionProfile { return block.FastestCompression }
	}
	o.TargetFileSizes[0] = 2 << 20 // L0: small, so that compactions out of it can be narrow
	o.TargetFileSizes[1] = 4 << 20
	for i := 2; i < len(o.TargetFileSizes); i++ {
		o.TargetFileSizes[i] = min(2*o.TargetFileSizes[i-1], 64<<20)
	}

	size := cfg.CacheBytes
	if size <= 0 {
		size = defaultCacheBytes
	}
	// Who gives the cache little memory does not want 64 MiB memtables either.
	o.MemTableSize = min(o.MemTableSize, max(uint64(size)/2, minMemTableBytes))
	// All that is in memory must fit into the reserve of the disk when it is full: until it is flushed, the log cannot go, nor can what was deleted.
	if _, all := e.Space(); all > 0 {
		o.MemTableSize = min(o.MemTableSize, max(e.reserveOf(all)/uint64(o.MemTableStopWritesThreshold), leastMemTableBytes))
	}
	if cfg.MemTableBytes > 0 {
		o.MemTableSize = cfg.MemTableBytes
	}
	if cfg.MaxOpenFiles > 0 {
		o.MaxOpenFiles = cfg.MaxOpenFiles
	}
	if o.Cache = cfg.Cache; o.Cache == nil {
		// Pebble takes the memory of memtables out of the cache. Two of them (the one written to, and the one
		// being flushed or kept for reuse) come on top, so that size is for blocks: with 128 MiB for
		// everything, two 64 MiB memtables left room for none, and every read decompressed its block anew.
		e.ownCache = pebble.NewCache(size + 2*int64(o.MemTableSize))
		o.Cache = e.ownCache
	}
	if o.FS = cfg.FS; o.FS == nil || o.FS == vfs.Default {
		o.FS, e.fsCloser = vfs.WithDiskHealthChecks(patient{vfs.Default}, slowDiskThreshold, nil, e.onDiskSlow)
	}
	o.EventListener = e.listener()
	return o
}

func (e *Engine) onDiskSlow(info vfs.DiskSlowInfo) {
	e.slowDisk.Add(1)
	e.log.Warn("disk is slow", "file", info.Path, "op", info.OpType.String(), "took", info.Duration)
}

// failedEvery is how often at most failures of background work are logged.
const failedEvery = 10 * time.Second

// listener logs what an operator wants to know and counts what a metric shows.
func (e *Engine) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			// Flushes and compactions are retried by Pebble. Damage is not healed by retrying.
			if pebble.IsCorruptionError(err) {
				e.fatal(kv.Errorf(kv.CodeCorruption, "%v", err))
				return
			}
			// A disk that is full fails it several times a second. The error alone: as an error value it would be logged with the stack that Pebble has attached.
			now, last := time.Now().UnixNano(), e.failedAt.Load()
			if now-last >= int64(failedEvery) && e.failedAt.CompareAndSwap(last, now) {
				e.log.Error("background work failed and will be tried again", "err", err.Error(), "disk_full", IsDiskFull(err))
			}
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			e.fatal(kv.Errorf(kv.CodeCorruption, "file %s, keys %s: %v", info.Path, info.Bounds, info.Details))
		},
		DiskSlow: e.onDiskSlow,
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			e.stalls.Add(1)
			e.log.Warn("writes are held back", "reason", info.Reason)
		},
		WriteStallEnd: func() { e.log.Info("writes go on") },
		LowDiskSpace: func(info pebble.LowDiskSpaceInfo) {
			e.log.Warn("disk space is low", "free", info.AvailBytes, "all", info.TotalBytes)
		},
		FlushEnd: func(info pebble.FlushInfo) {
			e.log.Debug("flush", "took", info.TotalDuration, "err", info.Err)
		},
		// Called by the goroutine of this one compaction, which ends with it. Nobody waits for a compaction, as somebody does for a flush, and for all else.
		// Not on a disk that a test has made up: which of its goroutines runs first is to be the same each time.
		CompactionBegin: func(pebble.CompactionInfo) {
			if e.fsCloser == nil {
				return
			}
			if err := stepBehind(); err != nil {
				e.log.Debug("a compaction competes with all else", "err", err)
			}
		},
		CompactionEnd: func(info pebble.CompactionInfo) {
			e.log.Debug("compaction", "reason", info.Reason, "took", info.TotalDuration, "err", info.Err)
		},
		TableIngested: func(info pebble.TableIngestInfo) {
			e.log.Debug("ingested", "tables", len(info.Tables), "err", info.Err)
		},
		FormatUpgrade: func(v pebble.FormatMajorVersion) { e.log.Info("format upgraded", "pebble_format", uint64(v)) },
	}
}

// pebbleLogger takes Pebble's own log. Fatalf is how Pebble reports that it cannot
// go on: after a failed WAL or MANIFEST write.
type pebbleLogger struct{ e *Engine }

func (l pebbleLogger) Infof(format string, args ...any) {
	if l.e.log.Enabled(context.Background(), slog.LevelDebug) {
		l.e.log.Debug(fmt.Sprintf(format, args...))
	}
}

func (l pebbleLogger) Errorf(format string, args ...any) { l.e.log.Error(fmt.Sprintf(format, args...)) }

// Fatalf does not return: Pebble would go on as if the write had succeeded, and its caller
// would acknowledge it. The goroutine, which may hold Pebble's locks, is parked for good.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	code := kv.CodeInternal
	for _, a := range args {
		if err, ok := a.(error); ok {
			switch {
			case IsDiskFull(err):
				code = kv.CodeDiskFull
			case pebble.IsCorruptionError(err):
				code = kv.CodeCorruption
			}
		}
	}
	l.e.fatal(kv.Errorf(code, format, args...))
	select {}
}
