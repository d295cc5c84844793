package pgcatalog

import (
	"strconv"

	"github.com/pamirdb/pamir/sql/catalog"
)

// Ids of system objects.
const (
	oidPgCatalog    = 11
	oidInfoSchema   = 13207
	oidPublic       = 2200
	oidDatabase     = 16384 - 1
	oidTablespace   = 1663
	oidRoot         = 10
	oidHeapAM       = 2
	oidBtreeAM      = 403
	oidClassPgClass = 1259
)

// Derived ids. The catalog allots ids far below these bits.
const (
	constraintBit = 1 << 30 // | id of the index
	checkBit      = 1 << 31 // | table<<6 | number of the check
	attrdefBit    = 3 << 30 // | table<<10 | column
)

func constraintOID(ix *catalog.Index) uint32 { return constraintBit | ix.OID }

func checkOID(t *catalog.Table, i int) uint32 {
	return checkBit | (uint32(t.ID)<<6|uint32(i)&63)&(constraintBit-1)
}

func attrdefOID(t *catalog.Table, c *catalog.Column) uint32 {
	return attrdefBit | (uint32(t.ID)<<10|uint32(c.ID)&1023)&(constraintBit-1)
}

// ruleOID is the id of a view's _RETURN rule.
func ruleOID(t *catalog.Table) uint32 { return attrdefBit | uint32(t.ID)<<10&(constraintBit-1) | 1023 }

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
