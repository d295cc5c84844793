package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/recovery"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

func debugCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "debug", Short: "Tools for stopped stores"}
	cmd.AddCommand(recoverCommand())
	return cmd
}

const recoverLong = `Make a cluster serve again that has lost the majority of some ranges' replicas for good.

Use it when nothing else helps: if a lost node, or its disk, can be brought back, bring it back instead. What was on the lost stores
only is lost, and a transaction over several ranges may be there in one of them and missing in another.

  1. Stop all nodes that are left.
  2. pamir debug recover collect --store DIR --out FILE     for each store, on its machine (or skip this where all can be reached from one)
  3. pamir debug recover plan --out PLAN FILE... --store DIR...    and read what it says; with --make-empty, ranges that are lost whole are made anew
  4. pamir debug recover apply --plan PLAN --store DIR      for each store, on its machine
  5. Start the nodes. Join new ones: ranges get their replicas back.

The cluster gets a new id. A lost store that turns up later is refused as one of another cluster: wipe it, and join it as a new node.`

func recoverCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "recover", Short: "Recover from the loss of a majority", Long: recoverLong}
	cmd.AddCommand(recoverCollect(), recoverPlan(), recoverApply())
	return cmd
}

// debugLog shows warnings only: opening a store says a lot.
func debugLog() *slog.Logger { return logger(slog.LevelWarn) }

func recoverCollect() *cobra.Command {
	var store, out string
	var force bool
	cmd := &cobra.Command{
		Use: "collect --store DIR --out FILE", Short: "Read what a stopped store has; changes nothing", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := mayWrite(out, force); err != nil {
				return err
			}
			f, err := recovery.Collect(nil, store, debugLog())
			if err != nil {
				return err
			}
			if err := writeJSON(out, f, force); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "Store %d of node %d has %d replicas.\n", f.Store, f.Node, len(f.Replicas))
			return err
		},
	}
	cmd.Flags().StringVar(&store, "store", "", "directory of the store")
	cmd.Flags().StringVar(&out, "out", "", "file to write")
	cmd.Flags().BoolVar(&force, "force", false, overwrites)
	return required(cmd, "store", "out")
}

func recoverPlan() *cobra.Command {
	var stores []string
	var out string
	var empty, force bool
	cmd := &cobra.Command{
		Use: "plan --out PLAN [FILE...] [--store DIR]...", Short: "Plan from what all stores that are left have, and say what may be lost",
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := mayWrite(out, force); err != nil {
				return err
			}
			var facts []*recovery.Facts
			for _, name := range files {
				f := &recovery.Facts{}
				if err := readJSON(name, "collect", f); err != nil {
					return err
				}
				facts = append(facts, f)
			}
			for _, dir := range stores {
				f, err := recovery.Collect(nil, dir, debugLog())
				if err != nil {
					return err
				}
				facts = append(facts, f)
			}
			p, err := recovery.Make(facts)
			if err != nil {
				return err
			}
			ts, err := storedTables(facts)
			if err != nil {
				return err
			}
			var kept []recovery.Kept
			if empty {
				kept = p.MakeAnew(facts)
			}
			printPlan(cmd.OutOrStdout(), p, ts)
			printGone(cmd.OutOrStdout(), p, ts, lostRanges(facts), empty, kept)
			return writeJSON(out, p, force)
		},
	}
	cmd.Flags().StringArrayVar(&stores, "store", nil, "directory of a store that is left; may be repeated")
	cmd.Flags().StringVar(&out, "out", "", "file to write the plan to")
	cmd.Flags().BoolVar(&force, "force", false, overwrites)
	cmd.Flags().BoolVar(&empty, "make-empty", false, "make ranges of which no replica is left anew, without any rows")
	return required(cmd, "out")
}

