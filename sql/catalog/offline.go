package catalog

// StoredTable reads a table or sequence from a row of the descriptor table as it is on a disk. It is for tools that look at stopped stores; ok is
// false for what has no rows.
func StoredTable(row []byte) (t *Table, ok bool, err error) {
	t = &Table{}
	if err := decodeObject(row, t); err != nil {
		return nil, false, err
	}
	return t, t.DataID != 0 && !t.Virtual && t.Kind != 'v', nil
}
