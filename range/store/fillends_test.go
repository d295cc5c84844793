package store

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// filled is a cluster of four, whose first user range has voters on 1, 2 and 3, is led by 1, and for eight seconds or more is being given a replica on 4.
type filled struct {
	*cluster
	ctx   context.Context
	added chan error
}

func newFilled(t *testing.T, edit func(*Config)) *filled {
	k := testKnobs
	k.SnapshotBytesPerSecond = 512 << 10
	c := &filled{cluster: newClusterWith(t, 4, k, edit), added: make(chan error, 1)}
	c.upReplicate(2, 3)
	c.ctx = c.cluster.ctx(5 * time.Minute)
	for i := range 128 {
		require.NoError(t, c.put(c.ctx, i, strings.Repeat("x", 32<<10)))
	}
	s, st := c.waitLeader(kv.FirstUserRange)
	require.EqualValues(t, 1, s.id.StoreID)
	go func() {
		_, err := s.Send(c.ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{
			&kv.AdminChangeReplicas{Generation: st.Descriptor.Generation, Add: []kv.Replica{{NodeID: 4, StoreID: 4}}},
		}})
		c.added <- err
	}()
	time.Sleep(2 * time.Second)
	return c
}

func (c *filled) split(at int) (right kv.RangeID) {
	c.t.Helper()
	resp, err := c.Send(c.ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key(at)}}})
	require.NoError(c.t, err)
	return resp.Responses[0].(*kv.AdminSplitResponse).Right.RangeID
}

// told waits until the change has told who asked for it that it has come to nothing.
func (c *filled) told() {
	c.t.Helper()
	select {
	case err := <-c.added:
		require.Error(c.t, err)
	case <-time.After(2 * time.Second):
		c.t.Fatal("who has asked for the change still waits")
	}
}

// tidy waits, for two seconds at most, until ranges are led, have no learners, are not being changed, and nobody sends them snapshots.
func (c *filled) tidy(ids ...kv.RangeID) {
	c.t.Helper()
	of := func(id kv.RangeID) string {
		s, st := c.leaderOf(id)
		if s == nil {
			return "nobody leads"
		}
		learns := slices.ContainsFunc(st.Descriptor.Replicas, func(p kv.Replica) bool { return p.Type == kv.Learner })
		changing := false
		s.Led(func(l RangeLoad) { changing = changing || l.Changing && l.Descriptor.RangeID == id })
		if learns || changing {
			return fmt.Sprintf("%s, changing: %v", st.Descriptor, changing)
		}
		for _, nd := range c.nodes {
			if up := c.up(nd.id); up != nil && slices.ContainsFunc(up.Sending(), func(x Sending) bool { return x.RangeID == id && x.To > 3 }) {
				return fmt.Sprintf("n%d still sends a snapshot", nd.id)
			}
		}
		return ""
	}
	for _, id := range ids {
		until := time.Now().Add(2 * time.Second)
		for what := of(id); what != ""; what = of(id) {
			require.True(c.t, time.Now().Before(until), "range %d: %s", id, what)
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// anew checks that the ranges can be changed, and that nothing is lost.
func (c *filled) anew(ids ...kv.RangeID) {
	c.t.Helper()
	for _, id := range ids {
		c.changeReplicas(c.ctx, id, []kv.NodeID{4}, nil)
	}
	for i := range 128 {
		v, err := c.get(c.ctx, i)
		require.NoError(c.t, err)
		require.Len(c.t, v, 32<<10)
	}
	c.checkReplicas(c.ctx)
}

func (c *filled) give(id kv.RangeID, to kv.StoreID) {
	c.t.Helper()
	s, _ := c.waitLeader(id)
	began := time.Now()
	for {
		_, err := s.Send(c.ctx, &kv.BatchRequest{RangeID: id, Requests: []kv.Request{&kv.AdminTransferLeader{Target: to}}})
		require.Less(c.t, time.Since(began), time.Second, "it waits for learners: %v", err)
		if err == nil {
			return
		}
		require.True(c.t, kv.HasCode(err, kv.CodeUnavailable), "%v", err)
		time.Sleep(10 * time.Millisecond)
	}
}

// Leadership is given away, as by a node that drains, while learners are brought up: of a range, and of both sides of one that was split meanwhile. Nobody waits for the
// learners, and they go at once.
func TestLeadershipMovesWhileLearnersAreFilled(t *testing.T) {
	for _, name := range []string{"whole", "both sides", "left side", "right side"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var warned counting
				c := newFilled(t, func(cfg *Config) { cfg.Logger = slog.New(&warned) })
				ids, give := []kv.RangeID{kv.FirstUserRange}, []kv.RangeID{kv.FirstUserRange}
				if name != "whole" {
					ids = append(ids, c.split(64))
					give = map[string][]kv.RangeID{"both sides": ids, "left side": ids[:1], "right side": ids[1:]}[name]
				}
				for _, id := range give {
					c.give(id, 2)
				}
				if slices.Contains(give, kv.FirstUserRange) {
					c.told()
				}
				c.tidy(give...)
				warned.none(t)
				for _, id := range ids {
					if !slices.Contains(give, id) { // it goes on
						for until := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
							_, st := c.waitLeader(id)
							if p, ok := st.Descriptor.ReplicaOn(4); ok && p.Type == kv.Voter {
								require.EqualValues(t, 5, st.Descriptor.NextReplicaID, "another learner was made")
								break
							}
							require.True(t, time.Now().Before(until), "%s", st.Descriptor)
						}
					}
				}
				c.anew(give...)
			})
		})
	}
}

