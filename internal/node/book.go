package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/transport"
)

// bookFile, in the store's directory, is where a restarted node finds the others.
const bookFile = "PAMIR-PEERS"

func (n *Node) bookPath(suffix string) string {
	return n.cfg.FS.PathJoin(n.cfg.StoreDir, bookFile+suffix)
}

// loadBook takes in the persisted address book. A file that cannot be read is not worth refusing to
// start over if the node can be found by the others.
func (n *Node) loadBook() error {
	f, err := n.cfg.FS.Open(n.bookPath(""))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("address book: %w", err)
	}
	b, err := io.ReadAll(f)
	err = errors.Join(err, f.Close())
	if err != nil {
		return fmt.Errorf("address book: %w", err)
	}
	if err := n.book.MergeEncoded(b); err != nil {
		n.log.Error("the address book is damaged and ignored; other nodes will find this one", "file", n.bookPath(""), "err", err)
	}
	return nil
}

func (n *Node) saveBook() error {
	b, err := n.book.Encode()
	if err != nil {
		return err
	}
	f, err := n.cfg.FS.Create(n.bookPath(".tmp"), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return n.cfg.FS.Rename(n.bookPath(".tmp"), n.bookPath(""))
}

// keepBook persists the book when it has changed, and keeps the meta range's descriptor in it up
// to date while this node holds a replica of it.
func (n *Node) keepBook(ctx context.Context) {
	var saved uint64
	warn := true
	every(ctx, 200*time.Millisecond, func() {
		if st, ok := n.store.Range(kv.MetaRangeID); ok && st.Descriptor != nil {
			n.book.SetMeta(st.Descriptor)
		}
		v := n.book.Version()
		if v == saved {
			return
		}
		if err := n.saveBook(); err != nil {
			if warn && ctx.Err() == nil {
				n.log.Error("cannot write the address book", "err", err)
				warn = false
			}
			return
		}
		saved, warn = v, true
	})
}

// askAddr makes a call to whoever is at an address.
func askAddr[Req, Resp any](ctx context.Context, n *Node, addr, method string, req *Req) (*Resp, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	out, err := n.transport.Call(ctx, addr, method, body)
	if err != nil {
		return nil, err
	}
	resp := new(Resp)
	if err := json.Unmarshal(out, resp); err != nil {
		return nil, fmt.Errorf("malformed answer of %s: %w", addr, err)
	}
	return resp, nil
}

// Peers returns the address book's entries.
func (n *Node) Peers() []transport.Entry { return n.book.Entries() }
