package transport

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"github.com/pamirdb/pamir/range/kv"
)

// Entry of the address book: what everybody knows of a node.
type Entry struct {
	NodeID   kv.NodeID
	StoreID  kv.StoreID
	RPCAddr  string
	SQLAddr  string
	HTTPAddr string
	// Locality is ordered from wide to narrow: "region=eu", "zone=a".
	Locality []string
	// Incarnation is the start time of the node's process; Seq counts the changes since. The
	// larger (Incarnation, Seq) wins.
	Incarnation int64
	Seq         int64
	Build       string
	Draining    bool
	// Drained: it is draining, and has ended whatever it needs other nodes for.
	Drained bool `json:",omitempty"`
}

func (e *Entry) newer(o *Entry) bool {
	if e.Incarnation != o.Incarnation {
		return e.Incarnation > o.Incarnation
	}
	return e.Seq > o.Seq
}

// Book is the address book. It is gossiped: every node tells every other all it
// knows, and the newest entry of each node wins. The descriptor of the meta
// range travels with it, and the highest generation wins.
type Book struct {
	mu      sync.Mutex
	self    kv.NodeID                   // guarded by mu
	entries map[kv.NodeID]Entry         // guarded by mu
	meta    *kv.RangeDescriptor         // guarded by mu; immutable once set
	version uint64                      // raised by every change; guarded by mu
	watch   []func(changed []Entry)     // guarded by mu
	onMeta  []func(*kv.RangeDescriptor) // guarded by mu
}

// bookWire is the gossiped and the persisted form.
type bookWire struct {
	Entries []Entry
	Meta    []byte `json:",omitempty"`
}

// NewBook returns an empty book of the node self.
func NewBook(self kv.NodeID) *Book {
	return &Book{self: self, entries: map[kv.NodeID]Entry{}}
}

// Watch registers a function that is called after entries changed, without locks held.
// The node's own entry counts.
func (b *Book) Watch(f func(changed []Entry)) {
	b.mu.Lock()
	b.watch = append(b.watch, f)
	b.mu.Unlock()
}

// WatchMeta registers a function that is called when a newer descriptor of the meta range is learned.
func (b *Book) WatchMeta(f func(*kv.RangeDescriptor)) {
	b.mu.Lock()
	b.onMeta = append(b.onMeta, f)
	b.mu.Unlock()
}

// Merge takes in entries and returns whether any was news.
func (b *Book) Merge(entries ...Entry) bool {
	b.mu.Lock()
	var changed []Entry
	for _, e := range entries {
		if e.NodeID == 0 {
			continue
		}
		old, ok := b.entries[e.NodeID]
		if ok && !e.newer(&old) {
			continue
		}
		b.entries[e.NodeID] = e
		changed = append(changed, e)
	}
	var watch []func([]Entry)
	if len(changed) > 0 {
		b.version++
		watch = slices.Clone(b.watch)
	}
	b.mu.Unlock()
	for _, f := range watch {
		f(changed)
	}
	return len(changed) > 0
}

// UpdateSelf changes the node's own entry; Seq is raised by Book.
func (b *Book) UpdateSelf(f func(*Entry)) {
	b.mu.Lock()
	e := b.entries[b.self]
	f(&e)
	e.NodeID = b.self
	e.Seq++
	b.mu.Unlock()
	b.Merge(e)
}

// Get returns the entry of a node.
func (b *Book) Get(id kv.NodeID) (Entry, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.entries[id]
	return e, ok
}

// Entries returns all entries by node id.
func (b *Book) Entries() []Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.entries), func(x, y Entry) int { return int(x.NodeID) - int(y.NodeID) })
}

// SetMeta takes in a descriptor of the meta range; older generations are ignored.
func (b *Book) SetMeta(d *kv.RangeDescriptor) {
	b.mu.Lock()
	if d.RangeID != kv.MetaRangeID || (b.meta != nil && b.meta.Generation >= d.Generation) {
		b.mu.Unlock()
		return
	}
	d = d.Clone()
	b.meta = d
	b.version++
	fs := slices.Clone(b.onMeta)
	b.mu.Unlock()
	for _, f := range fs {
		f(d)
	}
}

// Meta returns the newest known descriptor of the meta range, or nil. Do not change it.
func (b *Book) Meta() *kv.RangeDescriptor {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.meta
}

// Version is raised by every change.
func (b *Book) Version() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.version
}

// Encode returns the book as JSON.
func (b *Book) Encode() ([]byte, error) {
	w := bookWire{Entries: b.Entries()}
	if m := b.Meta(); m != nil {
		w.Meta = m.AppendWire(nil)
	}
	return json.Marshal(w)
}

// MergeEncoded takes in what another Book encoded.
func (b *Book) MergeEncoded(data []byte) error {
	var w bookWire
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	if len(w.Meta) > 0 {
		d, err := kv.DecodeRangeDescriptor(w.Meta)
		if err != nil {
			return err
		}
		b.SetMeta(&d)
	}
	b.Merge(w.Entries...)
	return nil
}
