package kv

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
)

var allRequests = []Request{
	&Get{}, &Scan{}, &Refresh{}, &Put{}, &Delete{}, &Increment{}, &CommitSingleRange{}, &Prepare{}, &StageTxn{},
	&EndTxn{}, &ResolveLocks{}, &ReleaseLocks{}, &QueryPrepared{}, &RecoverTxn{}, &QueryCommit{}, &GC{}, &Checksum{},
	&AdminSplit{}, &AdminTransferLeader{}, &AdminChangeReplicas{}, &BulkWrite{}, &ResolveSpan{}, &UndoSpan{},
	&AdminMerge{}, &AdminEndMerge{}, &ForgetTxns{},
}

var allResponses = []Response{
	&GetResponse{}, &ScanResponse{}, &RefreshResponse{}, &PutResponse{}, &DeleteResponse{}, &IncrementResponse{},
	&CommitSingleRangeResponse{}, &PrepareResponse{}, &StageTxnResponse{}, &EndTxnResponse{}, &ResolveLocksResponse{},
	&ReleaseLocksResponse{}, &QueryPreparedResponse{}, &RecoverTxnResponse{}, &QueryCommitResponse{}, &GCResponse{},
	&ChecksumResponse{}, &AdminSplitResponse{}, &AdminTransferLeaderResponse{}, &AdminChangeReplicasResponse{},
	&BulkWriteResponse{}, &ResolveSpanResponse{}, &UndoSpanResponse{},
	&AdminMergeResponse{}, &AdminEndMergeResponse{}, &ForgetTxnsResponse{},
}

// testProgram is a pushdown and a result that is nothing but its wire form.
type testProgram struct{ Text string }

func (p *testProgram) NewProcessor() Processor                  { return nil }
func (p *testProgram) AppendWire(dst []byte) ([]byte, error)    { return append(dst, p.Text...), nil }
func (testDecoder) DecodePushdown(b []byte) (Pushdown, error)   { return decodeTestProgram(b) }
func (testDecoder) DecodeResult(b []byte) (r Result, err error) { return decodeTestProgram(b) }

type testDecoder struct{}

func decodeTestProgram(b []byte) (*testProgram, error) {
	if bytes.HasPrefix(b, []byte("bad")) {
		return nil, errors.New("not a program")
	}
	return &testProgram{Text: string(b)}, nil
}

var enumLimits = map[reflect.Type]int{
	reflect.TypeFor[LockStrength](): int(LockUpdate) + 1,
	reflect.TypeFor[ReplicaType]():  int(NonVoter) + 1,
	reflect.TypeFor[TxnStatus]():    int(TxnOpen) + 1,
	reflect.TypeFor[Isolation]():    int(ReadCommitted) + 1,
	reflect.TypeFor[WaitPolicy]():   int(WaitSkip) + 1,
	reflect.TypeFor[Code]():         int(numCodes),
}