func recoverApply() *cobra.Command {
	var store, plan string
	var yes bool
	var maxOffset time.Duration
	cmd := &cobra.Command{
		Use: "apply --plan PLAN --store DIR", Short: "Do to a stopped store what the plan says", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := &recovery.Plan{}
			if err := readJSON(plan, "plan", p); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if !yes {
				fmt.Fprintf(out, "%d ranges go on with what one replica has; what only the stores %s had is lost, for good.", len(p.Ranges), storeList(p.Lost))
				if len(p.Anew) > 0 {
					fmt.Fprintf(out, " %s made anew, empty.", counted(len(p.Anew), "range is", "ranges are"))
				}
				fmt.Fprint(out, " This cannot be undone.\nType yes to go on: ")
				answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
				if err != nil && !errors.Is(err, io.EOF) {
					return err
				}
				if strings.TrimSpace(answer) != "yes" {
					return errors.New("nothing was changed")
				}
			}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			done, err := recovery.Apply(ctx, nil, store, p, maxOffset, debugLog())
			switch {
			case err != nil:
				return err
			case done.Before:
				fmt.Fprintln(out, "The plan was carried out on this store before. Nothing was changed.")
			default:
				if len(done.Anew) > 0 {
					fmt.Fprintf(out, "%s made anew here, empty.\n", counted(len(done.Anew), "range was", "ranges were"))
				}
				fmt.Fprintf(out, "%d ranges go on here. The store belongs to cluster %s now: carry the plan out on every store that is left (%s), then start the nodes.\n",
					len(done.Ranges)+len(done.Found), p.NewCluster, storeList(p.Survivors))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&store, "store", "", "directory of the store")
	cmd.Flags().StringVar(&plan, "plan", "", "the plan")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().DurationVar(&maxOffset, "max-offset", node.DefaultMaxOffset, "as given to the nodes")
	return required(cmd, "store", "plan")
}

func required(cmd *cobra.Command, flags ...string) *cobra.Command {
	for _, f := range flags {
		if err := cmd.MarkFlagRequired(f); err != nil {
			panic(err) // the flag is not there
		}
	}
	return cmd
}

// overwrites is the help of --force.
const overwrites = "write over the file, if it is there"

// mayWrite refuses to write over a file, before anything has been done: it may be what another store has, or the plan that some of the stores were changed by already,
// and a plan that is made anew has another cluster id.
func mayWrite(name string, force bool) error {
	if _, err := os.Lstat(name); err != nil || force {
		return nil // whatever else is amiss with the name, writing says
	}
	return fmt.Errorf("%s is there already: give another name, or --force to write over it", name)
}

// writeJSON writes what the next step reads; over a file that is there only if force is set.
func writeJSON(name string, v any, force bool) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

// readJSON reads what a step of a recovery has written. The files of two steps look alike, and a plan with nothing in it would be carried out as one of nothing.
func readJSON(name, step string, v any) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%s is not what pamir debug recover %s writes: %w", name, step, err)
	}
	return nil
}

func storeList(ms []recovery.Member) string {
	var out []string
	for _, m := range ms {
		out = append(out, fmt.Sprintf("n%d/s%d", m.Node, m.Store))
	}
	return strings.Join(out, ", ")
}

// storedTables finds tables by the number under which their rows lie. Several stores may have the catalog, and none, all of it.
func storedTables(facts []*recovery.Facts) (tables, error) {
	ts := tables{}
	for _, f := range facts {
		for _, row := range f.Objects {
			t, ok, err := catalog.StoredTable(row)
			if err != nil {
				return nil, err
			}
			if ok {
				ts[t.DataID] = t
			}
		}
	}
	return ts, nil
}

type tables map[uint64]*catalog.Table

// pretty prints a key with the names and values that a person knows, where the table is known.
func (ts tables) pretty(k keys.Key) string {
	t, ix := rowenc.Owner(k, func(data uint64) (*catalog.Table, bool) { t, ok := ts[data]; return t, ok })
	if t == nil || ix == nil {
		return keys.Pretty(k)
	}
	return rowenc.Pretty(k, t, ix, types.DefaultEnv)
}

// in lists the tables with keys in a span.
func (ts tables) in(span keys.Span) string {
	var out []string
	for data, t := range ts {
		k := keys.Table(data)
		if span.Overlaps(keys.Span{Start: k, End: k.PrefixEnd()}) {
			out = append(out, t.Name)
		}
	}
	slices.Sort(out)
	const most = 8
	if len(out) > most {
		out = append(out[:most], fmt.Sprintf("and %d more", len(out)-most))
	}
	switch {
	case span.Start.Less(keys.TableMin):
		out = append([]string{"addresses of ranges, ids, rules"}, out...)
	case span.Start.Less(keys.Table(keys.FirstUserTable)):
		out = append([]string{"catalog"}, out...)
	}
	return strings.Join(out, ", ")
}

