package kv

import "bytes"

// AppendTxnMeta appends the wire form of t.
func AppendTxnMeta(dst []byte, t *TxnMeta) []byte { return appendTxnMeta(dst, t) }

// DecodeTxnMeta reads what AppendTxnMeta wrote, into memory of its own, and returns the rest.
func DecodeTxnMeta(b []byte) (TxnMeta, []byte, error) {
	d := decoder{b: b}
	t := d.txnMeta()
	t.Anchor = bytes.Clone(t.Anchor)
	return t, d.b, d.err
}
