package hba

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
)

// The lists of testdata: "parse" prints rules and errors; "match" asks the list parsed last.
func TestLists(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var rules []Rule
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var b strings.Builder
			switch d.Cmd {
			case "parse":
				var errs []*LineError
				rules, errs = Parse(d.Input)
				for _, r := range rules {
					fmt.Fprintf(&b, "%d: %s %s %s %s %s %s %v\n", r.Line, r.Type, show(r.Databases), show(r.Users), r.Address, r.Mask, r.Method, r.Options)
				}
				for _, e := range errs {
					fmt.Fprintln(&b, e)
				}
			case "match":
				for _, line := range strings.Split(d.Input, "\n") {
					f := strings.Fields(line)
					q := Request{Database: f[0], User: f[1], Addr: netip.MustParseAddr(f[2]), TLS: len(f) > 3 && f[3] == "tls",
						Member: func(role string) bool { return role == "admins" && strings.HasPrefix(f[1], "adm") }}
					if r, ok := Match(rules, &q); ok {
						fmt.Fprintf(&b, "%s -> line %d, %s\n", line, r.Line, r.Method)
					} else {
						fmt.Fprintf(&b, "%s -> no rule\n", line)
					}
				}
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			return b.String()
		})
	})
}

func show(ws []Word) string {
	var out []string
	for _, w := range ws {
		if w.Quoted {
			out = append(out, fmt.Sprintf("%q", w.Text))
		} else {
			out = append(out, w.Text)
		}
	}
	return strings.Join(out, ",")
}

func TestDefaults(t *testing.T) {
	for _, c := range []struct{ certs, insecure bool }{{true, false}, {false, false}, {false, true}} {
		_, rules := Defaults(c.certs, c.insecure)
		r, ok := Match(rules, &Request{Database: "d", User: "u", Addr: netip.MustParseAddr("::ffff:127.0.0.1"), TLS: c.certs})
		require.True(t, ok)
		require.Equal(t, c.certs, r.Method == CertOrSCRAM)
		_, ok = Match(rules, &Request{Database: "d", User: "u", Addr: netip.MustParseAddr("10.1.2.3")})
		require.Equal(t, c.insecure, ok)
	}
}

func TestNeverFits(t *testing.T) {
	for list, want := range map[string]string{
		"host all all all reject": "", "host defaultdb all all reject": "", "host other,defaultdb all all reject": "", "host sameuser all all reject": "",
		"host other all all reject": "other", "host postgres,other all all reject": "postgres", `host "all" all all reject`: "all", "host replication all all reject": "replication",
	} {
		rules, errs := Parse(list)
		require.Empty(t, errs)
		require.Equal(t, want, NeverFits(&rules[0], "defaultdb"), list)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("host all all 127.0.0.1/32 trust\n")
	f.Add("hostssl \"a b\",c +d 10.0.0.0 255.0.0.0 scram-sha-256 clientcert=verify-full # x\\\n")
	f.Add(DefaultSecure)
	f.Fuzz(func(t *testing.T, text string) {
		rules, errs := Parse(text)
		lines := strings.Count(text, "\n") + 1
		for _, e := range errs {
			require.True(t, e.Line >= 1 && e.Line <= lines)
		}
		for i := range rules {
			require.True(t, rules[i].Line >= 1 && rules[i].Line <= lines)
			if rules[i].Method == Trust && rules[i].Type != "local" {
				require.True(t, loopback(rules[i].Net) && !rules[i].All)
			}
		}
		Match(rules, &Request{Database: "d", User: "u", Addr: netip.MustParseAddr("127.0.0.1"), Member: func(string) bool { return false }})
	})
}
