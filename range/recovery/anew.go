package recovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Anew is an empty range in the place of ranges of which no replica is left.
type Anew struct {
	Descriptor *kv.RangeDescriptor `json:"descriptor"`
	Store      kv.StoreID          `json:"store"`
}

// Kept is a span that is not made anew.
type Kept struct {
	Span keys.Span
	Why  string
}

// MakeAnew adds to the plan, which was made of these facts, an empty range for each span that is gone, and returns those for which that cannot be done.
//
// The range takes the number of one that is lost, so that no other can have it, and a generation beyond all that the meta range knows there: what that says of the
// others goes when the new range is entered.
func (p *Plan) MakeAnew(facts []*Facts) (kept []Kept) {
	here := map[kv.RangeID]bool{}
	var addresses []*kv.RangeDescriptor
	for _, f := range facts {
		for _, r := range f.Replicas {
			here[r.Descriptor.RangeID] = true
		}
		addresses = append(addresses, f.Addresses...)
	}
	for _, gap := range p.Gone {
		d, why := p.fill(gap, facts, addresses, here)
		if why != "" {
			kept = append(kept, Kept{gap, why})
			continue
		}
		m := p.Survivors[len(p.Anew)%len(p.Survivors)]
		d.Replicas = []kv.Replica{{NodeID: m.Node, StoreID: m.Store, ReplicaID: d.NextReplicaID, Type: kv.Voter}}
		d.NextReplicaID++
		p.Anew = append(p.Anew, Anew{d, m.Store})
	}
	return kept
}

// fill makes a descriptor for a gap, as yet without replicas, or says why it cannot.
func (p *Plan) fill(gap keys.Span, facts []*Facts, addresses []*kv.RangeDescriptor, here map[kv.RangeID]bool) (*kv.RangeDescriptor, string) {
	if gap.Start.Less(keys.Table(keys.FirstUserTable)) {
		return nil, "it has the catalog, without which no table can be read: begin a new cluster, from a backup"
	}
	for _, f := range facts {
		for _, r := range f.Replicas {
			if r.Descriptor.Span().Overlaps(gap) {
				return nil, fmt.Sprintf("store %d has an older replica of range %d, with some of these keys", f.Store, r.Descriptor.RangeID)
			}
		}
	}
	d := &kv.RangeDescriptor{StartKey: gap.Start, EndKey: gap.End}
	for _, a := range addresses {
		if !a.Span().Overlaps(gap) {
			continue
		}
		d.Generation = max(d.Generation, a.Generation)
		d.NextReplicaID = max(d.NextReplicaID, a.NextReplicaID)
		if !here[a.RangeID] && (d.RangeID == 0 || a.RangeID < d.RangeID) {
			d.RangeID = a.RangeID
		}
	}
	if d.RangeID == 0 {
		return nil, "the meta range, as the stores that are left have it, does not know the range that was there"
	}
	d.Generation += jumpGenerations
	d.NextReplicaID += jumpReplicas
	return d, ""
}

// makeAnew writes the empty range. What a replica that was here once may have left goes.
func makeAnew(b *pebble.Batch, db *pebble.DB, a *Anew, ids []kv.RangeID) error {
	d := a.Descriptor
	for _, id := range ids {
		r, err := readReplica(db, id)
		if err != nil {
			return err
		}
		if r != nil && (id == d.RangeID || r.Descriptor.Span().Overlaps(d.Span())) {
			return fmt.Errorf("range %d, which is here, has keys of range %d, which was to be made anew: make the plan again", id, d.RangeID)
		}
	}
	for _, s := range mvcc.ReplicatedSpans(d) {
		if err := b.DeleteRange(engine.EncodeKey(s.Start), engine.EncodeKey(s.End), nil); err != nil {
			return err
		}
	}
	// Nobody can be told any more what was there before, nor what became of a transaction.
	now := hlc.Timestamp{WallTime: time.Now().UnixNano()}
	return replica.InitialState(b, d, d.Replicas[0].ReplicaID, mvcc.AppliedState{GCThreshold: now, Outcomes: mvcc.Outcomes{Since: now, Forgotten: now}}, nil)
}

// noteFile, in a store's directory, is the Note of the last recovery.
const noteFile = "PAMIR-RECOVERED"

// Note tells the node whom to count as having left for good. The meta range, which has it on its books, cannot be written to where it has a majority: its replicas
// would differ.
type Note struct {
	// Cluster is the id that the cluster has after the recovery. With another one, the note is of none that was carried out.
	Cluster uuid.UUID   `json:"cluster"`
	Lost    []kv.NodeID `json:"lost"`
}

func writeNote(fsys vfs.FS, dir string, p *Plan) error {
	note := Note{Cluster: p.NewCluster}
	for _, m := range p.Lost {
		if !slices.Contains(note.Lost, m.Node) {
			note.Lost = append(note.Lost, m.Node)
		}
	}
	b, err := json.Marshal(note)
	if err != nil {
		return err
	}
	f, err := fsys.Create(fsys.PathJoin(dir, noteFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReadNote returns the note in a store's directory; nil if there is none.
func ReadNote(fsys vfs.FS, dir string) (*Note, error) {
	f, err := fsys.Open(fsys.PathJoin(dir, noteFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	note := &Note{}
	if err = errors.Join(err, f.Close()); err == nil {
		err = json.Unmarshal(b, note)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", noteFile, err)
	}
	return note, nil
}

// RemoveNote removes what ReadNote returns.
func RemoveNote(fsys vfs.FS, dir string) error {
	return fsys.Remove(fsys.PathJoin(dir, noteFile))
}
