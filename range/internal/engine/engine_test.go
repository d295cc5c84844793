package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func testConfig(fs vfs.FS) Config {
	return Config{Dir: "store", FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20, Logger: quiet(),
		OnFatal: func(err error) { panic(err) }}
}

func open(t require.TestingT, cfg Config) *Engine {
	e, err := Open(cfg)
	require.NoError(t, err)
	return e
}

// files returns what is in the store's directory, with contents, but for the lock file.
func files(t *testing.T, fs vfs.FS) map[string]string {
	t.Helper()
	names, err := fs.List("store")
	require.NoError(t, err)
	out := map[string]string{}
	for _, n := range names {
		if n == "LOCK" {
			continue
		}
		f, err := fs.Open(fs.PathJoin("store", n))
		require.NoError(t, err)
		b, err := io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		out[n] = string(b)
	}
	return out
}

func write(t *testing.T, fs vfs.FS, name, content string) {
	t.Helper()
	f, err := fs.Create(fs.PathJoin("store", name), "test")
	require.NoError(t, err)
	_, err = f.Write([]byte(content))
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestIdentityIsWrittenOnce(t *testing.T) {
	fs := vfs.NewMem()
	e := open(t, testConfig(fs))
	_, ok, err := e.Identity()
	require.NoError(t, err)
	require.False(t, ok)
	id := Identity{ClusterID: [16]byte{1, 2, 3}, NodeID: 4, StoreID: 5}
	require.NoError(t, e.SetIdentity(id))
	require.NoError(t, e.SetIdentity(id))
	require.ErrorContains(t, e.SetIdentity(Identity{NodeID: 9}), "belongs to cluster 0102")
	require.NoError(t, e.Close())
	require.NoError(t, e.Close())

	e = open(t, testConfig(fs))
	defer func() { require.NoError(t, e.Close()) }()
	got, ok, err := e.Identity()
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, id, got)
}

// A store that is made is none that is upgraded.
func TestNothingIsUpgradedInANewStore(t *testing.T) {
	var log bytes.Buffer
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll("store", 0o755)) // as one that is mounted there
	for _, dir := range []string{"store", "other"} {
		cfg := testConfig(fs)
		cfg.Dir, cfg.Logger = dir, slog.New(slog.NewTextHandler(&log, nil))
		require.NoError(t, open(t, cfg).Close())
		require.Empty(t, log.String())
	}
}

