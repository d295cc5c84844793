package sql

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/internal/memtxn"
	"github.com/pamirdb/pamir/sql/job"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// gateways are nodes over one store in memory, with catalog leases.
type gateways struct {
	t     *testing.T
	store *memtxn.Store
	nodes []*world
}

func newGateways(t *testing.T, n int, edit func(i int, c *Config)) *gateways {
	g := &gateways{t: t, store: memtxn.New()}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { stop(); wg.Wait() })
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for i := range n {
		cat := NewCatalog(g.store)
		if i == 0 {
			require.NoError(t, cat.Bootstrap(ctx, g.store))
		}
		ended := cat.Start(ctx, g.store, g.store, int32(i+1), nil, nil, log)
		wg.Add(1)
		go func() { defer wg.Done(); <-ended }()
		c := Config{Gateway: g.store, Catalog: cat, Bulk: g.store, Node: int32(i + 1), Log: log, IndexChunk: 64}
		if edit != nil {
			edit(i, &c)
		}
		g.nodes = append(g.nodes, &world{t: t, store: g.store, srv: NewServer(c)})
	}
	return g
}

// disturb lets sessions of all nodes change t at random until stop is closed, and returns how many statements committed.
func (g *gateways) disturb(stop <-chan struct{}, ids int, text string) (wait func() int64) {
	var wg sync.WaitGroup
	var n atomic.Int64
	for i, w := range g.nodes {
		for range 2 {
			k := w.session()
			wg.Add(1)
			go func() {
				defer wg.Done()
				r := rand.New(rand.NewPCG(uint64(i), rand.Uint64()))
				for {
					select {
					case <-stop:
						return
					default:
					}
					id := r.IntN(ids)
					var err error
					switch r.IntN(4) {
					case 0:
						err = k.Query(fmt.Sprintf("delete from t where id = %d", id))
					case 1, 2:
						err = k.Query(fmt.Sprintf("insert into t values (%d, %d, %s) on conflict (id) do update set a = excluded.a", id, r.IntN(50), fmt.Sprintf(text, id)))
					default:
						err = k.Query(fmt.Sprintf("update t set a = a + 1 where id between %d and %d", id, id+3))
					}
					k.take()
					switch pgerr.Code(err) {
					case "", pgerr.UniqueViolation, pgerr.SerializationFailure:
					default:
						if err != nil {
							g.t.Errorf("%v", err)
							return
						}
					}
					if err == nil {
						n.Add(1)
					}
				}
			}()
		}
	}
	return func() int64 { wg.Wait(); return n.Load() }
}

// agree compares what an index says with what the table says, in both directions.
func agree(t *testing.T, k *talker, column string) {
	t.Helper()
	// The planner uses an index for a range on its first column; the sum over b + 0 it can only answer from the table.
	byIndex := k.q("select count(*), count(distinct id), sum(id) from t where " + column + " >= '' ")
	byTable := k.q("select count(*), count(distinct id), sum(id) from t where " + column + " || '' >= ''")
	require.Equal(t, byTable, byIndex)
	require.Contains(t, k.q("explain select id from t where "+column+" >= ''"), "Index")
	require.Equal(t, "[count](0)SELECT 1;", k.q("select count(*) from (select id, "+column+" from t where "+column+" >= '' except select id, "+column+" from t where "+column+" || '' >= '') x"))
	require.Equal(t, "[count](0)SELECT 1;", k.q("select count(*) from (select id, "+column+" from t where "+column+" || '' >= '' except select id, "+column+" from t where "+column+" >= '') x"))
}

