package sql

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// fuzzTexts are statements that exercise the session's states.
var fuzzTexts = []string{
	"select 1", "select v from f where id = 1", "update f set v = v + 1 where id = 1", "insert into f values (1, 1)", "insert into f values (2, 2)", "delete from f",
	"select 1/0", "select nosuch", "syntax error here", "", ";", "begin", "commit", "rollback", "savepoint a", "rollback to a", "release a", "begin; select 1; commit",
	"select 1; select nosuch", "declare c cursor for select id from f", "fetch 1 from c", "fetch all from c", "close c", "set work_mem = '1MB'", "set local work_mem = '2MB'",
	"show work_mem", "prepare p as select v from f where id = $1", "execute p(1)", "deallocate p", "deallocate all", "create table g (a int)", "drop table g", "discard all",
	"select * from f where id = $1", "select $1::int + $2", "copy f from stdin", "copy f to stdout", "explain select * from f", "begin read only", "commit and chain",
	"declare h cursor with hold for select 1", "fetch 1 from h", "set default_transaction_isolation = 'read committed'", "begin isolation level read committed", "table f",
}

// FuzzSession drives two sessions over one store with arbitrary sequences of messages, and checks what must always hold.
func FuzzSession(f *testing.F) {
	f.Add([]byte{0, 11, 0, 2, 0, 12})
	f.Add([]byte{0, 11, 0, 7, 0, 0, 0, 12})
	f.Add([]byte{2, 33, 3, 0, 4, 0, 5, 0})
	f.Add([]byte{0, 11, 0, 19, 0, 20, 0, 2, 0, 21, 0, 12})
	f.Add([]byte{2, 1, 3, 0, 4, 1, 0, 0x82, 5, 0, 4, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 200 {
			ops = ops[:200]
		}
		w := newWorld(t)
		first := w.session()
		first.must("create table f (id int primary key, v int)")
		ks := []*talker{first, w.session()}
		broken := [2]bool{} // after an error in the extended protocol: until Sync
		for i := 0; i+1 < len(ops); i += 2 {
			who := int(ops[i]>>7) & 1
			k, arg := ks[who], ops[i+1]
			text := fuzzTexts[int(arg)%len(fuzzTexts)]
			k.c.copy = [][]byte{[]byte("7\t7\n")}
			op := ops[i] & 0x7f % 9
			if broken[who] && op != 5 {
				continue
			}
			before := k.Status()
			var err error
			name := []byte("abc"[:arg%2])
			switch op {
			case 0, 1:
				err = k.Query(text)
			case 2:
				err = k.Parse(string(name), text, nil)
			case 3:
				err = k.Bind(name, name, nil, [][]byte{[]byte("1"), nil}[:arg>>1%3], []int16{int16(arg >> 4 & 1)})
			case 4:
				err = k.Execute(name, int(arg>>1)%3)
			case 5:
				broken[who] = false
				err = k.Sync()
				if k.Status() == 'I' && k.tx != nil {
					t.Fatal("idle with a transaction")
				}
			case 6:
				_, _, err = k.DescribeStatement(name)
			case 7:
				_, err = k.DescribePortal(name)
			case 8:
				k.CloseStatement(name)
				k.ClosePortal(name)
			}
			if err != nil {
				e, ok := pgerr.As(err)
				require.True(t, ok, "%v", err)
				require.Len(t, e.Code, 5)
				require.NotEqual(t, pgerr.InternalError, e.Code, "%s: %v", text, err)
				if before == 'T' && k.Status() == 'T' && e.Code != pgerr.ProtocolViolation {
					t.Fatalf("error %v left the block open", err)
				}
				broken[who] = op >= 2
			}
			if op < 2 && k.Status() == 'I' && k.tx != nil {
				t.Fatalf("idle with a transaction after %q", text)
			}
			k.c.base += int64(len(k.c.buf))
			k.c.buf = k.c.buf[:0]
		}
	})
}
