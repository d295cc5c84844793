package tending

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

var (
	steps = flag.String("steps", "", "steps to show, with commas between them; all, if \"all\"")

	megabytes = flag.Int("mb", 2048, "load: megabytes of rows")
	rowBytes  = flag.Int("row", 1000, "load: bytes of a row")
	readRate  = flag.Int("reads", 400, "load: point reads a second, by 8 clients")
	rangeMB   = flag.Int("range-mb", 64, "megabytes that a range may hold")
	within    = flag.Duration("within", 10*time.Minute, "load, delete, decommission: how long coming to rest may take")

	mergeAfter = flag.Duration("merge-after", 30*time.Second, "delete: for how long ranges must not have been cut before they are merged")

	hotNodes = flag.Int("hot-nodes", 1, "hot: how many of the three nodes the clients connect to")

	repeat    = flag.Int("repeat", 5, "faults: times each")
	kinds     = flag.String("faults", strings.Join(faultNames(), ","), "faults: which")
	clients   = flag.Int("clients", 100, "faults: connections")
	faultTime = flag.Duration("fault-time", 5*time.Second, "faults: how long each lasts")
	slowSync  = flag.Duration("slow-sync", 300*time.Millisecond, "faults: what a sync of a slow disk takes longer")

	leaveMB = flag.Int("leave-mb", 512, "decommission: megabytes of rows")

	churnTime = flag.Duration("churn-time", 10*time.Minute, "churn: how long")
	churnSeed = flag.Uint64("seed", 0, "churn: of the choices; 0: from the time")
)

// wanted reports whether a step was asked for. Delete needs load.
func wanted(step string) bool {
	want := strings.Split(*steps, ",")
	return slices.Contains(want, "all") || slices.Contains(want, step) || step == "load" && slices.Contains(want, "delete")
}

// say prints a line at once: go test keeps what a test logs until it has ended.
func say(format string, args ...any) {
	fmt.Printf("%s  "+format+"\n", append([]any{time.Now().UTC().Format("15:04:05")}, args...)...)
}

// table prints rows of cells under a head.
func table(title string, head string, rows [][]string) {
	fmt.Printf("\n%s\n\n", title)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, strings.ReplaceAll(head, "|", "\t")+"\t")
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t")+"\t")
	}
	w.Flush()
	fmt.Println()
}

func mib(b float64) string { return fmt.Sprintf("%.0f MiB", b/(1<<20)) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
