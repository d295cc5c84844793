package admin

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The document names all codes that there are, and no others.
func TestCodesAreDescribed(t *testing.T) {
	f, ok := reflect.TypeFor[Problem]().FieldByName("Code")
	require.True(t, ok)
	require.ElementsMatch(t, slices.Collect(maps.Keys(statusOf)), strings.Split(f.Tag.Get("enum"), ","))
}
