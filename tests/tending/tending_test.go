package tending

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// all steps, in their order. Delete goes on where load has ended.
var all = []struct {
	name string
	show func(*testing.T)
}{
	{"load", showLoad}, {"hot", showHot}, {"faults", showFaults}, {"decommission", showDecommission}, {"churn", showChurn},
}

func TestTending(t *testing.T) {
	if *steps == "" {
		t.Skip("takes half an hour: make tending, or -steps")
	}
	want := strings.Split(*steps, ",")
	for _, w := range want {
		require.True(t, w == "all" || w == "delete" || slices.ContainsFunc(all, func(s struct {
			name string
			show func(*testing.T)
		}) bool {
			return s.name == w
		}), "a step named %q", w)
	}
	for _, s := range all {
		if wanted(s.name) {
			t.Run(s.name, s.show)
		}
	}
}

// TestChurn is the step churn, for as long as it may take in all tests.
func TestChurn(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes a minute")
	}
	if *steps != "" {
		t.Skip("steps were asked for")
	}
	churn(t, 40*time.Second, *churnSeed)
}
