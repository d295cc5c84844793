package sql

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/internal/memtxn"
	"github.com/pamirdb/pamir/txn"
)

// unsure is a gateway that does not learn, once, what became of a commit: the statement is cancelled while it waits for the answer.
type unsure struct {
	*memtxn.Store
	mu     sync.Mutex
	cancel func() // nil: commits are answered
}

type unsureTxn struct {
	*memtxn.Txn
	g    *unsure
	puts int
}

func (u *unsure) Begin(ctx context.Context, opts txn.Options) txn.Txn {
	return &unsureTxn{Txn: u.Store.Begin(ctx, opts).(*memtxn.Txn), g: u}
}

func (x *unsureTxn) Put(key keys.Key, value []byte) error {
	x.puts++
	return x.Txn.Put(key, value)
}

func (x *unsureTxn) Commit(ctx context.Context) (hlc.Timestamp, error) {
	ts, err := x.Txn.Commit(ctx)
	x.g.mu.Lock()
	cancel := x.g.cancel
	// One Put is the job's progress, which another goroutine stores.
	if err == nil && cancel != nil && x.puts > 1 {
		x.g.cancel = nil
	} else {
		cancel = nil
	}
	x.g.mu.Unlock()
	if cancel != nil {
		cancel()
		return ts, kv.Errorf(kv.CodeUnknownOutcome, "the request was cancelled")
	}
	return ts, err
}

// A build whose statement is cancelled in the middle of a commit has a definite end all the same: the index is gone, or it is there.
func TestIndexBuildIsCanceledInACommit(t *testing.T) {
	const rows, piece = 640, 64
	for _, c := range []struct {
		name    string
		after   int // pieces
		result  string
		state   string
		indexes string
	}{
		{"of a piece", 3, "!57014", "(canceled)", "(0)"},
		{"that publishes", rows / piece, "CREATE INDEX;", "(succeeded)", "(1)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var k *talker
			var u *unsure
			n := 0
			g := newGateways(t, 1, func(_ int, cfg *Config) {
				u = &unsure{Store: cfg.Gateway.(*memtxn.Store)}
				cfg.Gateway = u
				cfg.IndexChunk = piece
				cfg.AfterIndexChunk = func() {
					if n++; n == c.after {
						u.mu.Lock()
						u.cancel = k.Cancel
						u.mu.Unlock()
					}
				}
			})
			k = g.nodes[0].session()
			k.must("create table t (id int primary key, b text)")
			k.must("insert into t select i, 'b' || i from generate_series(1, 640) i")
			require.Equal(t, c.result, k.q("create index i on t (b)"))
			require.Nil(t, u.cancel, "no commit went without its answer")
			require.Contains(t, k.q("select state from pamir.jobs"), c.state)
			require.NotContains(t, k.q("select error from pamir.jobs"), "not known")
			require.Contains(t, k.q("select count(*) from pg_class where relname = 'i'"), c.indexes)
			k.must("drop index if exists i")
			require.Equal(t, "CREATE INDEX;", k.q("create index i on t (b)"))
			agree(t, k, "b")
		})
	}
}
