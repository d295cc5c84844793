package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/store"
)

func main() {
	if err := command().Execute(); err != nil {
		if errors.Is(err, errDetached) {
			os.Exit(130) // as after an interrupt; what it means has been said
		}
		fmt.Fprintln(os.Stderr, "pamir:", explain(err))
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "pamir",
		Short:         "A distributed SQL store that speaks the Postgres protocol",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(startCommand(), demoCommand(), certCommand(), debugCommand(), versionCommand())
	root.AddCommand(operateCommands()...)
	refuseUnknown(root)
	return root
}

// refuseUnknown makes words that commands only begin with refuse one that follows and is no command: cobra prints the help and succeeds, and
// a script that misspells "node drain" goes on to stop the node.
func refuseUnknown(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		refuseUnknown(sub)
	}
	if fits := cmd.Args; fits != nil && cmd.Runnable() && !cmd.HasSubCommands() {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if fits(cmd, args) != nil { // which counts words, or calls a directory an unknown command
				return fmt.Errorf("usage: %s", cmd.UseLine())
			}
			return nil
		}
	}
	if !cmd.HasSubCommands() || cmd.Runnable() || !cmd.HasParent() {
		return
	}
	cmd.Args, cmd.SuggestionsMinimumDistance = cobra.ArbitraryArgs, 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		said := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
		if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
			said += ": did you mean " + strings.Join(like, " or ") + "?"
		}
		return fmt.Errorf("%s (%s --help lists what there is)", said, cmd.CommandPath())
	}
}

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "version", Short: "Say which build this is", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), map[string]string{"build": build(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "pamir %s (%s, %s/%s)\n", build(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// encodeJSON is what --json prints of a command that asks no node.
func encodeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// build names this build by what the Go tool recorded.
func build() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	rev, dirty := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			rev = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+"
			}
		}
	}
	if rev == "" {
		return info.Main.Version
	}
	return rev + dirty
}

// explain adds to an error what the operator can do about it.
func explain(err error) string {
	hint := ""
	var problem *admin.Problem
	switch {
	case errors.As(err, &problem) && problem.Code == admin.CodeUnavailable:
		hint = "pamir node list says which nodes answer; it can be asked again." // each command has a key of its own, which is what the API would speak of
	case errors.As(err, &problem):
		hint = problem.Hint
	case errors.Is(err, store.ErrLocked):
		hint = "Another pamir process has this directory open. Stop it, or give another --store."
	case errors.Is(err, store.ErrNewerFormat):
		hint = "Nothing was changed. Run the newer version of pamir that wrote it."
	case errors.Is(err, store.ErrOlderFormat):
		hint = "Nothing was changed. There is no conversion from that format: run the version of pamir that wrote it, dump its data (pg_dump), and load that into a new cluster."
	case errors.Is(err, store.ErrNotStore):
		hint = "Nothing was changed. Give --store an empty directory, or one that pamir has made."
	case errors.Is(err, store.ErrCorrupt), kv.HasCode(err, kv.CodeCorruption):
		hint = "Nothing was repaired or deleted. If the cluster has other replicas, start this node with an empty directory and --join; otherwise restore from a backup."
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		hint = "The disk (or its quota) is full. Make room and start again: nothing that was acknowledged is lost."
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "Something else listens there; another node, perhaps. Choose another address."
	case errors.Is(err, fs.ErrPermission):
		hint = "The user that runs pamir must be able to write there."
	}
	lines := strings.Split(err.Error(), "\n")
	if hint != "" {
		lines = append(lines, hint)
	}
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// logger writes to stderr; debug level with PAMIR_LOG=debug.
func logger(level slog.Level) *slog.Logger {
	if os.Getenv("PAMIR_LOG") == "debug" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
