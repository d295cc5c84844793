package catalog

// StoredName reads the name of a table or sequence, and the number under which its rows lie, from a row of the descriptor table as it is on a disk.
// It is for tools that look at stopped stores; ok is false for what has no rows.
func StoredName(row []byte) (data uint64, name string, ok bool, err error) {
	t := &Table{}
	if err := decodeObject(row, t); err != nil {
		return 0, "", false, err
	}
	return t.DataID, t.Name, t.DataID != 0 && !t.Virtual && t.Kind != 'v', nil
}
