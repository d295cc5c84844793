package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/transport"
)

// What is in a node's way soon is said, and nothing of a node that is as it should be.
func TestProblems(t *testing.T) {
	limits := placement.DefaultRules().Limits
	disk := func(free int64) nodeLoad { return nodeLoad{Capacity: 1000, Free: free} }
	for _, c := range []struct {
		load   nodeLoad
		offset time.Duration
		want   []string
	}{
		{disk(500), 0, nil},
		{nodeLoad{}, 100 * time.Millisecond, nil},
		{disk(80), 0, []string{"its disk is 92% full: it is given no more replicas"}},
		{disk(30), 0, []string{"its disk is 97% full: replicas are moved away, if there is an elsewhere"}},
		{nodeLoad{Capacity: 1000, Free: 10, Full: true}, 0, []string{"its disk is 99% full, and takes no writes: make room"}},
		{nodeLoad{Sync: 320 * time.Millisecond, Certificates: "the node's certificate ends"}, 0, []string{"a sync of its disk takes 320ms", "the node's certificate ends"}},
		{disk(500), -200 * time.Millisecond, []string{"its clock is off by -200ms from the answering node's; 250ms are allowed (--max-offset)"}},
	} {
		require.Equal(t, c.want, problems(c.load, &transport.PeerStatus{Offset: c.offset}, 250*time.Millisecond, &limits))
	}
	require.Empty(t, problems(disk(500), nil, 250*time.Millisecond, &limits))
}

func TestUnsupported(t *testing.T) {
	require.Equal(t, "it was held up, and 12s ago most others did not support it: what it led went to them, and balance leaves it alone until that is 30s past",
		unsupported(&nodeLoad{Unsupported: 11_700}, shakenFor))
}

func TestUnheard(t *testing.T) {
	x := transport.PeerStatus{Heard: true, Silence: 17 * time.Second}
	require.Equal(t, "it has been silent for 17s: after 5m0s its replicas are made anew elsewhere (--dead-after)", unheard(&x, 3, false, 5*time.Minute))
	require.Equal(t, "it has been silent for 17s: its replicas are made anew elsewhere, if there is an elsewhere", unheard(&x, 3, false, 10*time.Second))
	require.False(t, unknown(&x, time.Minute), "it was there")
	require.Equal(t, "it has been silent for 17s, and has no replica: start it again, or decommission it", unheard(&x, 0, false, 10*time.Second))
	require.Equal(t, "it has been silent for 17s: it is being decommissioned, and its replicas are made anew elsewhere", unheard(&x, 3, true, 5*time.Minute), "it does not wait for --dead-after")
	x.LastError = `connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`
	require.Equal(t, "it has been silent for 17s (dial tcp 127.0.0.1:1: connect: connection refused): its replicas are made anew elsewhere, if there is an elsewhere", unheard(&x, 3, false, 10*time.Second))
	x.LastError = `connection error: desc = "transport: authentication handshake failed: the certificate of \"node\" has expired"`
	require.Equal(t, `it has been silent for 17s (the certificate of "node" has expired), and has no replica: start it again, or decommission it`, unheard(&x, 0, false, 10*time.Second))
	x.Heard, x.LastError = false, ""
	require.Contains(t, unheard(&x, 3, false, 5*time.Minute), "it does not answer: ")
	require.False(t, unknown(&x, 5*time.Second))
	x.Silence = time.Second
	require.True(t, unknown(&x, 5*time.Second), "this node has just begun")
}

// Who leaves is held against what rules want, if more replicas are still there, and against what there is, if they want more.
func TestNeeded(t *testing.T) {
	most := []int{5, 3, 0}
	needed(most, []*placement.Rule{{Replicas: 3}, {Replicas: 5}, {Replicas: 3}})
	require.Equal(t, []int{3, 3, 0}, most)
}

func TestDiffering(t *testing.T) {
	require.Empty(t, differing(map[string]string{"n1": "a", "n2": "a"}))
	require.Equal(t, []string{"n2"}, differing(map[string]string{"n1": "a", "n2": "b", "n3": "a"}))
	require.Equal(t, []string{"n1", "n2"}, differing(map[string]string{"n1": "a", "n2": "b"}))
}
