// Kernels of this file (being written by helper S5; S1 writes text, bytea, uuid, casts and the rest): date, time, timestamp and interval arithmetic, date_trunc, extract, age, make_*, justify_*, AT TIME ZONE.
package builtin
