package node

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A node that waits says so at once and then now and then: not twice a second, until its log is full of it.
func TestAwaitCatalogSaysItSeldom(t *testing.T) {
	var log bytes.Buffer
	tries := 0
	awaitCatalog(t.Context(), 0, slog.New(slog.NewTextHandler(&log, nil)), func() error {
		if tries++; tries <= 40 {
			return errors.New("no quorum")
		}
		return nil
	})
	require.Equal(t, 41, tries)
	require.Equal(t, 2, strings.Count(log.String(), "waiting for the catalog"), "%s", log.String())
}
