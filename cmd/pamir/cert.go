package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pamirdb/pamir/internal/certs"
)

const defaultCertsDir = "certs"

func certCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "Make the certificates of a cluster, its nodes and its users",
		Long: `Make the certificates by which nodes, operators and SQL clients know each other.

Make an authority once, then a certificate for each node and each user. A node needs ca.crt, node.crt and node.key; a user
needs ca.crt and client.<user>.crt and .key. Keep ca.key away from both. Nothing that exists is overwritten.`,
	}
	cmd.AddCommand(createCACommand(), createNodeCommand(), createClientCommand(), listCertsCommand())
	return cmd
}

// certFlags are those that all commands share.
type certFlags struct {
	dir, caKey string
	lifetime   time.Duration
}

func (f *certFlags) add(cmd *cobra.Command, lifetime time.Duration) {
	cmd.Flags().StringVar(&f.dir, "certs-dir", defaultCertsDir, "directory of the certificates")
	cmd.Flags().StringVar(&f.caKey, "ca-key", "", "the authority's key (default ca.key in --certs-dir)")
	cmd.Flags().DurationVar(&f.lifetime, "lifetime", lifetime, "how long the certificate is valid")
}

func createCACommand() *cobra.Command {
	var f certFlags
	cmd := &cobra.Command{
		Use: "create-ca", Short: "Make the authority of a new cluster", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := certs.CreateCA(f.dir, f.caKey, f.lifetime); err != nil {
				return err
			}
			return made(cmd, f.dir, certs.CAFile)
		},
	}
	f.add(cmd, certs.CALifetime)
	return cmd
}

func createNodeCommand() *cobra.Command {
	var f certFlags
	cmd := &cobra.Command{
		Use: "create-node HOST...", Short: "Make a node's certificate, for the host names and IP addresses by which it is reached",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, hosts []string) error {
			if err := certs.CreateNode(f.dir, f.caKey, hosts, f.lifetime); err != nil {
				return err
			}
			return made(cmd, f.dir, certs.NodeFile)
		},
	}
	f.add(cmd, certs.NodeLifetime)
	return cmd
}

func createClientCommand() *cobra.Command {
	var f certFlags
	cmd := &cobra.Command{
		Use: "create-client USER", Short: "Make the certificate of a user, for SQL and for the admin commands", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := certs.CreateClient(f.dir, f.caKey, args[0], f.lifetime); err != nil {
				return err
			}
			return made(cmd, f.dir, certs.ClientFile(args[0]))
		},
	}
	f.add(cmd, certs.ClientLifetime)
	return cmd
}

// made tells what there is now.
func made(cmd *cobra.Command, dir, file string) error {
	entries, err := certs.List(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.File == file {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s  (%s, until %s)\n", filepath.Join(dir, file), describe(e), e.NotAfter.UTC().Format(time.DateOnly))
			return err
		}
	}
	return fmt.Errorf("%s is not there: %w", file, os.ErrNotExist)
}

func describe(e certs.Entry) string {
	switch e.For {
	case "ca":
		return "authority " + e.Name
	case "node":
		return "node " + strings.Join(e.Hosts, " ")
	}
	return e.For + " " + e.Name
}

func listCertsCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the certificates in a directory, and what is wrong with them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			entries, err := certs.List(dir)
			if err != nil {
				return err
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), map[string]any{"certificates": listed(entries)})
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			fmt.Fprintln(w, "FILE\tFOR\tNAME\tHOSTS\tUNTIL\tKEY\tPROBLEM")
			for _, e := range entries {
				key := "-"
				if e.HasKey {
					key = "yes"
				}
				until := "-"
				if !e.NotAfter.IsZero() {
					until = e.NotAfter.UTC().Format(time.DateOnly)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.File, e.For, e.Name, strings.Join(e.Hosts, ","), until, key, e.Problem)
			}
			return w.Flush()
		},
	}
	cmd.Flags().StringVar(&dir, "certs-dir", defaultCertsDir, "directory of the certificates")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// listedCert is a certificate as --json has it.
type listedCert struct {
	File    string     `json:"file"`
	For     string     `json:"for"` // ca, node, client
	Name    string     `json:"name"`
	Hosts   []string   `json:"hosts,omitempty"`
	Until   *time.Time `json:"until,omitempty"`
	Key     bool       `json:"key"`
	Problem string     `json:"problem,omitempty"`
}

func listed(entries []certs.Entry) []listedCert {
	out := make([]listedCert, 0, len(entries))
	for _, e := range entries {
		l := listedCert{File: e.File, For: e.For, Name: e.Name, Hosts: e.Hosts, Key: e.HasKey, Problem: e.Problem}
		if until := e.NotAfter.UTC(); !e.NotAfter.IsZero() {
			l.Until = &until
		}
		out = append(out, l)
	}
	return out
}
