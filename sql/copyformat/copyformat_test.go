package copyformat

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// kept is a RowWriter that keeps the rows as text, NULL as a nil pointer.
type kept struct {
	ts   []types.Type
	rows [][]*string
}

func (k *kept) Write(_ context.Context, b *types.Batch) error {
	for i := range b.N {
		row := make([]*string, len(k.ts))
		for j, v := range b.Cols {
			if !v.IsNull(i) {
				s := string(types.AppendText(nil, k.ts[j], v, i, env))
				row[j] = &s
			}
		}
		k.rows = append(k.rows, row)
	}
	return nil
}

func (k *kept) Close(context.Context) (int64, error) { return int64(len(k.rows)), nil }

func (k *kept) String() string {
	var b strings.Builder
	for _, r := range k.rows {
		for _, v := range r {
			if v == nil {
				b.WriteString("NULL|")
			} else {
				fmt.Fprintf(&b, "%q|", *v)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

var (
	env     = &types.TextEnv{DateStyle: 'I', DateOrder: 'M', IntervalStyle: 'p', ExtraFloatDigits: 1}
	columns = []types.Type{types.Of(types.Int8OID), types.Of(types.TextOID), types.Of(types.ByteaOID)}
	names   = []string{"n", "t", "b"}
)

// read feeds data in the given pieces.
func read(o *Options, pieces ...[]byte) (rows string, err error) {
	k := &kept{ts: columns}
	r, err := NewReader(o, "t", names, columns, env, k)
	if err != nil {
		return "", err
	}
	_, err = r.Run(context.Background(), func() ([]byte, error) {
		if len(pieces) == 0 {
			return nil, io.EOF
		}
		p := pieces[0]
		pieces = pieces[1:]
		return bytes.Clone(p), nil
	})
	return k.String(), err
}

// cut cuts data into pieces at random.
func cut(rng *rand.Rand, data []byte) [][]byte {
	var out [][]byte
	for len(data) > 0 {
		n := 1 + rng.IntN(min(len(data), 40))
		out = append(out, data[:n])
		data = data[n:]
	}
	return out
}

func options(t testing.TB, opts ...ast.Option) *Options {
	o, err := ParseOptions(&ast.Copy{From: true, Options: opts})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

var formats = map[string][]ast.Option{
	"text":         nil,
	"text, comma":  {{Name: "delimiter", Text: ","}, {Name: "null", Text: "(null)"}},
	"csv":          {{Name: "format", Text: "csv"}},
	"csv, odd":     {{Name: "format", Text: "csv"}, {Name: "delimiter", Text: ";"}, {Name: "quote", Text: "'"}, {Name: "escape", Text: "\\"}},
	"binary":       {{Name: "format", Text: "binary"}},
	"csv, headers": {{Name: "format", Text: "csv"}, {Name: "header", Text: "true"}},
}

// TestRoundTrip: what is written is read as the same rows, however it is cut (invariants 1 and 2).
func TestRoundTrip(t *testing.T) {
	nasty := []string{"", `\.`, `\N`, "a\tb", "a\nb", "a\r\nb", `"`, `""`, `'`, `\`, ",", ";", "nothing", " x ", "grüße", "\b\f\v", `\x41`, "a\\", "NULL"}
	for name, opts := range formats {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(30) {
				rng := rand.New(rand.NewPCG(seed, 1))
				b := types.NewBatch(columns, 64)
				b.N = rng.IntN(64)
				for range b.N {
					b.Cols[0].AppendDatum(types.NewInt(rng.Int64() - rng.Int64()))
					s := ""
					for range rng.IntN(4) {
						s += nasty[rng.IntN(len(nasty))]
					}
					for _, v := range b.Cols[1:] {
						switch rng.IntN(5) {
						case 0:
							v.AppendNull()
						default:
							v.AppendDatum(types.NewString(s))
						}
					}
				}
				want := &kept{ts: columns}
				if err := want.Write(context.Background(), b); err != nil {
					t.Fatal(err)
				}
				o := options(t, opts...)
				fields := make([]plan.Field, len(columns))
				for i := range fields {
					fields[i] = plan.Field{Name: names[i], Type: columns[i]}
				}
				w, err := NewWriter(o, fields, env, "t")
				if err != nil {
					t.Fatal(err)
				}
				data := bytes.Clone(w.Header())
				for i := range b.N {
					row, err := w.Row(b, i)
					if err != nil {
						t.Fatal(err)
					}
					data = append(data, row...)
				}
				data = append(data, w.Trailer()...)
				got, err := read(o, cut(rng, data)...)
				if err != nil {
					t.Fatalf("seed %d: %v\n%q", seed, err, data)
				}
				if got != want.String() {
					t.Fatalf("seed %d: wrote\n%sread\n%sdata %q", seed, want, got, data)
				}
			}
		})
	}
}

// FuzzReader: any data is read or refused, and its pieces make no difference.
func FuzzReader(f *testing.F) {
	for i, s := range []string{"1\ta\t\\\\x00\n", "1,a,\"b\nc\"\n\\.\n", "2\t\\N\t\\N\r\n3\tx\ty", "PGCOPY\n\377\r\n\000\000\000\000\000\000\000\000\000\000\003", "1,\"a\"\"b\",\\x12\r2,,\r", "\\.\n5\t6\t7"} {
		f.Add([]byte(s), uint8(i), uint64(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, format uint8, seed uint64) {
		order := []string{"text", "text, comma", "csv", "csv, odd", "binary", "csv, headers"}
		o := options(t, formats[order[int(format)%len(order)]]...)
		whole, err1 := read(o, data)
		parts, err2 := read(o, cut(rand.New(rand.NewPCG(seed, 2)), data)...)
		if fmt.Sprint(err1) != fmt.Sprint(err2) || whole != parts {
			t.Fatalf("in one piece:\n%s%v\nin several:\n%s%v", whole, err1, parts, err2)
		}
	})
}
