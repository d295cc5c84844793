package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/sql/verb"
)

// Commands by which operators look at a cluster and change it. They are made from the table of verbs: see package verb.

// groups are the words that commands begin with.
var groups = map[string]string{
	"node":      "Look at nodes, drain and decommission them",
	"range":     "Look at ranges, split and move them",
	"placement": "Look at what placement does and why; rules; pause and resume",
	"operation": "Look at what was begun, and cancel it",
}

func operateCommands() []*cobra.Command {
	byGroup := map[string]*cobra.Command{}
	var out []*cobra.Command
	for i := range verb.Table {
		v := &verb.Table[i]
		if v.Command == "" {
			continue
		}
		group, name, sub := strings.Cut(v.Command, " ")
		if !sub {
			out = append(out, verbCommand(v, group))
			continue
		}
		g := byGroup[group]
		if g == nil {
			g = &cobra.Command{Use: group, Short: groups[group]}
			byGroup[group] = g
			out = append(out, g)
		}
		g.AddCommand(verbCommand(v, name))
	}
	return out
}

// asked is what the flags of all these commands say.
type asked struct {
	host, certsDir, user string
	json                 bool
	detach               bool
	key                  string
	said                 io.Writer // what is not the answer
}

func verbCommand(v *verb.Verb, name string) *cobra.Command {
	var q asked
	use := name
	least, most := 0, len(v.Positional)
	for _, p := range v.Positional {
		word := strings.ToUpper(p)
		switch v.Param(p).Kind {
		case verb.Texts:
			word, most = strings.TrimSuffix(word, "S")+"...", -1
			least++
		default:
			least++
		}
		use += " " + word
	}
	cmd := &cobra.Command{
		Use: use, Short: v.Summary, Long: strings.TrimSpace(v.Summary + ".\n\n" + v.Detail),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < least || most >= 0 && len(args) > most {
				return fmt.Errorf("usage: %s", cmd.UseLine())
			}
			return nil
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		what, _, number := strings.Cut(err.Error(), ": strconv.")
		switch {
		case number:
			return fmt.Errorf("%s: not a number", what)
		case most != 0 && strings.Contains(err.Error(), "shorthand"):
			return fmt.Errorf("%w (what begins with - and is no flag, such as a negative number, goes after --: pamir range split accounts -- -5)", err)
		}
		return err
	})
	f := cmd.Flags()
	f.StringVar(&q.host, "host", fromEnv("PAMIR_HOST", node.DefaultHTTPAddr), "HTTP address of a node, or of several, comma-separated: the first that answers is asked (PAMIR_HOST)")
	f.StringVar(&q.certsDir, "certs-dir", fromEnv("PAMIR_CERTS_DIR", ""), "directory with ca.crt, and client.<user>.crt and .key, if the user has a certificate (PAMIR_CERTS_DIR)")
	f.StringVar(&q.user, "user", fromEnv("PAMIR_USER", "root"), "who asks, if the cluster has certificates; without a certificate of theirs the password is taken from PAMIR_PASSWORD, or asked for (PAMIR_USER)")
	f.BoolVar(&q.json, "json", false, "print the answer as JSON")
	if v.Changes() && v.Name != "cancel_operation" {
		f.BoolVar(&q.detach, "detach", false, "begin, and do not wait for the end")
		f.StringVar(&q.key, "idempotency-key", "", "the same user with the same key gets the same operation (default: a new one each time)")
	}
	flags := map[string]any{}
	for i := range v.Params {
		p := &v.Params[i]
		if slices.Contains(v.Positional, p.Name) {
			continue
		}
		help := p.Help
		if p.Enum != nil {
			help += " (" + strings.Join(p.Enum, ", ") + ")"
		}
		flag := strings.ReplaceAll(p.Name, "_", "-")
		paged := v.Param("after") != nil
		switch {
		case paged && p.Name == "after":
			continue // all pages are fetched
		case paged && p.Name == "limit":
			help += " (default: all)"
		}
		switch p.Kind {
		case verb.Int:
			n, _ := strconv.ParseInt(p.Default, 10, 64) // of the table: a number or nothing
			if paged {
				n = 0
			}
			flags[p.Name] = f.Int64(flag, n, help)
		case verb.Bool:
			flags[p.Name] = f.Bool(flag, false, help)
		case verb.Texts:
			flags[p.Name] = f.StringArray(flag, nil, help)
		default:
			flags[p.Name] = f.String(flag, p.Default, help)
		}
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a := verb.Args{}
		for i, name := range v.Positional {
			p := v.Param(name)
			texts := args[i : i+1]
			if p.Kind == verb.Texts {
				texts = args[i:]
			}
			x, err := p.Parse(texts...)
			if err != nil {
				return err
			}
			a[name] = x
		}
		for name, at := range flags {
			if !f.Changed(strings.ReplaceAll(name, "_", "-")) {
				continue
			}
			switch x := at.(type) {
			case *int64:
				a[name] = *x
			case *bool:
				a[name] = *x
			case *[]string:
				a[name] = *x
			case *string:
				a[name] = *x
			}
		}
		given := make(verb.Args, len(a))
		for k, x := range a {
			given[k] = x // Check fills in defaults, which are the server's to fill in
		}
		if err := v.Check(given); err != nil {
			return err
		}
		// An interrupt ends the waiting, and says what became of what was begun; a second one ends the process.
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		defer stop()
		cmd.SetContext(ctx)
		q.said = cmd.ErrOrStderr()
		c, err := newAdminClient(&q)
		if err != nil {
			return err
		}
		if v.Changes() {
			return c.change(cmd, v, a)
		}
		return c.look(cmd, v, a)
	}
	return cmd
}

