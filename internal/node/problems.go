package node

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/transport"
)

// problems says what an operator should know of a node that answers: what will be in its way soon if nobody does anything about it. x is nil of this node itself.
func problems(l nodeLoad, x *transport.PeerStatus, maxOffset time.Duration, limits *placement.Limits) (out []string) {
	if l.Capacity > 0 {
		used := 1 - float64(l.Free)/float64(l.Capacity)
		text := fmt.Sprintf("its disk is %.0f%% full", 100*used)
		switch {
		case l.Full:
			out = append(out, text+", and takes no writes: make room")
		case used > limits.Full:
			out = append(out, text+": replicas are moved away, if there is an elsewhere")
		case used > limits.NearlyFull:
			out = append(out, text+": it is given no more replicas")
		}
	}
	if l.Sync >= slowSync {
		out = append(out, fmt.Sprintf("a sync of its disk takes %s", l.Sync.Round(time.Millisecond)))
	}
	if l.Certificates != "" {
		out = append(out, l.Certificates)
	}
	if x != nil && x.Offset.Abs() > maxOffset/2 {
		out = append(out, fmt.Sprintf("its clock is off by %s from the answering node's; %s are allowed (--max-offset)", x.Offset.Round(time.Millisecond), maxOffset))
	}
	return out
}

// unsupported says of a node that was without support a short while ago why it leads little now.
func unsupported(l *nodeLoad, leftAlone time.Duration) string {
	return fmt.Sprintf("it was held up, and %s ago most others did not support it: what it led went to them, and balance leaves it alone until that is %s past",
		l.unsupported().Round(time.Second), leftAlone)
}

// unknown reports whether nothing can be said yet of a node that does not answer: this process, or that node, is too young.
func unknown(x *transport.PeerStatus, aliveWithin time.Duration) bool {
	return !x.Heard && x.Silence < aliveWithin
}

// settleTime is how long a node that is there takes at most to answer for the first time.
const settleTime = 1500 * time.Millisecond

// settle waits until all nodes have answered of which nothing can be said yet, or have had the time to: who asks right after a start is not to be told that the others are dead.
func (n *Node) settle(ctx context.Context) {
	young := func(x transport.PeerStatus) bool { return unknown(&x, settleTime) }
	for slices.ContainsFunc(n.transport.Peers(), young) {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// unheard says of a node that does not answer for how long, what connecting to it says, and what becomes of its replicas.
func unheard(x *transport.PeerStatus, replicas int, leaves bool, deadAfter time.Duration) string {
	text := "it does not answer"
	if x.Heard {
		text = fmt.Sprintf("it has been silent for %s", x.Silence.Round(time.Second))
	}
	if x.LastError != "" {
		text += fmt.Sprintf(" (%s)", bare(x.LastError))
	}
	switch {
	case leaves:
		return text + ": it is being decommissioned, and its replicas are made anew elsewhere"
	case replicas == 0:
		return text + ", and has no replica: start it again, or decommission it"
	case x.Silence > deadAfter:
		return text + ": its replicas are made anew elsewhere, if there is an elsewhere"
	}
	return fmt.Sprintf("%s: after %s its replicas are made anew elsewhere (--dead-after)", text, deadAfter)
}

// bare is an error of a connection without what gRPC puts around it.
func bare(text string) string {
	if s, ok := strings.CutPrefix(text, "connection error: desc = "); ok {
		if inner, err := strconv.Unquote(s); err == nil {
			text = inner
		}
	}
	text = strings.TrimPrefix(text, "transport: ")
	text = strings.TrimPrefix(text, "authentication handshake failed: ")
	return strings.TrimPrefix(text, "Error while dialing: ")
}
