package kv

import (
	"encoding/binary"
	"fmt"

	"github.com/pamirdb/pamir/range/keys"
)

// Rows is a run of key-value pairs in one buffer: (uvarint key length, key,
// uvarint value length, value) repeated. The zero Rows is empty.
type Rows struct {
	Count int
	Data  []byte
}

// Append adds a row.
func (r *Rows) Append(key, value []byte) {
	r.Data = binary.AppendUvarint(r.Data, uint64(len(key)))
	r.Data = append(r.Data, key...)
	r.Data = binary.AppendUvarint(r.Data, uint64(len(value)))
	r.Data = append(r.Data, value...)
	r.Count++
}

// Next takes the first row off; ok is false at the end. Key and value alias r's buffer.
func (r *Rows) Next() (key keys.Key, value []byte, ok bool, err error) {
	if len(r.Data) == 0 {
		return nil, nil, false, nil
	}
	take := func() ([]byte, bool) {
		n, w := binary.Uvarint(r.Data)
		if w <= 0 || n > uint64(len(r.Data)-w) {
			return nil, false
		}
		v := r.Data[w : w+int(n) : w+int(n)]
		r.Data = r.Data[w+int(n):]
		return v, true
	}
	k, ok1 := take()
	v, ok2 := take()
	if !ok1 || !ok2 {
		return nil, nil, false, fmt.Errorf("kv: corrupt row block: %w", keys.ErrCorrupt)
	}
	r.Count--
	return k, v, true, nil
}

// Pushdown is a program that runs beside the data: filter, projection,
// partial aggregation, limit. The layers above range/ implement it; ranges only run it.
// A Pushdown is immutable and may be used by several goroutines.
type Pushdown interface {
	// NewProcessor makes the state for one Scan on one range. Processors of
	// finished scans may be pooled by the implementation (Processor.Close).
	NewProcessor() Processor
	// AppendWire appends a form that the PushdownDecoder understands.
	AppendWire(dst []byte) ([]byte, error)
}

// Processor takes the visible rows of a scan, in order. It is used by one goroutine.
type Processor interface {
	// Row is offered a row. keep reports whether it passed the filter: such
	// rows count against MaxRows, and are locked if the scan locks (the lock is taken
	// after Row says keep; a row that must wait is offered again from a fresh processor).
	// key and value are valid during the call only. An error must be a *Error or
	// is reported as CodePushdown with its text.
	Row(key, value []byte) (keep bool, err error)
	// Done reports whether no more rows are wanted (LIMIT reached).
	Done() bool
	// Bytes returns the current size of the result, for TargetBytes.
	Bytes() int64
	// Finish returns the result. The processor is not used afterwards.
	Finish() (Result, error)
	// Close releases the processor, whether or not Finish was called.
	Close()
}

// Result of a Processor. In one process it travels by pointer.
type Result interface {
	AppendWire(dst []byte) ([]byte, error)
}

// PushdownDecoder turns wire forms back into programs and results. The node
// assembly hands one, from package sql, to the transport.
type PushdownDecoder interface {
	DecodePushdown(b []byte) (Pushdown, error)
	DecodeResult(b []byte) (Result, error)
}
