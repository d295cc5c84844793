package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// The MANIFEST is a log of edits to the set of tables. Pebble takes the first record that it cannot
// read for the end, since a crash leaves a torn record there, and then deletes the tables that the rest
// would have named. So damage in the middle must be found before Pebble looks.
//
// A record is one or more chunks, none of which crosses a 32 KiB block:
//
//	crc 4, little endian   masked CRC-32C of type and payload
//	length 2               of the payload
//	type 1                 1 full, 2 first, 3 middle, 4 last
const (
	manifestBlock  = 32 << 10
	chunkHeader    = 7
	chunkFull      = 1
	chunkFirst     = 2
	chunkLast      = 4
	maxManifest    = 1 << 30
	crcMask        = 0xa282ead8
	crcRotateRight = 15
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkManifest fails with ErrCorrupt if the current MANIFEST has a whole record after one that cannot be
// read: records are synced one by one, so only the last can be torn.
func (e *Engine) checkManifest() error {
	desc, err := pebble.Peek(e.dir, e.fs)
	if err != nil {
		return openError(e.dir, ErrCorrupt, err)
	}
	if !desc.Exists || desc.ManifestFilename == "" {
		return nil
	}
	f, err := e.fs.Open(desc.ManifestFilename)
	if err != nil {
		return openError(e.dir, ErrCorrupt, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("engine: open %s: %w", e.dir, err)
	}
	if at, damaged := damagedBeforeEnd(b); damaged {
		return openError(e.dir, ErrCorrupt, fmt.Errorf("%s is unreadable at byte %d, but not after it", desc.ManifestFilename, at))
	}
	return nil
}

// damagedBeforeEnd finds the first unreadable chunk, and reports whether a record starts somewhere after it.
func damagedBeforeEnd(b []byte) (at int, damaged bool) {
	for at < len(b) {
		if left := manifestBlock - at%manifestBlock; left < chunkHeader {
			at += left // too small for a header: padding
			continue
		}
		n, _, ok := chunkAt(b, at)
		if !ok {
			break
		}
		at += n
	}
	for i := at + 1; i < len(b); i++ {
		if _, kind, ok := chunkAt(b, i); ok && (kind == chunkFull || kind == chunkFirst) {
			return at, true
		}
	}
	return at, false
}

// chunkAt returns the length and type of the chunk at b[i:], if there is a valid one.
func chunkAt(b []byte, i int) (n int, kind byte, ok bool) {
	if len(b)-i < chunkHeader {
		return 0, 0, false
	}
	size := int(binary.LittleEndian.Uint16(b[i+4:]))
	kind = b[i+6]
	end := i + chunkHeader + size
	if size == 0 || kind < chunkFull || kind > chunkLast || end > len(b) || i/manifestBlock != (end-1)/manifestBlock {
		return 0, 0, false
	}
	c := crc32.Checksum(b[i+6:end], castagnoli)
	if c>>crcRotateRight|c<<(32-crcRotateRight) != binary.LittleEndian.Uint32(b[i:])-crcMask {
		return 0, 0, false
	}
	return end - i, kind, true
}