// Every refusal of Open names its reason and leaves the directory as it was.
func TestOpenRefuses(t *testing.T) {
	made := func(t *testing.T) *vfs.MemFS {
		fs := vfs.NewMem()
		e := open(t, testConfig(fs))
		require.NoError(t, e.DB().Set(EncodeKey(keys.Store("x")), []byte("y"), pebble.Sync))
		require.NoError(t, e.DB().Flush())
		require.NoError(t, e.Close())
		return fs
	}
	refused := func(t *testing.T, fs vfs.FS, kind error, cfg func(*Config)) {
		before := files(t, fs)
		c := testConfig(fs)
		if cfg != nil {
			cfg(&c)
		}
		_, err := Open(c)
		require.ErrorIs(t, err, kind)
		require.Contains(t, err.Error(), "store")
		require.Equal(t, before, files(t, fs))
	}
	t.Run("locked", func(t *testing.T) {
		dir := t.TempDir()
		cfg := Config{Dir: dir, CacheBytes: 1 << 20, Logger: quiet()}
		e := open(t, cfg)
		_, err := Open(cfg)
		require.ErrorIs(t, err, ErrLocked)
		require.NoError(t, e.DB().Set(EncodeKey(keys.Store("x")), nil, pebble.Sync))
		require.NoError(t, e.Close())
		e = open(t, cfg)
		require.NoError(t, e.Close())
	})
	t.Run("newer format", func(t *testing.T) {
		fs := made(t)
		write(t, fs, formatFile, "pamir store format 999\n")
		refused(t, fs, ErrNewerFormat, nil)
	})
	t.Run("older format", func(t *testing.T) {
		fs := made(t)
		write(t, fs, formatFile, "pamir store format 1\n")
		refused(t, fs, ErrOlderFormat, nil)
	})
	t.Run("damaged format file", func(t *testing.T) {
		fs := made(t)
		write(t, fs, formatFile, "what?")
		refused(t, fs, ErrCorrupt, nil)
	})
	t.Run("something else", func(t *testing.T) {
		fs := vfs.NewMem()
		require.NoError(t, fs.MkdirAll("store", 0o755))
		write(t, fs, "thesis.txt", "years of work")
		refused(t, fs, ErrNotStore, nil)
	})
	t.Run("no store", func(t *testing.T) {
		fs := vfs.NewMem()
		c := testConfig(fs)
		c.MustExist = true
		_, err := Open(c)
		require.ErrorIs(t, err, ErrNoStore)
		_, err = fs.Stat("store")
		require.Error(t, err, "nothing was made")
		require.NoError(t, fs.MkdirAll("store", 0o755))
		refused(t, fs, ErrNoStore, func(c *Config) { c.MustExist = true })
	})
	t.Run("damaged manifest", func(t *testing.T) {
		fs := made(t)
		for n, content := range files(t, fs) {
			if strings.HasPrefix(n, "MANIFEST") {
				write(t, fs, n, "garbage"+content[7:])
			}
		}
		refused(t, fs, ErrCorrupt, nil)
	})
	t.Run("manifest damaged in the middle", func(t *testing.T) {
		fs := made(t)
		for n, content := range files(t, fs) {
			if strings.HasPrefix(n, "MANIFEST") {
				require.Greater(t, len(content), 60)
				write(t, fs, n, content[:20]+"garbage"+content[27:])
			}
		}
		refused(t, fs, ErrCorrupt, nil)
	})
	t.Run("table missing", func(t *testing.T) {
		fs := made(t)
		for n := range files(t, fs) {
			if strings.HasSuffix(n, ".sst") {
				require.NoError(t, fs.Remove(fs.PathJoin("store", n)))
			}
		}
		refused(t, fs, ErrCorrupt, nil)
	})
	t.Run("no directory given", func(t *testing.T) {
		_, err := Open(Config{})
		require.Error(t, err)
	})
}

// A directory in which making a store crashed halfway is taken as new.
func TestOpenAfterCrashWhileMaking(t *testing.T) {
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll("store", 0o755))
	write(t, fs, formatFile+".tmp", "pam")
	require.NoError(t, open(t, testConfig(fs)).Close())
}

// A record torn by a crash at the end of the MANIFEST is no damage, and whatever a bit flip before it does, no
// key is lost without a word.
func TestManifestDamage(t *testing.T) {
	fs := vfs.NewMem()
	e := open(t, testConfig(fs))
	k := EncodeKey(keys.Store("x"))
	for range 5 {
		require.NoError(t, e.DB().Set(k, []byte("y"), pebble.Sync))
		require.NoError(t, e.DB().Flush())
	}
	require.NoError(t, e.Close())
	name, content := "", ""
	for n, c := range files(t, fs) {
		if strings.HasPrefix(n, "MANIFEST") {
			name, content = n, c
		}
	}
	require.NotEmpty(t, name)
	// Every prefix: what comes after a torn record is nothing.
	for i := range len(content) {
		_, damaged := damagedBeforeEnd([]byte(content[:i]))
		require.False(t, damaged, "cut at %d", i)
		_, damaged = damagedBeforeEnd(append([]byte(content[:i]), make([]byte, 40<<10)...))
		require.False(t, damaged, "zeros from %d", i)
	}
	last := 0
	for at := 0; at < len(content); {
		n, _, ok := chunkAt([]byte(content), at)
		require.True(t, ok)
		last, at = at, at+n
	}
	for i := range last {
		b := []byte(content)
		b[i] ^= 0x10
		at, damaged := damagedBeforeEnd(b)
		require.True(t, damaged, "flip at %d", i)
		require.LessOrEqual(t, at, i)
	}
	write(t, fs, name, content+"torn")
	e = open(t, testConfig(fs))
	_, closer, err := e.DB().Get(k)
	require.NoError(t, err)
	require.NoError(t, closer.Close())
	require.NoError(t, e.Close())
}

