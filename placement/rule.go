package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxReplicas bounds the voters, and the non-voting replicas, of a range.
const MaxReplicas = 9

// Goal is what a range is to survive.
type Goal uint8

const (
	// SurviveZone: replicas are spread as far as the localities allow; nothing is demanded.
	SurviveZone Goal = iota
	// SurviveRegion: no domain of the widest tier may hold half of the voters.
	SurviveRegion
)

// String names the goal.
func (g Goal) String() string {
	if g == SurviveRegion {
		return "region"
	}
	return "zone"
}

// Rule says what is wanted of some ranges.
type Rule struct {
	// Name says whose rule it is, for people: "cluster", "table accounts".
	Name string
	// Replicas is the wanted number of voters; odd.
	Replicas int
	// Constraints on the localities of voters, NonVoterConstraints on those of the others.
	Constraints         []Constraint
	NonVoters           int
	NonVoterConstraints []Constraint
	// LeaderPreference lists localities, the best first: each is a list of tiers that must all be there.
	LeaderPreference [][]string
	Survive          Goal
	// KeepVersions is how long versions that were overwritten stay readable; 0 is not said. No plan depends on it: it is here because
	// it holds for the same spans, is inherited and cut along in the same way.
	KeepVersions time.Duration
}

// Constraint on the localities of replicas.
type Constraint struct {
	// Tier is one tier of a locality: "region=eu".
	Tier string
	// Not: no replica may be there.
	Not bool
	// AtLeast replicas must be there; 0 means all.
	AtLeast int
}

// excludes reports whether no replica may be where a locality is.
func (c Constraint) excludes(locality []string) bool {
	in := slices.Contains(locality, c.Tier)
	return c.Not && in || !c.Not && c.AtLeast == 0 && !in
}

func (c Constraint) String() string {
	switch {
	case c.Not:
		return "-" + c.Tier
	case c.AtLeast > 0:
		return c.Tier + ":" + strconv.Itoa(c.AtLeast)
	}
	return c.Tier
}

// The names of a rule's options, as storage parameters without their prefix, in the order in which they are shown.
const (
	OptReplicas            = "num_replicas"
	OptConstraints         = "constraints"
	OptNonVoters           = "num_nonvoters"
	OptNonVoterConstraints = "nonvoter_constraints"
	OptLeaderPreference    = "leader_preference"
	OptSurvive             = "survive"
	OptGCTTL               = "gc_ttl"
)

// The bounds of gc_ttl. Below MinGCTTL, transactions that wait for nothing but a busy machine would be too old, and so would reads of replicas that
// lag behind; a timestamp that is younger than it can be protected without asking any range.
const (
	MinGCTTL = time.Minute
	MaxGCTTL = 10 * 365 * 24 * time.Hour
)

// Options lists the options of rules.
var Options = []string{OptReplicas, OptConstraints, OptNonVoters, OptNonVoterConstraints, OptLeaderPreference, OptSurvive, OptGCTTL}

// IsOption reports whether a rule has an option of that name.
func IsOption(name string) bool { return slices.Contains(Options, name) }

// Set sets an option from its text. An error says what would be right.
func (r *Rule) Set(name, value string) error {
	n, err := strconv.Atoi(strings.TrimSpace(value))
	switch name {
	case OptReplicas:
		if err != nil || n < 1 || n > MaxReplicas || n%2 == 0 {
			return fmt.Errorf("%s must be an odd number from 1 to %d: an even number of voters survives no more failures than one less", name, MaxReplicas)
		}
		r.Replicas = n
	case OptNonVoters:
		if err != nil || n < 0 || n > MaxReplicas {
			return fmt.Errorf("%s must be a number from 0 to %d", name, MaxReplicas)
		}
		r.NonVoters = n
	case OptConstraints, OptNonVoterConstraints:
		cs, err := parseConstraints(name, value)
		if err != nil {
			return err
		}
		if name == OptConstraints {
			r.Constraints = cs
		} else {
			r.NonVoterConstraints = cs
		}
	case OptLeaderPreference:
		r.LeaderPreference = nil
		for _, alt := range strings.Split(value, ";") {
			if alt = strings.TrimSpace(alt); alt == "" {
				continue
			}
			var tiers []string
			for _, t := range strings.Split(alt, ",") {
				if t = strings.TrimSpace(t); !isTier(t) {
					return fmt.Errorf("%s: %q is not of the form key=value; several in one place are joined by a comma, alternatives, the best first, by a semicolon", name, t)
				}
				tiers = append(tiers, t)
			}
			r.LeaderPreference = append(r.LeaderPreference, tiers)
		}
	case OptSurvive:
		switch strings.ToLower(strings.TrimSpace(value)) {
		case "zone":
			r.Survive = SurviveZone
		case "region":
			r.Survive = SurviveRegion
		default:
			return fmt.Errorf("%s must be zone or region", name)
		}
	case OptGCTTL:
		d, err := parseTTL(value)
		if err != nil || d < MinGCTTL || d > MaxGCTTL {
			return fmt.Errorf("%s must be a time from 1 minute to 10 years, such as 10m, 25h or 7d: for so long the past can be read, and a transaction run", name)
		}
		r.KeepVersions = d
	default:
		return fmt.Errorf("there is no option %s: the options are %s", name, strings.Join(Options, ", "))
	}
	return nil
}