func TestCreateIndexUnderWriters(t *testing.T) {
	for _, kind := range []string{"index", "unique index"} {
		t.Run(kind, func(t *testing.T) {
			var chunks atomic.Int64
			g := newGateways(t, 2, func(_ int, c *Config) {
				c.AfterIndexChunk = func() { chunks.Add(1); time.Sleep(time.Millisecond) }
			})
			k := g.nodes[0].session()
			k.must("create table t (id int primary key, a int, b text)")
			k.must("insert into t select i, i % 50, 'b' || i from generate_series(0, 1999) i")
			stop := make(chan struct{})
			wait := g.disturb(stop, 2000, "'b%d'")
			time.Sleep(20 * time.Millisecond)
			require.Equal(t, "CREATE INDEX;", k.q("create "+kind+" i on t (b)"))
			close(stop)
			t.Logf("%d statements committed meanwhile, %d pieces", wait(), chunks.Load())
			require.Greater(t, chunks.Load(), int64(10))
			agree(t, k, "b")
			require.Contains(t, k.q("select state, progress, error from pamir.jobs"), "(succeeded,1,~)")
			require.Contains(t, k.q("select indisvalid, indisready from pg_index where indexrelid = 'i'::regclass"), "(t,t)")
		})
	}
}

// Two rows with one key: whichever of them the build meets, it ends with 23505 and leaves nothing.
func TestCreateUniqueIndexFindsDuplicates(t *testing.T) {
	g := newGateways(t, 1, nil)
	k := g.nodes[0].session()
	k.must("create table t (id int primary key, a int, b text)")
	k.must("insert into t select i, i, 'b' || i from generate_series(0, 999) i; insert into t values (2000, 0, 'b7')")
	err := k.Query("create unique index i on t (b)")
	e, ok := pgerr.As(err)
	require.True(t, ok)
	require.Equal(t, pgerr.UniqueViolation, e.Code)
	require.Equal(t, `could not create unique index "i"`, e.Message)
	require.Equal(t, "Key (b)=(b7) is duplicated.", e.Detail)
	k.take()
	require.Equal(t, "[count](0)SELECT 1;", k.q("select count(*) from pg_class where relname = 'i'"))
	require.Contains(t, k.q("select state, error from pamir.jobs"), "(failed,could not create unique index")
	k.must("insert into t values (3000, 0, 'b7')") // nobody minds any more
	require.Equal(t, "CREATE INDEX;", k.q("create index i on t (b)"))
	agree(t, k, "b")

	err = k.Query("alter table t add constraint u unique (b)")
	require.Equal(t, pgerr.UniqueViolation, pgerr.Code(err))
	k.take()
	k.must("delete from t where id >= 2000")
	require.Equal(t, "ALTER TABLE;", k.q("alter table t add constraint u unique (b)"))
	require.Contains(t, k.q("insert into t values (4000, 0, 'b7')"), "!23505")
}

// A writer that deletes an old row before the build comes to it takes away the entry of a newer row with the same key.
func TestCheckFindsWhatWritersTookAway(t *testing.T) {
	var hook func()
	g := newGateways(t, 1, func(_ int, c *Config) {
		c.IndexChunk = 16
		c.AfterIndexChunk = func() {
			if f := hook; f != nil {
				hook = nil
				f()
			}
		}
	})
	k, other := g.nodes[0].session(), g.nodes[0].session()
	k.must("create table t (id int primary key, a int, b text)")
	k.must("insert into t select i, i, 'b' || i from generate_series(0, 99) i")
	hook = func() { // rows 0 to 15 are done
		other.must("delete from t where id = 0")
		other.must("insert into t values (0, 0, 'b90')") // it cannot see row 90: there is no entry
		other.must("delete from t where id = 90")        // takes the entry of row 0
	}
	require.Equal(t, "CREATE INDEX;", k.q("create unique index i on t (b)"))
	agree(t, k, "b")
	require.Contains(t, other.q("insert into t values (200, 0, 'b90')"), "!23505")
}

