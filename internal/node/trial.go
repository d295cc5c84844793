package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/pamirdb/pamir/internal/certs"
)

// Connections that are open outlive the certificates with which they were made. Whether new ones come about with those in use now is therefore tried: else
// nobody would hear of certificates of the wrong authority before the connections of the whole cluster have to be made anew.

const (
	trialEvery = 10 * time.Second // while others refuse, or are refused
	trialTime  = 3 * time.Second  // for one node
)

// tryCertificates tries new certificates on the other nodes until ctx ends.
func (n *Node) tryCertificates(ctx context.Context) {
	tried, said := int64(0), ""
	var last time.Time
	every(ctx, time.Second, func() {
		version := n.certs.Version()
		if version == tried && (said == "" || time.Since(last) < trialEvery) {
			return
		}
		found := n.refusals(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case found != "" && found != said:
			n.log.Error("certificates: "+found+"; connections that are open stay, and cannot be made anew", "dir", n.certs.Dir())
		case found == "" && said != "":
			n.log.Info("certificates: all nodes that can be reached accept each other's")
		}
		tried, said, last = version, found, time.Now()
		n.refused.Store(&found)
	})
}

// refusals says which nodes do not accept this node's certificate, or have one that it does not accept; empty if none that can be reached.
func (n *Node) refusals(ctx context.Context) string {
	var out []string
	for _, e := range n.book.Entries() {
		if e.NodeID == n.id.NodeID {
			continue
		}
		mine, err := n.handshake(ctx, e.RPCAddr)
		switch {
		case err == nil:
		case mine:
			out = append(out, fmt.Sprintf("node %d refuses this node's certificate (%v)", e.NodeID, err))
		default:
			out = append(out, fmt.Sprintf("this node refuses the certificate of node %d (%v)", e.NodeID, err))
		}
	}
	return strings.Join(out, "; ")
}

// handshake makes a connection to the port for other nodes, as the transport does, and ends it. An error says whose certificate is refused, and why; that nobody is there is none.
func (n *Node) handshake(ctx context.Context, addr string) (mine bool, _ error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false, nil
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { _ = nc.Close() })() // a node that stops does not wait for another
	_ = nc.SetDeadline(time.Now().Add(trialTime))             // fails only on a closed socket
	cfg := n.certs.NodeClient()
	cfg.ServerName = host
	var theirs error
	verify := cfg.VerifyConnection
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		theirs = verify(cs)
		return theirs
	}
	t := tls.Client(nc, cfg)
	if err = t.Handshake(); err == nil {
		// In TLS 1.3 the other side looks at our certificate after that, and speaks first if it likes it.
		_, err = t.Read(make([]byte, 1))
	}
	var alert *net.OpError
	switch {
	case theirs != nil:
		return false, certs.Explain(theirs)
	case errors.As(err, &alert) && alert.Op == "remote error":
		return true, alert.Err
	}
	return false, nil // it is stopping, or slow
}
