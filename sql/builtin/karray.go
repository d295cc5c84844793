// Kernels of this file (being written by helper S5; S1 writes text, bytea, uuid, casts and the rest): array functions and operators, string_to_array, unnest helpers.
package builtin
