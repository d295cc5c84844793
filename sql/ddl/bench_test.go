package ddl_test

import (
	"context"
	"testing"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// What the executor itself costs: prepared plans over a store in memory.
func BenchmarkPrepared(b *testing.B) {
	for name, sql := range map[string]string{
		"select": "select abalance from accounts where aid = $1",
		"update": "update accounts set abalance = abalance + $2 where aid = $1",
		"insert": "insert into history (tid, delta) values ($1, $2)",
	} {
		b.Run(name, func(b *testing.B) {
			ctx := context.Background()
			s := newSession(b)
			s.run(`create table accounts (aid int primary key, bid int, abalance int, filler char(84));
				create table history (tid int, delta int, mtime timestamp);
				insert into accounts select i, 1, 0, '' from generate_series(1, 1000) i`)
			t := s.store.Begin(ctx, txn.Options{})
			snap, err := s.cat.Snapshot(ctx, t)
			if err != nil {
				b.Fatal(err)
			}
			st, err := parse.One(sql)
			if err != nil {
				b.Fatal(err)
			}
			pl, err := plan.Build(snap, &plan.Env{SearchPath: path}, st.Statement)
			if err != nil {
				b.Fatal(err)
			}
			fctx := &builtin.Context{}
			params := []types.Datum{types.NewInt(0), types.NewInt(5)}
			mark := t.Savepoint()
			b.ReportAllocs()
			for i := range b.N {
				params[0].I = int64(i%1000 + 1)
				rt := exec.Runtime{Txn: t, Catalog: snap, Ctx: fctx, Params: params, Implicit: true}
				cur, err := exec.Start(ctx, &rt, pl)
				if err != nil {
					b.Fatal(err)
				}
				for {
					batch, err := cur.Next(ctx)
					if err != nil {
						b.Fatal(err)
					}
					if batch == nil {
						break
					}
				}
				cur.Close()
				t.RollbackTo(mark)
			}
		})
	}
}

// A million rows through the pushed-down program.
func BenchmarkScanAggregate(b *testing.B) {
	s := newSession(b)
	s.run("create table accounts (aid int primary key, bid int, abalance int, filler char(84)); insert into accounts select i, 1, i % 100, '' from generate_series(1, 100000) i")
	for name, sql := range map[string]string{"count": "select count(*) from accounts", "sum": "select count(*), sum(abalance) from accounts",
		"filter": "select count(*) from accounts where abalance > 50", "group": "select abalance, count(*) from accounts group by abalance"} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				s.run(sql)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100000, "ns/row")
		})
	}
}
