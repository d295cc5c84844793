package node

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/transport"
)

// Repairs that wait for others do not wait for an interval each, and plans leave most of the time to other things.
func TestPlansFollowRepairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Node{log: slog.New(slog.DiscardHandler), book: transport.NewBook(1)}
		n.cfg.PlacementInterval = 2 * time.Second
		p := &n.placement
		p.running, p.settling = map[kv.RangeID]*runningOperator{}, map[kv.RangeID]*runningOperator{}
		p.failures, p.repaired = map[kv.RangeID]failure{}, make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began, takes, plans := time.Now(), time.Duration(0), 0
		ends := func(id placement.RangeID, gentle bool, err error) {
			n.finished(ctx, placement.Operator{Kind: placement.ChangeReplicas, Range: id, Add: []placement.StoreID{2}, Gentle: gentle}, err)
		}
		took := func() time.Duration { return time.Since(began).Round(10 * time.Millisecond) }
		n.eachPlan(ctx, func() {
			time.Sleep(takes)
			switch plans++; {
			case plans <= 50:
				ends(placement.RangeID(plans), false, nil)
			case plans == 51:
				require.Equal(t, time.Second, took(), "fifty repairs, 20 ms between them")
				ends(1, true, nil)
				ends(2, false, errors.New("no"))
				began = time.Now()
			case plans == 52:
				require.Equal(t, time.Second, took(), "nobody waits for a gentle move, and what failed is tried later")
				takes, began = 50*time.Millisecond, time.Now()
				ends(1, false, nil)
			case plans < 55:
				ends(1, false, nil)
			default:
				require.Equal(t, 20*time.Millisecond+3*takes+2*9*takes, took(), "a tenth of the time for plans that take longer")
				cancel()
			}
		})
	})
}
