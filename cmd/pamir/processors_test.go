package main

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSpread(t *testing.T) {
	was := runtime.GOMAXPROCS(2)
	defer runtime.GOMAXPROCS(was)
	t.Setenv("GOMAXPROCS", "2")
	require.Equal(t, 2, spread())
	require.Equal(t, 2, runtime.GOMAXPROCS(0), "who sets it is left alone")
	t.Setenv("GOMAXPROCS", "")
	require.Equal(t, 2, spread(), "the number of processors")
	require.Equal(t, 2+background, runtime.GOMAXPROCS(0))
}
