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

// AppendWire appends the versioned wire form of d. It is also the form of the values in the meta range.
func (d *RangeDescriptor) AppendWire(dst []byte) []byte {
	return appendDescriptor(append(dst, WireVersion), d)
}

// DecodeRangeDescriptor reads what RangeDescriptor.AppendWire wrote. The result aliases b.
func DecodeRangeDescriptor(b []byte) (RangeDescriptor, error) {
	d := decoder{b: b}
	d.version()
	desc := d.descriptor()
	return desc, d.finish()
}
