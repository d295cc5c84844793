package exec

import "github.com/pamirdb/pamir/sql/builtin"

// QuoteIdent quotes a name where SQL needs it. That is also where it is a keyword: user without quotes is not a column, but who is asking.
func QuoteIdent(s string) string { return builtin.QuoteIdent(s) }
