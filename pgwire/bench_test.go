package pgwire

import (
	"bytes"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// execution is what a client sends for one execution of a prepared statement.
func execution() []byte {
	var b []byte
	for _, m := range []pgproto3.FrontendMessage{
		&pgproto3.Bind{PreparedStatement: "P0_1", Parameters: [][]byte{[]byte("12345")}}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{},
	} {
		var err error
		if b, err = m.Encode(b); err != nil {
			panic(err)
		}
	}
	return b
}

// loop is a reader that repeats its bytes.
type loop struct {
	b  []byte
	at int
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.b[l.at:])
	l.at = (l.at + n) % len(l.b)
	return n, nil
}

func BenchmarkDecode(b *testing.B) {
	b.Run("own", func(b *testing.B) {
		r := newReader(&loop{b: execution()})
		r.max = DefaultMaxMessage
		var m bindMessage
		b.ReportAllocs()
		for range b.N {
			for {
				typ, body, err := r.next()
				if err != nil {
					b.Fatal(err)
				}
				d := decoder{b: body}
				switch typ {
				case msgBind:
					err = m.decode(body)
				case msgDescribe:
					d.byte()
					d.cstring()
					err = d.end()
				case msgExecute:
					d.cstring()
					d.int32()
					err = d.end()
				}
				if err != nil {
					b.Fatal(err)
				}
				if typ == msgSync {
					break
				}
			}
		}
	})
	b.Run("pgproto3", func(b *testing.B) {
		be := pgproto3.NewBackend(&loop{b: execution()}, io.Discard)
		be.SetMaxBodyLen(DefaultMaxMessage)
		b.ReportAllocs()
		for range b.N {
			for {
				m, err := be.Receive()
				if err != nil {
					b.Fatal(err)
				}
				if _, ok := m.(*pgproto3.Sync); ok {
					break
				}
			}
		}
	})
}

// BenchmarkRow encodes a row of an int4, an int8 and a text.
func BenchmarkRow(b *testing.B) {
	fields := []plan.Field{{Name: "a", Type: types.Of(types.Int4OID)}, {Name: "b", Type: types.Of(types.Int8OID)}, {Name: "c", Type: types.Of(types.TextOID)}}
	batch := types.NewBatch([]types.Type{fields[0].Type, fields[1].Type, fields[2].Type}, 1)
	batch.N = 1
	batch.Cols[0].AppendDatum(types.NewInt(12345))
	batch.Cols[1].AppendDatum(types.NewInt(1234567890123))
	batch.Cols[2].AppendDatum(types.NewString("some text of a usual length"))
	for _, format := range []int16{0, 1} {
		b.Run([]string{"text", "binary"}[format], func(b *testing.B) {
			c := &conn{}
			c.w.dst = io.Discard
			shape := &sql.RowShape{Fields: fields, Formats: []int16{format, format, format}, Text: types.DefaultEnv}
			b.ReportAllocs()
			for range b.N {
				if err := c.Rows(shape, batch, 0, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("pgproto3", func(b *testing.B) {
		be := pgproto3.NewBackend(&bytes.Buffer{}, io.Discard)
		b.ReportAllocs()
		for range b.N {
			var vals [3][]byte
			for i, f := range fields {
				vals[i] = types.AppendText(nil, f.Type, batch.Cols[i], 0, types.DefaultEnv)
			}
			be.Send(&pgproto3.DataRow{Values: vals[:]})
			if err := be.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
