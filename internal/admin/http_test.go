package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/verb"
)

// Whatever is sent, it is refused as a problem of the asker's, or is arguments that the verb takes.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"table": "t", "values": [1, "x", true]}`, `{"from": 1, "to": 2}`, `{"force": true}`, `{"value": "x", "of": "table t"}`, `[`, `{"from": 1e3}`,
		`{"from": 99999999999999999999}`, `{"table": "\u0000"}`, `{"a": {"b": [1]}}`, `null`, `{"from": 1} x`} {
		f.Add(s, "wait=1", "7")
	}
	f.Add("", "limit=1&state=ok&key=1&key=2", "0")
	f.Add("", "wait=x", "-1")
	f.Fuzz(func(t *testing.T, body, query, path string) {
		for i := range verb.Table {
			v := &verb.Table[i]
			r := httptest.NewRequest(v.Method, "/", strings.NewReader(body))
			r.URL.RawQuery = query
			r.Header.Set("Content-Type", "application/json")
			for _, p := range v.Params {
				if p.In == verb.Path {
					r.SetPathValue(p.Name, path)
				}
			}
			a, wait, err := decode(r, v)
			if err != nil {
				p := AsProblem(err)
				require.True(t, p.Status >= 400 && p.Status < 500, "%s: %d %s", v.Name, p.Status, p.Detail)
				continue
			}
			require.NoError(t, v.Check(a))
			require.True(t, wait >= -1 && wait <= waitMost)
			require.True(t, v.Changes() || wait == -1)
		}
	})
}

// A record gives back what was stored.
func TestRecord(t *testing.T) {
	r := &record{Version: recordVersion, Begun: true, Prepared: "01", Incarnation: 7, Op: Operation{ID: 3, Verb: "split_at", User: "u", Key: "k", State: Running,
		Args: verb.Args{"table": "t", "values": []string{"1", "2"}, "n": int64(1) << 40, "b": true}, LeftSeconds: new(2.0), Error: NewProblem(CodeConflict, "no").WithHint("yes")}}
	b, err := encodeRecord(r)
	require.NoError(t, err)
	back, err := decodeRecord(nil, b)
	require.NoError(t, err)
	require.Equal(t, r, back)
	require.True(t, same(&back.Op, "split_at", r.Op.Args))
	require.False(t, same(&back.Op, "split_at", verb.Args{"table": "t"}))
	_, err = decodeRecord(nil, []byte(`{"v": 2}`))
	require.ErrorContains(t, err, "version 2")
	_, err = decodeRecord(nil, []byte(`{`))
	require.Error(t, err)
}

// At follows paths as columns do.
func TestAt(t *testing.T) {
	items, err := Items([]byte(`{"ranges": [{"id": 1, "replicas": [{"node_id": 3}, {"node_id": 1}], "rates": {"cpu": 0.12345}}], "next": "x"}`), "ranges")
	require.NoError(t, err)
	require.Len(t, items, 1)
	text := func(c verb.Column) string {
		s := sqlText(&c, At(items[0], c.Path()))
		if s == nil {
			return "NULL"
		}
		return *s
	}
	require.Equal(t, "{3,1}", text(verb.Column{Name: "replicas", Field: "replicas.node_id", Type: "int4[]"}))
	require.Equal(t, "3,1", text(verb.Column{Name: "replicas", Field: "replicas.node_id", Type: "text"}))
	require.Equal(t, "0.123", text(verb.Column{Name: "cpu", Field: "rates.cpu", As: "rate"}))
	require.Equal(t, "1", text(verb.Column{Name: "id"}))
	require.Equal(t, "NULL", text(verb.Column{Name: "nix", Field: "rates.nix.nix"}))
}

// A request may take longer than its body may: the deadline of one does not end the other. A body that does not come does.
func TestDeadlines(t *testing.T) { synctest.Test(t, testDeadlines) }

func testDeadlines(t *testing.T) {
	s := New(Config{Here: map[string]Look{"status": LookAt(func(ctx context.Context, _ verb.Args) (map[string]bool, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * readWithin):
			return map[string]bool{"whole": true}, nil
		}
	})}})
	near, far := net.Pipe()
	l := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conn <- far
	srv := &http.Server{Handler: s}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) }) // it is closed in the end
	defer wg.Wait()
	defer srv.Close()
	dialed := false
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		if dialed {
			return nil, errors.New("the connection was not kept")
		}
		dialed = true
		return near, nil
	}}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	for range 2 { // the second on the same connection
		began := time.Now()
		resp, err := client.Get("http://node" + Prefix + "/status")
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 200, resp.StatusCode, "%s", b)
		require.Equal(t, 2*readWithin, time.Since(began))
	}
	began := time.Now()
	r, w := io.Pipe()
	defer w.Close()
	resp, err := client.Post("http://node"+Prefix+"/ranges/split", "application/json", r)
	if err == nil { // else the connection was closed before the answer was read
		require.Equal(t, 400, resp.StatusCode)
		require.NoError(t, resp.Body.Close())
	}
	require.Equal(t, readWithin, time.Since(began))
}

// oneConn listens for one connection, which is there already.
type oneConn struct {
	conn   chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "one", Net: "unix"} }

// Requests beyond the most at once are refused at once, and told when to come again.
func TestTooManyRequests(t *testing.T) {
	s := New(Config{})
	for range maxRequests {
		s.slots <- struct{}{}
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, Prefix+"/nodes", nil))
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
}
