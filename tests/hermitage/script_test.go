package hermitage

import (
	"fmt"
	"strings"
)

// script is one anomaly.
type script struct {
	head    string // everything before the answers, as it is in the file
	setup   []string
	steps   []step
	differs map[string]string      // level → why
	answers map[string][2][]string // level → Pamir's and PostgreSQL's answers, a step each
}

// step is one statement of a session.
type step struct{ session, text string }

var levels = []string{"read committed", "repeatable read", "serializable"}

const (
	pamir    = 0
	postgres = 1
)

var systems = [2]string{"Pamir", "PostgreSQL"}

// parse reads a file. Its parts are the description (#), setup, steps, "differs" lines, and a section for each level.
func parse(src string) (*script, error) {
	head, rest, _ := strings.Cut(src, "\n== ")
	s := &script{head: strings.TrimRight(head, "\n") + "\n", differs: map[string]string{}, answers: map[string][2][]string{}}
	part := ""
	for n, line := range strings.Split(head, "\n") {
		switch t := strings.TrimSpace(line); {
		case t == "" || strings.HasPrefix(t, "#"):
		case t == "setup" || t == "steps":
			part = t
		case strings.HasPrefix(t, "differs "):
			level, why, ok := strings.Cut(t[len("differs "):], ": ")
			if !ok {
				return nil, fmt.Errorf("line %d: differs LEVEL: why", n+1)
			}
			s.differs[level] = why
		case part == "setup":
			s.setup = append(s.setup, t)
		case part == "steps":
			who, what, ok := strings.Cut(t, ": ")
			if !ok {
				return nil, fmt.Errorf("line %d: SESSION: statement", n+1)
			}
			s.steps = append(s.steps, step{who, what})
		default:
			return nil, fmt.Errorf("line %d: %q belongs to nothing", n+1, t)
		}
	}
	for _, sec := range strings.Split(rest, "\n== ") {
		level, body, _ := strings.Cut(sec, "\n")
		var as [2][]string
		for _, line := range strings.Split(body, "\n") {
			switch {
			case strings.HasPrefix(line, "T"):
				as[pamir], as[postgres] = append(as[pamir], ""), append(as[postgres], "")
			case strings.TrimSpace(line) == "" || len(as[0]) == 0:
			default:
				t, last := strings.TrimSpace(line), len(as[0])-1
				both := true
				for i, name := range systems {
					if a, ok := strings.CutPrefix(t, name+": "); ok {
						as[i][last], both = a, false
					}
				}
				if both {
					as[pamir][last], as[postgres][last] = t, t
				}
			}
		}
		s.answers[level] = as
	}
	return s, nil
}

// format is the file with these answers.
func (s *script) format(answers map[string][2][]string) string {
	var b strings.Builder
	b.WriteString(s.head)
	for _, l := range levels {
		b.WriteString("\n== " + l + "\n")
		as := answers[l]
		for i, st := range s.steps {
			fmt.Fprintf(&b, "%s: %s\n", st.session, strings.ReplaceAll(st.text, "LEVEL", l))
			var a [2]string
			for k := range a {
				if i < len(as[k]) {
					a[k] = as[k][i]
				}
			}
			if a[0] == a[1] {
				fmt.Fprintf(&b, "    %s\n", a[0])
				continue
			}
			for k := range a {
				fmt.Fprintf(&b, "    %s: %s\n", systems[k], a[k])
			}
		}
	}
	return b.String()
}

func differ(a [2][]string) bool {
	return strings.Join(a[0], "\n") != strings.Join(a[1], "\n")
}