// A node dies in the middle: another one goes on where it was.
func TestIndexBuildIsAdopted(t *testing.T) {
	dead := make(chan struct{})
	at := make(chan struct{})
	var once sync.Once
	g := newGateways(t, 2, func(i int, c *Config) {
		if i == 0 {
			n := 0
			c.AfterIndexChunk = func() {
				if n++; n == 5 { // it has come this far, and is never heard of again
					once.Do(func() { close(at) })
					<-dead
				}
			}
		}
	})
	k, other := g.nodes[0].session(), g.nodes[1].session()
	k.must("create table t (id int primary key, a int, b text)")
	k.must("insert into t select i, i, 'b' || i from generate_series(0, 999) i")
	result := make(chan string, 1)
	go func() { result <- k.q("create index i on t (b)") }()
	<-at
	require.Contains(t, other.q("select state, node_id from pamir.jobs"), "(running,1)")
	require.Contains(t, other.q("select indisvalid, indisready from pg_index where indexrelid = 'i'::regclass"), "(f,t)")
	other.must("insert into t values (5000, 1, 'late')")
	// Its claim runs out.
	r := &job.Record{ID: 1, Claim: 1}
	require.NoError(t, g.nodes[1].srv.jobs.Release(context.Background(), r))
	require.NoError(t, g.nodes[1].srv.adoptOnce(context.Background()))
	require.Contains(t, other.q("select state, node_id from pamir.jobs"), "(succeeded,~)")
	agree(t, other, "b")
	// The first one was not dead, only slow: it learns how the job ended.
	close(dead)
	require.Equal(t, "CREATE INDEX;", <-result)
}

func TestIndexBuildIsCanceled(t *testing.T) {
	for _, how := range []string{"statement", "job"} {
		t.Run(how, func(t *testing.T) {
			var k *talker
			var g *gateways
			n := 0
			g = newGateways(t, 1, func(_ int, c *Config) {
				c.AfterIndexChunk = func() {
					if n++; n != 3 {
						return
					}
					if how == "statement" {
						k.Cancel()
						return
					}
					other := g.nodes[0].session()
					require.Equal(t, "[cancel_job](t)SELECT 1;", other.q("select pamir.cancel_job(1)"))
				}
			})
			k = g.nodes[0].session()
			k.must("create table t (id int primary key, a int, b text)")
			k.must("insert into t select i, i, 'b' || i from generate_series(0, 999) i")
			require.Equal(t, "!57014", k.q("create index i on t (b)"))
			require.Contains(t, k.q("select state from pamir.jobs"), "(canceled)")
			require.Equal(t, "[count](0)SELECT 1;", k.q("select count(*) from pg_class where relname = 'i'"))
			require.Equal(t, "[cancel_job](f)SELECT 1;", k.q("select pamir.cancel_job(1)"))
			k.must("insert into t values (5000, 1, 'late')")
			require.Equal(t, "CREATE INDEX;", k.q("create index i on t (b)"))
			agree(t, k, "b")
		})
	}
}

// What happens to the table while its index is built.
func TestIndexBuildMeetsOtherChanges(t *testing.T) {
	for _, c := range []struct{ change, result string }{
		{"truncate t", "CREATE INDEX;"},
		{"alter table t alter column a type text", "CREATE INDEX;"},
		{"alter table t rename to u; alter table u rename to t", "CREATE INDEX;"},
		{"alter index i rename to j", "CREATE INDEX;"},
		{"alter table t drop column a", "CREATE INDEX;"},
		{"alter table t drop column b", "!55000"},
		{"drop index i", "!55000"},
		{"drop table t", "!55000"},
	} {
		t.Run(strings.ReplaceAll(c.change, " ", "_"), func(t *testing.T) {
			var g *gateways
			n := 0
			g = newGateways(t, 1, func(_ int, cf *Config) {
				cf.AfterIndexChunk = func() {
					if n++; n == 3 {
						g.nodes[0].session().must(c.change)
					}
				}
			})
			k := g.nodes[0].session()
			k.must("create table t (id int primary key, a int, b text)")
			k.must("insert into t select i, i, 'b' || i from generate_series(0, 999) i")
			require.Equal(t, c.result, k.q("create index i on t (b)"))
			if c.result == "CREATE INDEX;" {
				k.must("insert into t (id, b) values (5000, 'late')")
				agree(t, k, "b")
			}
		})
	}
}
