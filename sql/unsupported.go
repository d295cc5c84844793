package sql

import (
	"strings"
	"unicode/utf8"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// insteadOf says what to do in place of a statement that is not supported.
var insteadOf = map[string]string{
	"DO":                       "There is no procedural language: run the statements from the client.",
	"CALL":                     "There are no procedures: run the statements from the client.",
	"CREATE FUNCTION":          "There is no procedural language: compute in the client, or write the expression out.",
	"CREATE PROCEDURE":         "There is no procedural language: run the statements from the client.",
	"CREATE TRIGGER":           "Make the change in the transaction that would fire it.",
	"CREATE EVENT TRIGGER":     "There are no triggers.",
	"CREATE RULE":              "Make the change in the statement that would be rewritten.",
	"CREATE TYPE":              "Use text with a CHECK constraint for an enum, and columns or jsonb for a composite type.",
	"CREATE DOMAIN":            "Put the CHECK constraint on the column.",
	"CREATE MATERIALIZED VIEW": "Use CREATE TABLE AS, and write it anew when it is to be refreshed.",
	"LISTEN":                   "Poll a table.",
	"NOTIFY":                   "Write to a table that the others poll.",
	"MERGE":                    "Use INSERT ... ON CONFLICT DO UPDATE.",
	"CREATE STATISTICS":        "ANALYZE counts rows and distinct values of each column.",
	"CREATE TABLESPACE":        "Where data lies is decided by the placement of ranges.",
	"CREATE PUBLICATION":       "There is no logical replication.",
	"CREATE SUBSCRIPTION":      "There is no logical replication.",
	"CLUSTER":                  "Tables are kept in the order of their primary key by every write.",
	"ALTER SYSTEM":             "Settings of nodes are flags of pamir start; SET changes those of a session.",
}

func unsupportedStatement(name string) error {
	return pgerr.Unsupported(name, insteadOf[strings.ToUpper(name)])
}

// placed gives a refusal of a whole statement the statement's position, if nothing better is known.
func placed(err error, of *prepared) error {
	e, ok := pgerr.As(err)
	if !ok || e.Code != pgerr.FeatureNotSupported || e.Position != 0 || strings.Contains(e.Message, "cannot be renamed") || strings.HasPrefix(e.Message, "cannot change owner") || strings.HasPrefix(e.Message, "cannot truncate") || of == nil || of.stmt.Start > len(of.text) {
		return err
	}
	c := *e
	c.Position = utf8.RuneCountInString(of.text[:of.stmt.Start]) + 1
	return &c
}
