// Kernels of this file (being written by helper S5; S1 writes text, bytea, uuid, casts and the rest): json and jsonb functions and operators.
package builtin