// fill sets every field of v to something random that the wire form can carry: the
// test then finds a field that the codec forgot, also one added later.
func fill(t testing.TB, r *rand.Rand, v reflect.Value) {
	if lim, ok := enumLimits[v.Type()]; ok {
		v.SetUint(uint64(r.IntN(lim)))
		return
	}
	switch v.Interface().(type) {
	case hlc.Timestamp:
		v.Set(reflect.ValueOf(hlc.Timestamp{WallTime: r.Int64N(1 << 62), Logical: r.Uint32() >> r.IntN(32)}))
		return
	case ReadSpan:
		var s ReadSpan
		fill(t, r, reflect.ValueOf(&s.Span).Elem())
		fill(t, r, reflect.ValueOf(&s.At).Elem())
		if r.IntN(2) == 0 { // a single key
			s.Existence = true
			s.Span = keys.Span{Start: append(keys.Key{1}, s.Span.Start...)}
		} else if s.Span.End.Equal(s.Span.Start) {
			s.Span.End = append(s.Span.End, 1)
		}
		v.Set(reflect.ValueOf(s))
		return
	case AdminChangeReplicas:
		var q AdminChangeReplicas
		for _, f := range []any{&q.Generation, &q.Add, &q.Remove, &q.Gentle} {
			fill(t, r, reflect.ValueOf(f).Elem())
		}
		for i := range q.Add {
			q.Add[i].ReplicaID = 0 // it has none yet
		}
		q.Gentle = q.Gentle && len(q.Add) > 0
		v.Set(reflect.ValueOf(q))
		return
	case Rows:
		var rows Rows
		for range r.IntN(4) {
			rows.Append([]byte("k"), make([]byte, r.IntN(5)))
		}
		v.Set(reflect.ValueOf(rows))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int32, reflect.Int64, reflect.Int:
		n := int64(r.Uint64()) >> r.IntN(64)
		if v.Kind() == reflect.Int32 {
			n = int64(int32(n))
		}
		v.SetInt(n)
	case reflect.Uint8:
		v.SetUint(uint64(r.IntN(256)))
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(r.Uint64() & (1<<v.Type().Bits() - 1))
	case reflect.String:
		v.SetString(string(make([]byte, r.IntN(20))))
	case reflect.Array:
		for i := range v.Len() {
			fill(t, r, v.Index(i))
		}
	case reflect.Slice:
		n := r.IntN(4)
		if n == 0 && v.Type().Elem().Kind() != reflect.Uint8 {
			v.SetZero() // nil and empty are the same on the wire, but for bytes
			return
		}
		if n == 0 && r.IntN(2) == 0 {
			v.SetZero()
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(t, r, v.Index(i))
		}
	case reflect.Map:
		n := r.IntN(4)
		if n == 0 {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range n {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, r, k)
			fill(t, r, e)
			v.SetMapIndex(k, e)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() { // the rest stays at the gateway
				fill(t, r, v.Field(i))
			}
		}
	case reflect.Pointer:
		if r.IntN(3) == 0 {
			v.SetZero()
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, r, v.Elem())
	case reflect.Interface:
		if r.IntN(2) == 0 {
			v.SetZero()
			return
		}
		v.Set(reflect.ValueOf(&testProgram{Text: "prog"[:r.IntN(5)]}))
	default:
		t.Fatalf("codec test cannot fill %s", v.Type())
	}
}

func randomRequest(t testing.TB, r *rand.Rand) *BatchRequest {
	b := &BatchRequest{}
	v := reflect.ValueOf(b).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Name != "Requests" && f.IsExported() {
			fill(t, r, v.Field(i))
		}
	}
	for range r.IntN(4) {
		p := reflect.New(reflect.TypeOf(allRequests[r.IntN(len(allRequests))]).Elem())
		fill(t, r, p.Elem())
		b.Requests = append(b.Requests, p.Interface().(Request))
	}
	return b
}

func randomResponse(t testing.TB, r *rand.Rand) *BatchResponse {
	b := &BatchResponse{}
	v := reflect.ValueOf(b).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Name != "Responses" {
			fill(t, r, v.Field(i))
		}
	}
	for range r.IntN(4) {
		p := reflect.New(reflect.TypeOf(allResponses[r.IntN(len(allResponses))]).Elem())
		fill(t, r, p.Elem())
		b.Responses = append(b.Responses, p.Interface().(Response))
	}
	return b
}

// Everything that can be sent arrives as it was sent: every type, every field.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 50 * len(allRequests) {
		q := randomRequest(t, r)
		if i < 20*len(allRequests) { // every type many times, alone
			p := reflect.New(reflect.TypeOf(allRequests[i%len(allRequests)]).Elem())
			fill(t, r, p.Elem())
			q.Requests = []Request{p.Interface().(Request)}
		}
		b, err := q.AppendWire(nil)
		require.NoError(t, err)
		back, err := DecodeBatchRequest(b, testDecoder{})
		require.NoError(t, err, "%#v", q)
		require.Equal(t, q, back)
	}
	for i := range 50 * len(allResponses) {
		q := randomResponse(t, r)
		if i < 20*len(allResponses) {
			p := reflect.New(reflect.TypeOf(allResponses[i%len(allResponses)]).Elem())
			fill(t, r, p.Elem())
			q.Responses = []Response{p.Interface().(Response)}
		}
		b, err := q.AppendWire(nil)
		require.NoError(t, err)
		back, err := DecodeBatchResponse(b, testDecoder{})
		require.NoError(t, err, "%#v", q)
		require.Equal(t, q, back)
	}
	for range 500 {
		var e Error
		fill(t, r, reflect.ValueOf(&e).Elem())
		back, err := DecodeError(e.AppendWire(nil))
		require.NoError(t, err)
		require.Equal(t, &e, back)

		var d RangeDescriptor
		fill(t, r, reflect.ValueOf(&d).Elem())
		dback, err := DecodeRangeDescriptor(d.AppendWire(nil))
		require.NoError(t, err)
		require.Equal(t, d, dback)

		var rec TxnRecord
		fill(t, r, reflect.ValueOf(&rec).Elem())
		rback, err := DecodeTxnRecord(rec.AppendWire(nil))
		require.NoError(t, err)
		require.Equal(t, rec, rback)

		var l LockRecord
		fill(t, r, reflect.ValueOf(&l).Elem())
		lback, err := DecodeLockRecord(l.AppendWire(nil))
		require.NoError(t, err)
		require.Equal(t, l, lback)
	}
}

