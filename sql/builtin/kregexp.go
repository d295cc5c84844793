// Kernels of this file (being written by helper S5; S1 writes text, bytea, uuid, casts and the rest): regular expressions: ~ operators, LIKE and SIMILAR, regexp_* functions.
package builtin
