// Package keys is the single map of the key space: which bytes live where, and
// how ordered values become bytes.
//
// # The map
//
//	first bytes                               what                                   span   replicated
//	0x01 's' <name>                           store: identity, clock ceiling, ...    store  no
//	0x01 'u' <range id 8> <name>              Raft: hard state, log, truncation      range  no
//	0x01 'i' <range id 8> <name>              range: applied state, descriptor,      range  yes
//	                                          GC threshold
//	0x01 'k' <escaped anchor key> <txn id>    transaction records                    key    yes
//	0x01 'o' <shelf> <escaped anchor key> <id> outcomes of commits                   key    yes
//	0x01 'z' <key>                            lock table (prepared writes)           key    yes
//	0x02 <end key>                            meta: range addressing                 key    yes
//	0x03 <name>                               system: id counters, settings, rules   key    yes
//	0x04 <table> <index> <columns...>         table data                             key    yes
//	0xff                                      end of the key space
//
// "Key" in the span column means that the entry belongs to the range that
// contains the key it is derived from and moves with it in a split; "range"
// entries belong to a range id.
//
// Local keys (0x01) are never addressed by a client: a range's bounds are
// always keys from 0x02 on, and a range owns the 'k', 'o' and 'z' entries of the
// keys inside its bounds.
//
// <table> and <index> are ordered uvarints (AppendUvarint); <columns> are
// ordered values (ordered.go). <range id 8> is big endian.
//
// # Invariants
//
//  1. Order: for every two keys of one kind, the byte order is the order of
//     what they stand for.
//  2. Prefix-free columns: no ordered value is a proper prefix of another of
//     the same column, so concatenation keeps order.
//  3. The map above is the only place where first bytes are assigned; a test
//     checks the table against the constants.
//
// Everybody may import this package; it imports nothing of Pamir.
package keys
