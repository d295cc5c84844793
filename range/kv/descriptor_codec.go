package kv

// DecodeDescriptor reads what RangeDescriptor.AppendWire wrote, into memory of its own: for descriptors that
// outlive the buffer they came from, such as those read from disk.
func DecodeDescriptor(b []byte) (*RangeDescriptor, error) {
	d, err := DecodeRangeDescriptor(b)
	if err != nil {
		return nil, err
	}
	return d.Clone(), nil
}
