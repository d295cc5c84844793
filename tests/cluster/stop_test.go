package cluster

import (
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/txn"
)

// All nodes are stopped together, right after commits over several ranges, which have something left to do: they wait for each other, none of them for
// ever, and all is there when they are back.
func TestStopTogether(t *testing.T) {
	stops := map[string]func([]*node.Node){
		"at once": func(ns []*node.Node) { node.StopAll(ns...) },
		"drained": func(ns []*node.Node) {
			var wg sync.WaitGroup
			for _, n := range ns {
				wg.Go(n.Shutdown)
			}
			wg.Wait()
		},
	}
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			const accounts = 30
			l := StartLocal(t, 3, nil)
			ctx := t.Context()
			for _, at := range []int{0, 10, 20} {
				_, err := l.Nodes[0].Sender().Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: account(at)}}})
				require.NoError(t, err)
			}
			l.WaitReplicated(3)
			var load sync.WaitGroup
			for i, n := range l.Nodes {
				for c := range 4 {
					load.Go(func() {
						for j := range 20 {
							from := i*7 + c*11 + j
							if err := retry(ctx, n.Gateway(), func(tx txn.Txn) error {
								if err := tx.Put(account(from%accounts), value(1)); err != nil {
									return err
								}
								return tx.Put(account((from+10)%accounts), value(2))
							}); err != nil {
								t.Errorf("node %d: %v", i, err)
							}
						}
					})
				}
			}
			load.Wait()
			nodes := slices.Clone(l.Nodes)
			stop(nodes)
			node.StopAll(nodes...) // they have been stopped: nobody is waited for
			for i := range nodes {
				l.Nodes[i] = nil
			}
			var up sync.WaitGroup
			for i := range nodes {
				up.Go(func() { l.Restart(i) })
			}
			up.Wait()
			require.NoError(t, retry(ctx, l.Nodes[1].Gateway(), func(tx txn.Txn) error {
				for i := range accounts {
					_, there, err := tx.Get(ctx, account(i), txn.ScanOptions{})
					if err != nil {
						return err
					}
					require.True(t, there, "account %d", i)
				}
				return nil
			}))
		})
	}
}
