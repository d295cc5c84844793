// Package copyformat reads and writes the data of COPY: text, CSV and binary, with PostgreSQL 15's options and its messages.
//
// A [Reader] is fed pieces of data as they arrive, cut anywhere, and hands batches of typed rows to a [RowWriter]. A [Writer] turns
// rows into data. Neither knows where data comes from or rows go to: package sql, their only caller, does.
//
// # Invariants
//
//  1. How the data is cut into pieces makes no difference to the rows, nor to the errors.
//  2. What a Writer has written, a Reader with the same options reads as the same rows. (In CSV an empty string is told from NULL by its quotes.)
//  3. An error says which line, and which column if it is one column's, and leaves no row of that line behind.
//  4. Memory is bounded by one batch (about 1 MiB of text) and the longest line.
package copyformat
