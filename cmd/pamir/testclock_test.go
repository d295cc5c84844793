package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClockOffsetFileIsForTestsOnly(t *testing.T) {
	t.Setenv(testEnv, "")
	cmd := command()
	cmd.SetArgs([]string{"start", "--store", t.TempDir(), "--" + testClockFlag, "x"})
	require.ErrorContains(t, cmd.Execute(), "for tests only")
}

func TestClockOffsetFileMovesTheClock(t *testing.T) {
	t.Setenv(testEnv, "1")
	path := filepath.Join(t.TempDir(), "offset")
	c, err := newTestClock(path, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer c.stop()
	off := func() time.Duration { return time.Duration(c.physical() - time.Now().UnixNano()) }
	require.InDelta(t, 0, float64(off()), float64(time.Minute))
	for _, step := range []struct {
		text string
		want time.Duration
	}{{"1h\n", time.Hour}, {"-2h", -2 * time.Hour}, {"nonsense", -2 * time.Hour}, {"", -2 * time.Hour}} {
		require.NoError(t, os.WriteFile(path, []byte(step.text), 0o644))
		c.read()
		require.InDelta(t, float64(step.want), float64(off()), float64(time.Minute), step.text)
	}
	require.NoError(t, os.Remove(path))
	require.Eventually(t, func() bool { return off() < time.Minute && off() > -time.Minute }, 30*time.Second, 10*time.Millisecond,
		"the file is read again without being asked")
}