// Get returns an option's text.
func (r *Rule) Get(name string) string {
	switch name {
	case OptReplicas:
		return strconv.Itoa(r.Replicas)
	case OptNonVoters:
		return strconv.Itoa(r.NonVoters)
	case OptConstraints:
		return constraintText(r.Constraints)
	case OptNonVoterConstraints:
		return constraintText(r.NonVoterConstraints)
	case OptLeaderPreference:
		var alts []string
		for _, tiers := range r.LeaderPreference {
			alts = append(alts, strings.Join(tiers, ","))
		}
		return strings.Join(alts, ";")
	case OptSurvive:
		return r.Survive.String()
	case OptGCTTL:
		return ttlText(r.KeepVersions)
	}
	return ""
}

// Check refuses a rule that contradicts itself. Whether there are stores to satisfy it is another question, which
// changes with the cluster: Plan answers it.
func (r *Rule) Check() error {
	sum := 0
	for _, c := range r.Constraints {
		sum += c.AtLeast
	}
	if sum > r.Replicas {
		return fmt.Errorf("%s asks for %d replicas, and there are to be %d (%s)", OptConstraints, sum, r.Replicas, OptReplicas)
	}
	sum = 0
	for _, c := range r.NonVoterConstraints {
		sum += c.AtLeast
	}
	if sum > r.NonVoters {
		return fmt.Errorf("%s asks for %d replicas, and there are to be %d (%s)", OptNonVoterConstraints, sum, r.NonVoters, OptNonVoters)
	}
	if r.Survive == SurviveRegion && r.Replicas < 3 {
		return fmt.Errorf("%s = region needs at least 3 replicas (%s)", OptSurvive, OptReplicas)
	}
	return r.checkRegions()
}

// checkRegions refuses constraints that no set of nodes could satisfy: all voters in two regions, or in one that may not have any, or, if the
// loss of any region is to be survived, most of them in one. Of the tiers only that called region is known to be a place that a node has one of.
func (r *Rule) checkRegions() error {
	const tier = "region="
	only, not := "", map[string]bool{}
	for _, c := range r.Constraints {
		if c.Not {
			not[c.Tier] = true
		}
	}
	for _, c := range r.Constraints {
		switch all := c.AtLeast == 0; {
		case c.Not || !strings.HasPrefix(c.Tier, tier):
		case not[c.Tier]:
			return fmt.Errorf("%s contradict each other: replicas in %s, and none there", OptConstraints, c.Tier)
		case r.Survive == SurviveRegion && (all || 2*c.AtLeast > r.Replicas):
			return fmt.Errorf("%s = region cannot hold with %s = %s, which puts most replicas into one region: leave one of the two out, or set %s = zone", OptSurvive, OptConstraints, c, OptSurvive)
		case all && only != "" && only != c.Tier:
			return fmt.Errorf("%s contradict each other: all replicas in %s, and all in %s", OptConstraints, only, c.Tier)
		case all:
			only = c.Tier
		}
	}
	return nil
}

// parseTTL reads a time as Go and PostgreSQL's settings write it: 10m, 10min, 1h30m, 7d.
func parseTTL(text string) (time.Duration, error) {
	s := strings.ReplaceAll(strings.ToLower(text), " ", "")
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 10*365 {
			return 0, fmt.Errorf("%q is no number of days", days)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	return time.ParseDuration(strings.Replace(s, "min", "m", 1))
}

// ttlText writes a time shortly: 10m, 25h.
func ttlText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	s := d.String()
	if d%time.Minute == 0 {
		s = strings.TrimSuffix(s, "0s")
	}
	if d%time.Hour == 0 {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func constraintText(cs []Constraint) string {
	out := make([]string, len(cs))
	for i, c := range cs {
		out[i] = c.String()
	}
	return strings.Join(out, ",")
}

// parseConstraints reads "region=eu", "-zone=a", "region=eu:2,region=us:1".
func parseConstraints(name, text string) ([]Constraint, error) {
	var out []Constraint
	for _, f := range strings.Split(text, ",") {
		if f = strings.TrimSpace(f); f == "" {
			continue
		}
		var c Constraint
		rest := f
		switch f[0] {
		case '-':
			c.Not, rest = true, f[1:]
		case '+':
			rest = f[1:]
		}
		if tier, n, ok := strings.Cut(rest, ":"); ok {
			v, err := strconv.Atoi(n)
			if err != nil || v < 1 || v > MaxReplicas || c.Not {
				return nil, fmt.Errorf("%s: %q: a number of replicas from 1 to %d follows the colon", name, f, MaxReplicas)
			}
			c.AtLeast, rest = v, tier
		}
		if !isTier(rest) {
			return nil, fmt.Errorf("%s: %q is not of the form key=value (all replicas there), -key=value (none) or key=value:number (so many at least)", name, f)
		}
		c.Tier = rest
		out = append(out, c)
	}
	return out, nil
}

func isTier(s string) bool {
	k, v, ok := strings.Cut(s, "=")
	return ok && k != "" && v != "" && !strings.ContainsAny(s, " ,;:+'\"")
}
