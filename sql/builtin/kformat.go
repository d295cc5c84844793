// Kernels of this file (being written by helper S5; S1 writes text, bytea, uuid, casts and the rest): to_char, to_date, to_timestamp, to_number and format().
package builtin