// A damaged block is found when it is read, and reported once to OnFatal.
func TestDamagedTableIsLoud(t *testing.T) {
	fs := vfs.NewMem()
	cfg := testConfig(fs)
	e := open(t, cfg)
	for i := range 1000 {
		require.NoError(t, e.DB().Set(EncodeKey(keys.Store(fmt.Sprintf("key-%06d", i))), []byte(strings.Repeat("v", 100)), pebble.NoSync))
	}
	require.NoError(t, e.DB().Flush())
	require.NoError(t, e.Close())
	for n, content := range files(t, fs) {
		if strings.HasSuffix(n, ".sst") {
			b := []byte(content)
			for i := 100; i < 200; i++ {
				b[i] ^= 0xff
			}
			write(t, fs, n, string(b))
		}
	}
	fatal := make(chan error, 10)
	cfg.OnFatal = func(err error) { fatal <- err }
	e = open(t, cfg)
	it, err := e.DB().NewIter(nil)
	require.NoError(t, err)
	require.False(t, it.First())
	require.True(t, kv.HasCode(Classify(it.Error()), kv.CodeCorruption), "%v", it.Error())
	require.Error(t, it.Close())
	require.True(t, kv.HasCode(<-fatal, kv.CodeCorruption))
	require.True(t, kv.HasCode(e.Err(), kv.CodeCorruption))
	require.Empty(t, fatal)
	require.NoError(t, e.Close())
}

// After a failed WAL write nothing is acknowledged any more, and the reason is told.
func TestWALFailureIsLoudAndNeverAcknowledged(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code kv.Code
	}{{syscall.ENOSPC, kv.CodeDiskFull}, {syscall.EIO, kv.CodeInternal}} {
		var fail toggle
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if fail.on() && strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
				return tc.err
			}
			return nil
		}))
		fatal := make(chan error, 10)
		cfg := testConfig(fs)
		cfg.OnFatal = func(err error) { fatal <- err }
		e := open(t, cfg)
		k := EncodeKey(keys.Store("x"))
		require.NoError(t, e.DB().Set(k, []byte("good"), pebble.Sync))
		fail.set()
		acked := make(chan error, 1)
		go func() { acked <- e.DB().Set(k, []byte("bad"), pebble.Sync) }() // parked for good by design
		err := <-fatal
		require.True(t, kv.HasCode(err, tc.code), "%v", err)
		require.ErrorIs(t, e.Err(), err)
		for range 100 {
			runtime.Gosched()
		}
		require.Empty(t, acked)
		require.Empty(t, fatal)
		require.NoError(t, e.Close())
	}
}

// The same when the batch's sync is awaited apart from its application, as the raft log does.
func TestSyncWaitReportsFailure(t *testing.T) {
	var fail toggle
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fail.on() && strings.HasSuffix(op.Path, ".log") {
			return syscall.ENOSPC
		}
		return nil
	}))
	fatal := make(chan error, 10)
	cfg := testConfig(fs)
	cfg.OnFatal = func(err error) { fatal <- err }
	e := open(t, cfg)
	fail.set()
	b := e.DB().NewBatch()
	require.NoError(t, b.Set(EncodeKey(keys.Store("x")), nil, nil))
	done := make(chan error, 1)
	go func() {
		if err := e.DB().ApplyNoSyncWait(b, pebble.Sync); err != nil {
			done <- err
			return
		}
		done <- b.SyncWait()
	}()
	select {
	case err := <-done:
		require.True(t, IsDiskFull(err), "%v", err)
	case err := <-fatal:
		require.True(t, kv.HasCode(err, kv.CodeDiskFull))
	}
}

type toggle struct {
	mu sync.Mutex
	v  bool
}

func (t *toggle) set()     { t.mu.Lock(); t.v = true; t.mu.Unlock() }
func (t *toggle) on() bool { t.mu.Lock(); defer t.mu.Unlock(); return t.v }