// request makes the HTTP request of a verb with its arguments.
func (c *adminClient) request(v *verb.Verb, a verb.Args) (path string, query url.Values, body []byte, err error) {
	path, query = admin.Prefix+v.Path, url.Values{}
	fields := map[string]any{}
	for name, x := range a {
		text := fmt.Sprint(x)
		switch v.Param(name).In {
		case verb.Path:
			path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(text))
		case verb.Query:
			if list, ok := x.([]string); ok {
				query[name] = list
			} else {
				query.Set(name, text)
			}
		default:
			fields[name] = x
		}
	}
	if len(fields) > 0 {
		body, err = json.Marshal(fields)
	}
	return path, query, body, err
}

// look prints a verb's answer; of one in pages, all of them, unless a limit was asked for.
func (c *adminClient) look(cmd *cobra.Command, v *verb.Verb, a verb.Args) error {
	out := cmd.OutOrStdout()
	path, query, _, err := c.request(v, a)
	if err != nil {
		return err
	}
	answer, err := c.ask(cmd.Context(), http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	if v.List == "" {
		if c.asked.json {
			return printJSON(out, answer)
		}
		return printObject(out, answer)
	}
	items, err := admin.Items(answer, v.List)
	if err != nil {
		return err
	}
	_, limited := a["limit"]
	for !limited {
		var page struct{ Next string }
		if err := json.Unmarshal(answer, &page); err != nil {
			return err
		}
		if page.Next == "" {
			break
		}
		query.Set("after", page.Next)
		if answer, err = c.ask(cmd.Context(), http.MethodGet, path, query, nil); err != nil {
			return err
		}
		more, err := admin.Items(answer, v.List)
		if err != nil {
			return err
		}
		items = append(items, more...)
	}
	if c.asked.json {
		err = printList(out, answer, v.List, items)
	} else {
		err = printTable(out, v.Columns, items, widthOf(out))
	}
	if err != nil {
		return err
	}
	var said struct{ Problem string }
	if err := json.Unmarshal(answer, &said); err != nil {
		return err
	}
	switch {
	case said.Problem == "":
		return nil
	case v.Name == "nodes":
		return fmt.Errorf("this is what the node knows by itself; the cluster does not answer: %s", said.Problem)
	}
	return errors.New(said.Problem)
}

// printList prints the answer of a verb with the rows of all its pages.
func printList(w io.Writer, answer []byte, list string, items []any) error {
	whole := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(answer))
	dec.UseNumber()
	if err := dec.Decode(&whole); err != nil {
		return fmt.Errorf("the answer is not understood: %w", err)
	}
	if items == nil {
		items = []any{}
	}
	whole[list] = items
	delete(whole, "next")
	b, err := json.Marshal(whole)
	if err != nil {
		return err
	}
	return printJSON(w, b)
}

// change has a verb carried out, and waits for its end unless told otherwise.
func (c *adminClient) change(cmd *cobra.Command, v *verb.Verb, a verb.Args) error {
	path, query, body, err := c.request(v, a)
	if err != nil {
		return err
	}
	if v.Name != "cancel_operation" {
		// With a key the request can be sent again when its answer is lost.
		if c.key = c.asked.key; c.key == "" {
			c.key = uuid.NewString()
		}
	}
	answer, err := c.ask(cmd.Context(), v.Method, path, query, body)
	if err != nil {
		return err
	}
	var op admin.Operation
	if err := json.Unmarshal(answer, &op); err != nil {
		return fmt.Errorf("the answer is not understood: %w", err)
	}
	if !op.State.Over() && !c.asked.detach {
		if answer, err = c.wait(cmd, &op); err != nil {
			return err
		}
	}
	if c.asked.json {
		if err := printJSON(cmd.OutOrStdout(), answer); err != nil {
			return err
		}
	} else if err := printOutcome(cmd.OutOrStdout(), &op); err != nil {
		return err
	}
	switch {
	case op.State == admin.Failed && op.Error != nil:
		return fmt.Errorf("operation %d has failed: %w", op.ID, op.Error)
	case op.State == admin.Canceled && v.Name != "cancel_operation":
		return fmt.Errorf("operation %d was cancelled", op.ID)
	}
	return nil
}

var errDetached = errors.New("detached")
