package tending

import (
	"encoding/json"
	"time"
)

// agree compares the replicas of every range, asking again while some have no answer yet.
func (s *show) agree() {
	s.t.Helper()
	var sums struct {
		Ranges []struct {
			ID      int64             `json:"range_id"`
			Sums    map[string]string `json:"by_store"`
			Missing []string          `json:"missing"`
			Error   string            `json:"error"`
		} `json:"ranges"`
	}
	for end := time.Now().Add(*within); ; time.Sleep(time.Second) {
		raw, err := s.c.Get(0, "/api/v1/checksums")
		if err == nil {
			err = json.Unmarshal(raw, &sums)
		}
		complete := err == nil && len(sums.Ranges) > 0
		for _, g := range sums.Ranges {
			first := ""
			for _, x := range g.Sums {
				if first == "" {
					first = x
				}
				if x != first {
					s.t.Fatalf("the replicas of range %d differ: %v", g.ID, g.Sums)
				}
			}
			complete = complete && g.Error == "" && len(g.Missing) == 0
		}
		if complete {
			say("the replicas of all %d ranges agree", len(sums.Ranges))
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("not every replica has a checksum: %v: %s", err, raw)
		}
	}
}
