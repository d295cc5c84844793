// Package serial checks serializability below SQL: clients at every gateway of a real cluster run transactions
// over few keys in many ranges, while ranges split and leaders move, and afterwards the committed
// transactions are run again one by one, in the order of their commit timestamps, against a map. Every one must
// have read what the map says. (Pamir promises just this order, so no search for one is needed.)
//
// Tests only; nobody imports it.
package serial
