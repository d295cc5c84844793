package exec

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// spillFile holds batches in a temporary file: written once, then read once or more. The file has no name in the directory
// while it is open, so nothing is left behind by a process that dies.
type spillFile struct {
	f     *os.File
	w     *bufio.Writer
	buf   []byte
	bytes int64
	rows  int64
}

// newSpillFile fails with a *pgerr.Error.
func newSpillFile(dir string) (*spillFile, error) {
	f, err := os.CreateTemp(dir, "pamir-spill-*")
	if err != nil {
		return nil, spillError(err)
	}
	if err := os.Remove(filepath.Clean(f.Name())); err != nil {
		_ = f.Close()
		return nil, spillError(err)
	}
	return &spillFile{f: f, w: bufio.NewWriterSize(f, 64<<10)}, nil
}

func spillError(err error) error {
	code := pgerr.IOError
	if errors.Is(err, errNoSpace) {
		code = pgerr.DiskFull
	}
	return &pgerr.Error{Code: code, Message: "could not write to a temporary file", Detail: err.Error() + ".", Cause: err}
}

func (s *spillFile) write(b *types.Batch) error {
	var err error
	if s.buf, err = appendBatchWire(s.buf[:0], b); err != nil {
		return err
	}
	var head [4]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(s.buf)))
	if _, err = s.w.Write(head[:]); err == nil {
		_, err = s.w.Write(s.buf)
	}
	if err != nil {
		return spillError(err)
	}
	s.bytes += int64(len(s.buf)) + 4
	s.rows += int64(b.Len())
	return nil
}

// reader starts reading from the beginning. There may be one reader at a time, and no more writes.
func (s *spillFile) reader() (*spillReader, error) {
	if s.w != nil {
		if err := s.w.Flush(); err != nil {
			return nil, spillError(err)
		}
		s.w, s.buf = nil, nil
	}
	return &spillReader{r: bufio.NewReaderSize(io.NewSectionReader(s.f, 0, s.bytes), 64<<10)}, nil
}

func (s *spillFile) close() {
	if s != nil && s.f != nil {
		_ = s.f.Close() // nobody needs what is in it any more
		s.f = nil
	}
}

type spillReader struct{ r *bufio.Reader }

// next returns a batch of its own, or nil at the end.
func (r *spillReader) next() (*types.Batch, error) {
	var head [4]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, spillError(err)
	}
	buf := make([]byte, binary.LittleEndian.Uint32(head[:]))
	if _, err := io.ReadFull(r.r, buf); err != nil {
		return nil, spillError(err)
	}
	b, rest, err := decodeBatchWire(buf)
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 {
		return nil, errBatchWire
	}
	return b, nil
}
