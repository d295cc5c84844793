// Package setting has the settings of a session, as SET, SHOW and pg_settings know them: PostgreSQL 15's and Pamir's own.
//
// The definitions ([Def]) are one table, the same for everybody: what type a setting has, its unit, bounds, who may change it. What a
// session has made of them is its [Values], with what RESET, SET LOCAL, savepoints and failed transactions take back.
//
// # What it is not
//
// It gives no setting a meaning: package sql reads the values and does what they say. Values that only a session knows (who it
// is, how its transaction runs) are its [Owner]'s.
//
// # Invariants
//
//  1. A value that is stored is in canonical form: on or off, a number in the setting's own unit, an enum's word as it is listed.
//  2. What a transaction changed is as it was before it, if it does not commit; what SET LOCAL changed is so in any case.
//  3. The name, unit and bounds of a PostgreSQL setting are those of settings.tsv, which its own pg_settings was written to.
//
// Package sql alone keeps Values; options of statements (COPY, VACUUM, EXPLAIN) are read with ParseBool and Encoding.
package setting
