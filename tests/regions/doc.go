// Package regions is about clusters whose nodes are far from each other: what a statement costs in ways over the sea, and what
// happens when a region is lost.
//
// What must hold, whatever the distances are:
//
//  1. a transaction whose leaders are all in its gateway's region commits with one round of consensus to the nearest other region, however
//     many ranges it writes; a read of the present there sends nothing over the sea;
//  2. one whose replicas are all in its region sends nothing over the sea at all;
//  3. reads of the past are answered within the region of whoever asks, wherever the leader is;
//  4. with the survival goal region, the loss of a region loses no acknowledged row, all others go on writing, and leaders return when
//     the region does;
//  5. the leader of a table without a preference goes to the region of its clients.
//
// Ways are counted by their length: the distances are so large (a tenth of a second and more) that the fastest of
// several tries tells how often one was gone, even on a busy machine. `go test` runs five nodes inside the test's process; `make regions` runs nine
// processes, three in each region, and three nodes at several distances (commits_test.go), and prints what it measures.
package regions