func printPlan(out io.Writer, p *recovery.Plan, ts tables) {
	fmt.Fprintf(out, "Cluster %s\n  left: %s\n  lost: %s\n\n", p.Cluster, storeList(p.Survivors), storeList(p.Lost))
	fmt.Fprintf(out, "%d ranges have a majority of their replicas and stay as they are. ", p.Healthy)
	if len(p.Ranges) == 0 {
		fmt.Fprintln(out, "None goes on with what one replica has.")
	} else {
		fmt.Fprintf(out, "%d go on with what one replica has:\n\n", len(p.Ranges))
	}
	for _, r := range p.Ranges {
		d := r.Descriptor
		fmt.Fprintf(out, "  range %d  %s to %s\n", d.RangeID, ts.pretty(d.StartKey), ts.pretty(d.EndKey))
		if t := ts.in(d.Span()); t != "" {
			fmt.Fprintf(out, "    tables     %s\n", t)
		}
		fmt.Fprintf(out, "    goes on    on s%d, %d rows, %d bytes; its log ends at %d of term %d, applied to %d\n", r.Store, r.Rows, r.Bytes, r.Last.Index, r.Last.Term, r.Applied.Index)
		if len(r.Lost) > 0 {
			fmt.Fprintf(out, "    lost       %s\n", ids(r.Lost))
		}
		if len(r.Others) > 0 {
			fmt.Fprintf(out, "    removed    %s, which are not ahead of it\n", ids(r.Others))
		}
		since := "nothing is known of later writes"
		if !r.Complete.IsEmpty() {
			since = fmt.Sprintf("complete up to %s; later writes may be missing", time.Unix(0, r.Complete.WallTime).UTC().Format("2006-01-02 15:04:05.000 UTC"))
		}
		if !r.Sure {
			since += "; the last entries of its log may never have been acknowledged, and are kept"
		}
		fmt.Fprintf(out, "    writes     %s\n", since)
	}
}

// lostRanges are those that the meta range knows, as far as it is left, and that have no replica on any of the stores.
func lostRanges(facts []*recovery.Facts) []*kv.RangeDescriptor {
	newest := map[kv.RangeID]*kv.RangeDescriptor{}
	for _, f := range facts {
		for _, d := range f.Addresses {
			if have := newest[d.RangeID]; have == nil || have.Generation < d.Generation {
				newest[d.RangeID] = d
			}
		}
	}
	for _, f := range facts {
		for _, r := range f.Replicas {
			delete(newest, r.Descriptor.RangeID)
		}
	}
	return slices.SortedFunc(maps.Values(newest), func(a, b *kv.RangeDescriptor) int { return a.StartKey.Compare(b.StartKey) })
}

// printGone ends the plan with what no store has.
func printGone(out io.Writer, p *recovery.Plan, ts tables, lost []*kv.RangeDescriptor, empty bool, kept []recovery.Kept) {
	for _, s := range p.Gone {
		fmt.Fprintf(out, "\n  NO REPLICA IS LEFT of %s to %s. Everything there is lost.\n", ts.pretty(s.Start), ts.pretty(s.End))
		if t := ts.in(s); t != "" {
			fmt.Fprintf(out, "    tables     %s\n", t)
		}
		for _, d := range lost {
			if d.Span().Overlaps(s) {
				var on []kv.StoreID
				for _, r := range d.Replicas {
					on = append(on, r.StoreID)
				}
				fmt.Fprintf(out, "    range %-4d %s to %s, was on %s\n", d.RangeID, ts.pretty(d.StartKey), ts.pretty(d.EndKey), ids(on))
			}
		}
		anew := slices.IndexFunc(p.Anew, func(a recovery.Anew) bool { return a.Descriptor.StartKey.Equal(s.Start) })
		why := slices.IndexFunc(kept, func(k recovery.Kept) bool { return k.Span.Start.Equal(s.Start) })
		switch {
		case anew >= 0:
			fmt.Fprintf(out, "    made anew  as range %d, empty, on s%d: the tables are there, without these rows\n", p.Anew[anew].Descriptor.RangeID, p.Anew[anew].Store)
		case why >= 0:
			fmt.Fprintf(out, "    stays      unavailable: %s\n", kept[why].Why)
		case !empty:
			fmt.Fprint(out, "    stays      unavailable, unless it is made anew, empty: plan again with --make-empty\n")
		}
		if s.End.Compare(keys.Max) == 0 && anew < 0 {
			fmt.Fprint(out, "               The rows of new tables would be there: none can be written before\n")
		}
	}
	fmt.Fprint(out, "\nA transaction over several ranges may be there in one and missing in another: check what must add up.\n"+
		"If a lost store can be brought back, do that instead.\n")
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func ids(stores []kv.StoreID) string {
	var out []string
	for _, s := range stores {
		out = append(out, fmt.Sprintf("s%d", s))
	}
	return strings.Join(out, ", ")
}
