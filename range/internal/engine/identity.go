package engine

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Identity says whose store it is. It is written once, when the cluster is made or joined.
type Identity struct {
	ClusterID [16]byte
	NodeID    kv.NodeID
	StoreID   kv.StoreID
}

// String prints "cluster <hex> n1/s1".
func (id Identity) String() string {
	return fmt.Sprintf("cluster %s n%d/s%d", hex.EncodeToString(id.ClusterID[:]), id.NodeID, id.StoreID)
}

var identityKey = EncodeKey(keys.Store("identity"))

const identityVersion = 1

// Identity returns the store's identity; ok is false for a store that has none yet.
func (e *Engine) Identity() (id Identity, ok bool, err error) {
	b, closer, err := e.db.Get(identityKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return id, false, nil
	} else if err != nil {
		return id, false, Classify(err)
	}
	if len(b) != 25 || b[0] != identityVersion {
		return id, false, errors.Join(kv.Errorf(kv.CodeCorruption, "store identity is %x", b), closer.Close())
	}
	copy(id.ClusterID[:], b[1:17])
	id.NodeID = kv.NodeID(binary.BigEndian.Uint32(b[17:]))
	id.StoreID = kv.StoreID(binary.BigEndian.Uint32(b[21:]))
	return id, true, closer.Close()
}

// SetIdentity writes the identity, durably. A store that has another one already refuses.
func (e *Engine) SetIdentity(id Identity) error {
	if have, ok, err := e.Identity(); err != nil {
		return err
	} else if ok {
		if have == id {
			return nil
		}
		return kv.Errorf(kv.CodeBadRequest, "store %s belongs to %s, not to %s", e.dir, have, id)
	}
	return Classify(e.db.Set(identityKey, id.encode(), pebble.Sync))
}

func (id Identity) encode() []byte {
	b := make([]byte, 0, 25)
	b = append(b, identityVersion)
	b = append(b, id.ClusterID[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(id.NodeID))
	return binary.BigEndian.AppendUint32(b, uint32(id.StoreID))
}

// ReplaceIdentity makes the store one of another cluster. It is for the recovery of a cluster that has lost its majorities, and for nothing else.
func ReplaceIdentity(w pebble.Writer, id Identity) error {
	return Classify(w.Set(identityKey, id.encode(), nil))
}