// What was acknowledged with Sync before a crash is there; of the rest, each batch is whole or absent,
// and none is there without those before it.
func TestCrash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewCrashableMem()
		e := open(t, testConfig(fs))
		parent, err := fs.OpenDir("")
		require.NoError(t, err)
		require.NoError(t, parent.Sync()) // the store's own directory is the operator's to keep
		k := func(batch, i int) []byte { return EncodeKey(keys.System(fmt.Sprintf("b%03d/%d", batch, i))) }
		n := rapid.IntRange(1, 20).Draw(t, "batches")
		sizes := make([]int, n)
		acked := -1
		for i := range n {
			sizes[i] = rapid.IntRange(1, 5).Draw(t, "size")
			b := e.DB().NewBatch()
			for j := range sizes[i] {
				require.NoError(t, b.Set(k(i, j), []byte(strings.Repeat("x", rapid.IntRange(0, 2000).Draw(t, "len"))), nil))
			}
			if rapid.Bool().Draw(t, "sync") {
				require.NoError(t, b.Commit(pebble.Sync))
				acked = i
			} else {
				require.NoError(t, b.Commit(pebble.NoSync))
			}
			if rapid.IntRange(0, 9).Draw(t, "flush") == 0 {
				require.NoError(t, e.DB().Flush())
				acked = i
			}
		}
		seed := rapid.Uint64().Draw(t, "seed")
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rapid.IntRange(0, 100).Draw(t, "kept"), RNG: newRand(seed)})
		require.NoError(t, e.Close())

		e = open(t, testConfig(crashed))
		defer func() { require.NoError(t, e.Close()) }()
		gone := false
		for i := range n {
			there := 0
			for j := range sizes[i] {
				_, closer, err := e.DB().Get(k(i, j))
				if errors.Is(err, pebble.ErrNotFound) {
					continue
				}
				require.NoError(t, err)
				require.NoError(t, closer.Close())
				there++
			}
			require.Contains(t, []int{0, sizes[i]}, there, "batch %d is torn", i)
			if i <= acked {
				require.Equal(t, sizes[i], there, "acknowledged batch %d is lost", i)
			}
			require.False(t, gone && there > 0, "batch %d survived one before it", i)
			gone = gone || there == 0
		}
	})
}

func TestKeyEncodings(t *testing.T) {
	genKey := rapid.Custom(func(t *rapid.T) keys.Key {
		return rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 9, 13, 18, 0xff}), 1, 6).Draw(t, "key")
	})
	genTS := rapid.Custom(func(t *rapid.T) hlc.Timestamp {
		return hlc.Timestamp{WallTime: rapid.Int64Range(1, 4).Draw(t, "wall"), Logical: rapid.Uint32Range(0, 2).Draw(t, "logical")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := genKey.Draw(t, "a"), genKey.Draw(t, "b")
		ta, tb := genTS.Draw(t, "ta"), genTS.Draw(t, "tb")
		ea, eb := AppendVersion(nil, a, ta), AppendVersion(nil, b, tb)
		require.Len(t, ea, VersionLen(a, ta))
		k, ts, ok := DecodeVersion(ea)
		require.True(t, ok)
		require.Equal(t, a, k)
		require.Equal(t, ta, ts)
		want := a.Compare(b)
		if want == 0 {
			want = tb.Compare(ta)
		}
		require.Equal(t, want, Compare(ea, eb))
		if a.Equal(b) {
			require.Negative(t, Compare(EncodeKey(a), ea))
		}

		var id kv.TxnID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		l := AppendLock(nil, a, kv.LockUpdate, id)
		lk, s, lid, ok := DecodeLock(l)
		require.True(t, ok)
		require.Equal(t, a, lk)
		require.Equal(t, kv.LockUpdate, s)
		require.Equal(t, id, lid)
		require.Positive(t, Compare(l, AppendLockKey(nil, a)))
		require.Equal(t, AppendLockKey(nil, a), l[:cockroachkvs.Split(l)])
		_, _, ok = DecodeVersion(l)
		require.False(t, ok)
	})
}

