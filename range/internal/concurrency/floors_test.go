package concurrency

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// What is known of floors goes with the leadership, and with a split or a merge: others lay locks there that this table is not told of.
func TestFloorsEnd(t *testing.T) {
	k := keys.Key("k")
	for name, end := range map[string]func(*Table){
		"Clear":   func(t *Table) { t.Clear(errors.New("led elsewhere")) },
		"Open":    (*Table).Open,
		"Rest":    func(t *Table) { t.Rest(nil) },
		"SplitAt": func(t *Table) { t.SplitAt(keys.Key("m")) },
		"Absorb":  func(t *Table) { t.Absorb(NewShared(t.cfg)) },
	} {
		tab := New(Config{})
		f := tab.Floors()
		f.Raise(k, kv.TxnID{9})
		require.Same(t, f, tab.Floors(), name)
		end(tab)
		require.Zero(t, tab.Floors().Floor(k, tab.Floors().Now()), name)
		f.Raise(k, kv.TxnID{9}) // by somebody who began before
		require.Zero(t, tab.Floors().Floor(k, tab.Floors().Now()), name)
	}
}
