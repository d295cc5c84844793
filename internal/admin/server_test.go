package admin

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/verb"
)

// SQL hands on NULL as an argument that is missing.
func TestCancelOfNothing(t *testing.T) {
	s := &Server{}
	for _, c := range []struct {
		args verb.Args
		want string
	}{
		{verb.Args{}, "operation_id: is missing"},
		{verb.Args{"operation_id": int64(-1)}, "operation_id: -1 is out of range (1 to 9007199254740992)"},
	} {
		_, err := s.Do(t.Context(), Request{Verb: verb.ByName("cancel_operation"), Args: c.args})
		require.EqualError(t, err, c.want)
	}
}