func FuzzSplitKey(f *testing.F) {
	f.Add(AppendVersion(nil, keys.Key("a"), hlc.Timestamp{WallTime: 1, Logical: 2}))
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, suffix, ok := SplitKey(b); ok && len(k)+1+len(suffix) != len(b) {
			t.Fatalf("%x: %x + %x", b, k, suffix)
		}
		DecodeVersion(b)
		DecodeLock(b)
	})
}

// Small memtables do not queue up after a start until there is half a large one of them: each would be looked into by every read.
func TestSmallMemTablesAreFlushed(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.MemTableBytes = 0 // 16 MiB, with so small a cache
	e := open(t, cfg)
	defer func() { require.NoError(t, e.Close()) }()
	n := 0
	write := func(bytes int) {
		for range bytes / 1000 {
			n++
			require.NoError(t, e.DB().Set(EncodeKey(keys.Key(fmt.Sprintf("%08d", n))), make([]byte, 1000), nil))
		}
	}
	write(2 << 20)
	require.Greater(t, e.DB().Metrics().MemTable.Count, int64(maxQueued), "or there is nothing to see here")
	require.NoError(t, e.FlushQueued())
	require.Eventually(t, func() bool { return e.DB().Metrics().MemTable.Count == 1 }, 10*time.Second, time.Millisecond)
	flushes := e.DB().Metrics().Flush.Count
	require.NoError(t, e.FlushQueued())
	require.Equal(t, flushes, e.DB().Metrics().Flush.Count, "one memtable is left alone")
	for e.grown.Load() != 0 {
		write(1 << 20)
		require.NoError(t, e.FlushQueued())
		require.Less(t, n, 100<<10, "it grows up")
	}
}

// sized is a file system that says how large its disk is, and how full.
type sized struct {
	vfs.FS
	free, all atomic.Uint64
}

func (f *sized) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.free.Load(), UsedBytes: f.all.Load() - f.free.Load(), TotalBytes: f.all.Load()}, nil
}

// A full disk refuses what fills it before it refuses what makes room, and memtables are so small that all of them can be flushed into what is kept free.
func TestFullDisk(t *testing.T) {
	for _, c := range []struct{ all, memtable uint64 }{{1 << 40, 64 << 20}, {12800 << 20, 64 << 20}, {5000 << 20, 25 << 20}, {700 << 20, 16 << 20}, {64 << 20, 2 << 20}} {
		fs := &sized{FS: vfs.NewMem()}
		fs.all.Store(c.all)
		fs.free.Store(c.all)
		cfg := testConfig(fs)
		cfg.MemTableBytes, cfg.CacheBytes = 0, 256<<20
		e := open(t, cfg)
		require.Equal(t, c.memtable, e.options(cfg).MemTableSize, "of %d MiB", c.all>>20)
		reserve := e.reserveOf(c.all)
		check := func(free uint64, fills, makesRoom bool) {
			t.Helper()
			fs.free.Store(free)
			e.spaceAt.Store(0) // a second has passed
			for _, room := range []bool{false, true} {
				if err := e.CheckSpace(room); (room && makesRoom) || (!room && fills) {
					require.NoError(t, err)
				} else {
					require.True(t, kv.HasCode(err, kv.CodeDiskFull), "%v", err)
				}
			}
		}
		check(reserve, true, true)
		check(reserve-1, false, true)
		check(reserve/2, false, true)
		check(reserve/2-1, false, false)
		require.False(t, e.NoRoom())
		check(reserve/4-1, false, false)
		require.True(t, e.NoRoom())
		flushes := e.DB().Metrics().Flush.Count
		require.NoError(t, e.DB().Set(EncodeKey(keys.Store("x")), nil, pebble.NoSync))
		require.NoError(t, e.Reclaim())
		require.NoError(t, e.Reclaim(), "not again and again")
		require.Eventually(t, func() bool { return e.DB().Metrics().Flush.Count == flushes+1 }, 10*time.Second, time.Millisecond)
		fs.free.Store(c.all)
		e.spaceAt.Store(0)
		e.reclaimed = time.Time{}
		require.NoError(t, e.Reclaim())
		require.Equal(t, flushes+1, e.DB().Metrics().Flush.Count)
		require.NoError(t, e.Close())
	}
}
