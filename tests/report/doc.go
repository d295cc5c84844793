// Command report reads the output of "go test -json" and prints what a person wants of it: each
// package's verdict, everything that failing tests said, and a last line with the counts.
package main