// The lists above are complete: a type that is missing has no codec test.
func TestEveryRequestHasResponse(t *testing.T) {
	require.Len(t, allResponses, len(allRequests))
	for i := range allRequests {
		require.Equal(t, reflect.TypeOf(allRequests[i]).Elem().Name()+"Response", reflect.TypeOf(allResponses[i]).Elem().Name())
		b, err := appendRequest(nil, allRequests[i])
		require.NoError(t, err)
		c, err := appendResponse(nil, allResponses[i])
		require.NoError(t, err)
		require.Equal(t, b[0], c[0], "tags of %T", allRequests[i])
		require.EqualValues(t, i+1, b[0])
	}
}

func TestDecodeRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		q := randomRequest(t, r)
		b, err := q.AppendWire(nil)
		require.NoError(t, err)
		for cut := range b {
			_, err := DecodeBatchRequest(b[:cut], testDecoder{})
			require.ErrorIs(t, err, ErrWire, "cut at %d of %d", cut, len(b))
		}
		_, err = DecodeBatchRequest(append(b, 0), testDecoder{})
		require.ErrorIs(t, err, ErrWire)
		b[0] = WireVersion + 1
		_, err = DecodeBatchRequest(b, testDecoder{})
		require.ErrorContains(t, err, "wire version 2, this node speaks 1")
	}
	bad := &BatchRequest{Requests: []Request{&Scan{Pushdown: &testProgram{Text: "bad"}}}}
	b, err := bad.AppendWire(nil)
	require.NoError(t, err)
	_, err = DecodeBatchRequest(b, testDecoder{})
	require.ErrorContains(t, err, "not a program")
	_, err = DecodeBatchRequest(b, nil)
	require.ErrorIs(t, err, ErrWire)
}

// A count in the message cannot make the decoder allocate more than a small multiple of the message.
func TestDecodeAllocatesWithinReason(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}
	msg := append([]byte{WireVersion}, 0, 0, 0, 0) // now, served by, read ts
	msg = append(msg[:4], huge...)
	n := testing.AllocsPerRun(10, func() {
		_, err := DecodeBatchResponse(msg, nil)
		require.ErrorIs(t, err, ErrWire)
	})
	require.Less(t, n, 20.0)
}

func seeds(f *testing.F, enc func(r *rand.Rand) []byte) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 60 {
		f.Add(enc(r))
	}
}

// What decodes, encodes, and decodes to the same again.
func FuzzBatchRequest(f *testing.F) {
	seeds(f, func(r *rand.Rand) []byte { b, _ := randomRequest(f, r).AppendWire(nil); return b })
	f.Fuzz(func(t *testing.T, in []byte) {
		q, err := DecodeBatchRequest(in, testDecoder{})
		if err != nil {
			return
		}
		b, err := q.AppendWire(nil)
		require.NoError(t, err)
		back, err := DecodeBatchRequest(b, testDecoder{})
		require.NoError(t, err)
		require.Equal(t, q, back)
	})
}

func FuzzBatchResponse(f *testing.F) {
	seeds(f, func(r *rand.Rand) []byte { b, _ := randomResponse(f, r).AppendWire(nil); return b })
	f.Fuzz(func(t *testing.T, in []byte) {
		q, err := DecodeBatchResponse(in, testDecoder{})
		if err != nil {
			return
		}
		b, err := q.AppendWire(nil)
		require.NoError(t, err)
		back, err := DecodeBatchResponse(b, testDecoder{})
		require.NoError(t, err)
		require.Equal(t, q, back)
	})
}

