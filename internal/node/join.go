package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/pamirdb/pamir/range/kv"
)

// sameCluster refuses a store of another cluster than that of the nodes of --join, as far as one of them answers.
func (n *Node) sameCluster(ctx context.Context, mine uuid.UUID) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, addr := range n.cfg.Join {
		resp, err := askAddr[joinRequest, joinResponse](ctx, n, addr, "join", &joinRequest{Member: mine})
		if err == nil && resp.ClusterID != mine {
			return fmt.Errorf("the store in %s belongs to cluster %s, but the node at %s to cluster %s: join with an empty store, or start this one without --join",
				n.cfg.StoreDir, mine, addr, resp.ClusterID)
		}
	}
	return nil // the same, or nobody answers: a restart needs nobody
}

// join asks the nodes of --join in turn until one gives this node a place.
func (n *Node) join(ctx context.Context) (*joinResponse, error) {
	if err := n.dialable(); err != nil {
		return nil, fmt.Errorf("join: %w", err) // it would be let in, and nobody would hear of it again
	}
	req := joinRequest{RPCAddr: n.rpcAddr, Build: n.cfg.Build, MaxOffset: n.cfg.MaxOffset}
	for attempt := 0; ; attempt++ {
		var failures []error
		var hints []string
		for _, addr := range n.cfg.Join {
			resp, err := askAddr[joinRequest, joinResponse](ctx, n, addr, "join", &req)
			if err == nil {
				return resp, nil
			}
			hint := joinHint(err, n.certs != nil)
			switch {
			case refusedByTLS(err):
				if hint == "" {
					hint = "the certificates do not fit"
				}
				return nil, fmt.Errorf("join %s: %s: %w", addr, hint, plainJoin(err))
			case kv.HasCode(err, kv.CodeBadRequest):
				return nil, fmt.Errorf("join %s: %w", addr, err)
			}
			failures = append(failures, fmt.Errorf("%s: %w", addr, plainJoin(err)))
			if hint != "" {
				hints = append(hints, addr+": "+hint)
			}
		}
		if attempt%20 == 0 {
			args := []any{"err", errorsText(failures)}
			if len(hints) > 0 {
				args = append(args, "hint", strings.Join(hints, "; "))
			}
			n.log.Warn("waiting for the cluster to join", args...)
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), errors.Join(failures...))
		}
	}
}

// joinHint says what is most likely wrong with an address of --join that answers something else than another node would; empty if nobody can tell.
func joinHint(err error, secure bool) string {
	const wanted = "--join names the --rpc-addr of nodes, not what SQL or HTTP listen on"
	switch s := err.Error(); {
	case strings.Contains(s, "first record does not look like a TLS handshake"):
		return "no TLS is spoken there: " + wanted + "; or that cluster has no certificates, and this node must have none, either"
	case strings.Contains(s, "unexpected HTTP status code"), strings.Contains(s, "malformed header"), strings.Contains(s, "frame header looked like an HTTP/1.1 header"):
		return "HTTP is spoken there: " + wanted
	case strings.Contains(s, "server preface") && !secure:
		return "does the cluster have certificates? Then this node needs --certs-dir, too. If not: " + wanted
	case strings.Contains(s, "server preface"):
		return wanted
	case strings.Contains(s, notInACluster):
		return "that is this node itself, or one that waits to join, too: a new cluster begins with one node that is started without --join"
	}
	return ""
}

// notInACluster is what a node answers that waits for a place itself.
const notInACluster = "is not part of a cluster yet"

// plainJoin is an error of a call without what those who passed it on have put around it.
func plainJoin(err error) error {
	var e *kv.Error
	if !errors.As(err, &e) {
		return err
	}
	text := e.Message
	if _, rest, ok := strings.Cut(text, " at passthrough:///"); ok {
		if _, rest, ok = strings.Cut(rest, ": "); ok {
			text = rest
		}
	}
	return errors.New(bare(text))
}

func errorsText(errs []error) string {
	out := make([]string, len(errs))
	for i, err := range errs {
		out[i] = err.Error()
	}
	return strings.Join(out, "; ")
}

// checkJoin refuses addresses at which no node can be: to ask there again and again would help nobody.
func checkJoin(addrs []string) error {
	for _, addr := range addrs {
		host, port, err := net.SplitHostPort(addr)
		switch {
		case err != nil:
			return fmt.Errorf("--join %q: %w: it takes HOST:PORT, the --rpc-addr of a node", addr, err)
		case host == "" || port == "":
			return fmt.Errorf("--join %q: it takes HOST:PORT, the --rpc-addr of a node", addr)
		}
	}
	return nil
}
