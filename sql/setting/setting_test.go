package setting

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// fakeOwner knows nothing special; whether it is in a transaction, the story says.
type fakeOwner struct{ inTxn, super bool }

func (o *fakeOwner) InTransaction() bool                            { return o.inTxn }
func (o *fakeOwner) Superuser() bool                                { return o.super }
func (o *fakeOwner) KnownSetting(d *Def) string                     { return "known:" + d.Name }
func (o *fakeOwner) CheckSetting(_ *Def, v string) (string, error)  { return v, nil }
func (o *fakeOwner) SetSpecial(*Def, string) (done bool, err error) { return false, nil }
func (o *fakeOwner) ResetSpecial(d *Def) (done bool, err error)     { return false, nil }

// TestStory runs the stories of testdata: what sessions set, and what is left of it.
//
//	startup NAME VALUE | set NAME VALUE | local NAME VALUE | reset NAME | reset-all
//	begin | mark | rollback-to | commit | rollback | superuser
//	show NAME | changed (names that differ from the boot value, with their source) | report
func TestStory(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		o := &fakeOwner{}
		c := &Values{}
		c.Init(o)
		c.Report(func(string, string) {})
		marks := []int{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var b strings.Builder
			for _, line := range strings.Split(d.Input, "\n") {
				verb, rest, _ := strings.Cut(line, " ")
				name, value, _ := strings.Cut(rest, " ")
				var err error
				switch verb {
				case "startup":
					err = c.Startup(name, value)
				case "set":
					err = c.Set(name, value, false)
				case "local":
					err = c.Set(name, value, true)
				case "reset":
					err = c.Reset(name, false)
				case "reset-all":
					c.ResetAll()
				case "begin":
					o.inTxn = true
				case "mark":
					marks = append(marks, c.Mark())
				case "rollback-to":
					c.RollbackTo(marks[len(marks)-1])
				case "commit", "rollback":
					c.End(verb == "commit")
					o.inTxn, marks = false, nil
				case "superuser":
					o.super = true
				case "show":
					v, ok := c.Lookup(name)
					if !ok {
						err = Unrecognized(name)
						break
					}
					fmt.Fprintf(&b, "%s = %s\n", name, v)
				case "changed":
					for _, s := range All() {
						if !s.Known && c.Value(s) != s.Boot {
							fmt.Fprintf(&b, "%s = %s (%s)\n", s.Name, s.Show(c.Value(s)), c.Source(s))
						}
					}
					for n, v := range c.Custom() {
						fmt.Fprintf(&b, "%s = %s\n", n, v)
					}
				case "report":
					c.TakeDirty()
					c.Report(func(name, value string) {
						if !strings.HasPrefix(value, "known:") {
							fmt.Fprintf(&b, "client is told: %s = %s\n", name, value)
						}
					})
				default:
					t.Fatalf("%s: what is %q?", d.Pos, line)
				}
				if err != nil {
					fmt.Fprintf(&b, "%s: %v\n", line, err)
				}
			}
			return b.String()
		})
	})
}

// TestBootValues: what a setting begins with is a value that it takes, in canonical form (invariant 1).
func TestBootValues(t *testing.T) {
	c := &Values{}
	c.Init(&fakeOwner{})
	for _, d := range All() {
		if d.Known || d.Boot == "" {
			continue
		}
		if v, err := c.Check(d, d.Boot); err != nil || v != d.Boot {
			t.Errorf("%s: boot value %q becomes %q, %v", d.Name, d.Boot, v, err)
		}
	}
}
