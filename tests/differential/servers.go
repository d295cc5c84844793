package differential

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/txn"
)

// server is one of the two, with the connection that the program runs on.
type server struct {
	name string
	dsn  string
	c    *pgconn.PgConn
}

// hang is how long a statement may take.
const hang = 60 * time.Second

func (s *server) connect(ctx context.Context) error {
	if s.c != nil {
		_ = s.c.Close(ctx) // it is of no more use
	}
	var err error
	s.c, err = pgconn.Connect(ctx, s.dsn)
	return err
}

// do runs statements in the simple protocol and answers as the last of them.
func (s *server) do(ctx context.Context, text string) *answer {
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	rs, err := s.c.Exec(ctx, text).ReadAll()
	if err != nil {
		return failed(ctx, err)
	}
	if len(rs) == 0 {
		return &answer{}
	}
	return answered(rs[len(rs)-1])
}

// prepare prepares a statement without a name.
func (s *server) prepare(ctx context.Context, text string) *answer {
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	if _, err := s.c.Prepare(ctx, "", text, nil); err != nil {
		return failed(ctx, err)
	}
	return &answer{}
}

// execute runs what was prepared.
func (s *server) execute(ctx context.Context, params []*value) *answer {
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	args := make([][]byte, len(params))
	for i, p := range params {
		if !p.null {
			args[i] = []byte(p.text)
		}
	}
	r := s.c.ExecPrepared(ctx, "", args, nil, nil).Read()
	if r.Err != nil {
		return failed(ctx, r.Err)
	}
	return answered(r)
}

func answered(r *pgconn.Result) *answer {
	a := &answer{tag: r.CommandTag.String()}
	a.rows = make([][]string, len(r.Rows))
	for i, row := range r.Rows {
		a.rows[i] = make([]string, len(row))
		for j, v := range row {
			if a.rows[i][j] = string(v); v == nil {
				a.rows[i][j] = null
			}
		}
	}
	return a
}

func failed(ctx context.Context, err error) *answer {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		m := pe.Message
		if pe.Detail != "" && (pe.Code[:2] == "40" || pe.Code[:2] == "53") {
			m += " [" + pe.Detail + "]"
		}
		if pe.Hint != "" {
			m += " (" + pe.Hint + ")"
		}
		return &answer{state: pe.Code, message: m}
	}
	if ctx.Err() != nil {
		return &answer{state: "hang", message: fmt.Sprintf("no answer after %s", hang)}
	}
	return &answer{state: "lost", message: err.Error()}
}

// cutter cuts the tables of a node into ranges at random rows and index entries.
type cutter struct {
	n *node.Node
	r *rand.Rand
	// known are keys of each table, as of the last time that no transaction was open.
	known map[uint64][]keys.Key
	cuts  int
}

// cut splits at n random keys of the table with that number, of its rows or of any of its indexes.
func (c *cutter) cut(ctx context.Context, table uint64, n int, open bool) error {
	if !open {
		all, err := c.keysOf(ctx, table)
		if err != nil {
			return err
		}
		c.known[table] = all
	}
	all := c.known[table]
	if len(all) == 0 {
		return nil
	}
	for range n {
		k := all[c.r.IntN(len(all))]
		if _, err := c.n.Sender().Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: k}}}); err != nil {
			return fmt.Errorf("split at %x: %w", []byte(k), err)
		}
		c.cuts++
	}
	return nil
}

// mislead writes statistics that have nothing to do with what is in the table, so that plans are chosen which its size would not suggest.
func (c *cutter) mislead(ctx context.Context, table uint64) error {
	t := c.n.Gateway().Begin(ctx, txn.Options{})
	w, err := c.n.Catalog().Writer(ctx, t, nil)
	if err == nil {
		if desc, ok := w.Snapshot().TableByID(catalog.TableID(table)); ok {
			st := catalog.TableStats{Rows: pick(c.r, 1.0, 20, 300, 5000, 1e6), Distinct: map[catalog.ColumnID]float64{}}
			for _, col := range desc.Columns {
				st.Distinct[col.ID] = max(1, st.Rows*pick(c.r, 0, 0.01, 0.3, 1))
			}
			err = w.PutStats(desc.ID, st)
		}
	}
	var at hlc.Timestamp
	if err == nil {
		at, err = t.Commit(ctx)
	}
	if err != nil {
		t.Rollback(ctx)
		return err
	}
	c.n.Catalog().Await(ctx, at) // else the program might be over before they are gone by
	return nil
}

func (c *cutter) keysOf(ctx context.Context, table uint64) (all []keys.Key, err error) {
	t := c.n.Gateway().Begin(ctx, txn.Options{ReadOnly: true})
	defer t.Rollback(ctx)
	snap, err := c.n.Catalog().Snapshot(ctx, t)
	if err != nil {
		return nil, err
	}
	desc, ok := snap.TableByID(catalog.TableID(table))
	if !ok {
		return nil, fmt.Errorf("there is no table %d", table)
	}
	sc := t.Scan(ctx, []keys.Span{{Start: keys.Table(desc.DataID), End: keys.Table(desc.DataID + 1)}}, txn.ScanOptions{})
	defer sc.Close()
	for {
		page, ok, err := sc.Next(ctx)
		if err != nil || !ok {
			return all, err
		}
		for {
			k, _, ok, err := page.Rows.Next()
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			all = append(all, append(keys.Key(nil), k...))
		}
	}
}

// refusal is what a message of 0A000 is about, without names that differ.
func refusal(message string) string {
	m, _, _ := strings.Cut(message, " (")
	return m
}
