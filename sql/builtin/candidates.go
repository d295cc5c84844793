package builtin

import (
	"github.com/pamirdb/pamir/sql/types"
)

func (d *db) matching(actual []types.OID, cands []candidate) []candidate {
	out := cands[:0:0]
	for _, c := range cands {
		if d.canCoerce(actual, c.args[:len(actual)], 'i') {
			out = append(out, c)
		}
	}
	return out
}

// keepBest keeps the candidates with the highest score; all of them if it is zero.
func keepBest(cands []candidate, score func(*candidate) int) []candidate {
	best := 0
	var out []candidate
	for i := range cands {
		s := score(&cands[i])
		if s > best || i == 0 {
			best = s
			out = out[:0]
		}
		if s == best {
			out = append(out, cands[i])
		}
	}
	if best == 0 {
		return cands
	}
	return out
}

// selectBest is func_select_candidate.
func (d *db) selectBest(actual []types.OID, cands []candidate) *candidate {
	n := len(actual)
	input := make([]types.OID, n)
	unknowns := 0
	for i, t := range actual {
		input[i] = t
		if t == types.UnknownOID {
			unknowns++
		} else {
			input[i] = d.base(t)
		}
	}
	cands = keepBest(cands, func(c *candidate) int {
		s := 0
		for i, t := range input {
			if t != types.UnknownOID && c.args[i] == t {
				s++
			}
		}
		return s
	})
	if len(cands) == 1 {
		return &cands[0]
	}
	cats := make([]byte, n)
	for i, t := range input {
		cats[i], _ = d.category(t)
	}
	cands = keepBest(cands, func(c *candidate) int {
		s := 0
		for i, t := range input {
			if t == types.UnknownOID {
				continue
			}
			cat, pref := d.category(c.args[i])
			if c.args[i] == t || pref && cat == cats[i] {
				s++
			}
		}
		return s
	})
	if len(cands) == 1 {
		return &cands[0]
	}
	if unknowns == 0 {
		return nil
	}
	resolved := true
	prefs := make([]bool, n)
	for i, t := range input {
		if t != types.UnknownOID {
			continue
		}
		conflict := false
		cats[i], prefs[i] = 0, false
		for k := range cands {
			cat, pref := d.category(cands[k].args[i])
			switch {
			case cats[i] == 0:
				cats[i], prefs[i] = cat, pref
			case cat == cats[i]:
				prefs[i] = prefs[i] || pref
			case cat == 'S':
				cats[i], prefs[i] = cat, pref
			default:
				conflict = true
			}
		}
		if conflict && cats[i] != 'S' {
			resolved = false
			break
		}
	}
	if resolved {
		var kept []candidate
		for k := range cands {
			ok := true
			for i, t := range input {
				if t != types.UnknownOID {
					continue
				}
				cat, pref := d.category(cands[k].args[i])
				if cat != cats[i] || prefs[i] && !pref {
					ok = false
					break
				}
			}
			if ok {
				kept = append(kept, cands[k])
			}
		}
		if len(kept) > 0 {
			cands = kept
		}
		if len(cands) == 1 {
			return &cands[0]
		}
	}
	if unknowns < n {
		known := types.OID(0)
		for _, t := range input {
			if t == types.UnknownOID {
				continue
			}
			if known == 0 {
				known = t
			} else if known != t {
				return nil
			}
		}
		same := make([]types.OID, n)
		for i := range same {
			same[i] = known
		}
		if m := d.matching(same, cands); len(m) == 1 {
			return &m[0]
		}
	}
	return nil
}