func FuzzError(f *testing.F) {
	seeds(f, func(r *rand.Rand) []byte {
		var e Error
		fill(f, r, reflect.ValueOf(&e).Elem())
		return e.AppendWire(nil)
	})
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := DecodeError(in)
		if err != nil {
			return
		}
		back, err := DecodeError(e.AppendWire(nil))
		require.NoError(t, err)
		require.Equal(t, e, back)
		_, _ = DecodeRangeDescriptor(in)
		_, _ = DecodeTxnRecord(in)
		_, _ = DecodeLockRecord(in)
	})
}

func BenchmarkCodecPointRead(b *testing.B) {
	q := &BatchRequest{RangeID: 7, Now: hlc.Timestamp{WallTime: 1 << 60}, Timestamp: hlc.Timestamp{WallTime: 1 << 60},
		Txn: &TxnMeta{ReadTS: hlc.Timestamp{WallTime: 1 << 60}}, Requests: []Request{&Get{Key: []byte("0123456789abcdef")}}}
	var buf []byte
	b.ReportAllocs()
	for range b.N {
		buf, _ = q.AppendWire(buf[:0])
		if _, err := DecodeBatchRequest(buf, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDeadlockRoundTrip(t *testing.T) {
	at := hlc.Timestamp{WallTime: 5}
	cycle := []Deadlock{
		{Waiter: MakeSessionTxnID(at, 7, 1), Holder: MakeSessionTxnID(at, 1<<31-1, 1<<63+2), Key: keys.Key("k")},
		{Waiter: MakeSessionTxnID(at, 0, 3), Holder: MakeTxnID(at, 4)},
	}
	require.EqualValues(t, 7, cycle[0].Waiter.Session())
	require.EqualValues(t, 1<<31-1, cycle[0].Holder.Session())
	require.Zero(t, cycle[1].Waiter.Session(), "an id without a session names none")
	b := AppendDeadlock(nil, cycle)
	got, ok := DecodeDeadlock(b)
	require.True(t, ok)
	require.Equal(t, cycle[0], got[0])
	require.Equal(t, cycle[1].Holder, got[1].Holder)
	_, ok = DecodeDeadlock([]byte("something else"))
	require.False(t, ok)
}

func TestRecordsOfEveryStatus(t *testing.T) {
	for s := TxnUnknown; s <= TxnPrepared; s++ {
		for _, spans := range [][]keys.Span{nil, {{Start: keys.Key("a"), End: keys.Key("b")}}} {
			r := TxnRecord{Status: s, CommitTS: hlc.Timestamp{WallTime: 3}, Prepared: []keys.Key{keys.Key("k")}, Spans: spans, Held: s == TxnCommitted && spans == nil}
			got, err := DecodeTxnRecord(r.AppendWire(nil))
			require.NoError(t, err)
			require.Equal(t, s, got.Status)
			require.Equal(t, spans, got.Spans)
			require.Equal(t, r.Held, got.Held)
		}
	}
}

// A gentle change is one to nodes that do not know of them: they read the ids of replicas to add and make no use of them.
func TestGentleChangeToOlderNodes(t *testing.T) {
	q := &AdminChangeReplicas{Generation: 7, Add: []Replica{{NodeID: 4, StoreID: 4}, {NodeID: 5, StoreID: 5, Type: NonVoter}}, Remove: []Replica{{NodeID: 1, StoreID: 1}}}
	wire := func() []byte {
		b, err := appendRequest(nil, q)
		require.NoError(t, err)
		return b
	}
	plain := wire()
	q.Gentle = true
	d := decoder{b: wire()[1:]}
	require.Len(t, wire(), len(plain))
	require.Equal(t, q.Generation, d.varint())
	for i, r := range d.replicas() {
		require.EqualValues(t, gentleReplica, r.ReplicaID)
		r.ReplicaID = 0
		require.Equal(t, q.Add[i], r)
	}
	require.Equal(t, q.Remove, d.replicas())
	require.NoError(t, d.finish())
}