// The leader dies after the split, before or after the right side has one.
func TestLeaderDiesWhileLearnersAreFilled(t *testing.T) {
	for _, after := range []time.Duration{0, 10 * time.Millisecond, time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newFilled(t, nil)
				ids := []kv.RangeID{kv.FirstUserRange, c.split(64)}
				time.Sleep(after)
				c.nodes[1].crash()
				c.told()
				for _, id := range ids {
					c.waitLeader(id)
				}
				c.tidy(ids...)
				c.nodes[1].start()
				c.anew(ids...)
			})
		})
	}
}

// The right side is led from elsewhere from the beginning: nobody there knows what the learner was for. What the left side's leader knew is
// forgotten, and is not taken up when it leads the right side later on.
func TestRightSideIsLedFromElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFilled(t, nil)
		c.setFilter(func(m *RaftMessage) bool { // store 1 cannot win the right side
			return m.RangeID > kv.FirstUserRange && m.From.StoreID == 1 && strings.Contains(m.Raft.GetType().String(), "Vote")
		})
		id := c.split(64)
		s, _ := c.waitLeader(id)
		require.NotEqualValues(t, 1, s.id.StoreID)
		c.tidy(id)
		require.Eventually(t, func() bool { return !c.up(1).replica(id).Inherited() }, time.Second, time.Millisecond, "it follows")
		c.setFilter(nil)
		c.give(id, 1)
		c.tidy(id)
		require.NoError(t, <-c.added)
		c.anew(id)
	})
}

// What is asked of a range while it waits for learners does not wait with it.
func TestCommandsWhileLearnersAreFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFilled(t, nil)
		s, st := c.waitLeader(kv.FirstUserRange)
		began := time.Now()
		for _, generation := range []int64{st.Descriptor.Generation, st.Descriptor.Generation - 1} {
			_, err := s.Send(c.ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{
				&kv.AdminChangeReplicas{Generation: generation, Remove: []kv.Replica{{NodeID: 3, StoreID: 3}}},
			}})
			want := kv.CodeNotNow
			if generation != st.Descriptor.Generation {
				want = kv.CodeDescriptorChanged
			}
			require.True(t, kv.HasCode(err, want), "%v", err)
		}
		// The neighbour stands still until it knows.
		resp, err := s.Send(c.ctx, &kv.BatchRequest{Requests: []kv.Request{
			&kv.AdminEndMerge{Key: key(0), ID: testTxn(s, 1).ID, Left: kv.FirstUserRange, Base: st.Descriptor.Generation},
		}, RangeID: kv.FirstUserRange})
		require.NoError(t, err)
		require.False(t, resp.Responses[0].(*kv.AdminEndMergeResponse).Merged)
		require.NoError(t, s.replica(kv.FirstUserRange).Tidy(c.ctx), "somebody is at it")
		require.Less(t, time.Since(began), time.Second)
		require.NoError(t, <-c.added, "it went on")
		_, st = c.waitLeader(kv.FirstUserRange)
		require.Len(t, st.Descriptor.Replicas, 4)
	})
}
