package builtin

import (
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Version is what version() answers.
var Version = "PostgreSQL 15.0 (Pamir) on x86_64-pc-linux-gnu, compiled by Go, 64-bit"

var (
	randMu  sync.Mutex
	randSrc = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
)

func (c *Context) random() float64 {
	if c.Rand != nil {
		return c.Rand()
	}
	randMu.Lock()
	defer randMu.Unlock()
	return randSrc.Float64()
}

func session(ctx *Context) (Session, error) {
	if ctx.Session == nil {
		return nil, pgerr.New(pgerr.InternalError, "this function needs a session")
	}
	return ctx.Session, nil
}

func encode(b, format []byte) ([]byte, error) {
	switch strings.ToLower(string(format)) {
	case "hex":
		return hex.AppendEncode([]byte{}, b), nil
	case "base64":
		s := base64.StdEncoding.EncodeToString(b)
		out := make([]byte, 0, len(s)+len(s)/76)
		for len(s) > 76 {
			out = append(append(out, s[:76]...), '\n')
			s = s[76:]
		}
		return append(out, s...), nil
	case "escape":
		return encodeEscape(b), nil
	}
	return nil, badEncoding(format)
}

func encodeEscape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for _, c := range b {
		switch {
		case c == 0 || c >= 0x80:
			out = append(out, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		case c == '\\':
			out = append(out, '\\', '\\')
		default:
			out = append(out, c)
		}
	}
	return out
}

func badEncoding(format []byte) error {
	return pgerr.New(pgerr.InvalidParameterValue, "unrecognized encoding: \"%s\"", format)
}

func decode(s, format []byte) ([]byte, error) {
	switch strings.ToLower(string(format)) {
	case "hex":
		return types.DecodeHex(s)
	case "base64":
		clean := make([]byte, 0, len(s))
		for _, c := range s {
			if c == ' ' || c == '\n' || c == '\t' || c == '\r' {
				continue
			}
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=') {
				return nil, pgerr.New(pgerr.InvalidParameterValue, "invalid symbol \"%c\" found while decoding base64 sequence", c)
			}
			clean = append(clean, c)
		}
		out, err := base64.StdEncoding.AppendDecode([]byte{}, clean)
		if err != nil {
			return nil, pgerr.New(pgerr.InvalidParameterValue, "invalid base64 end sequence").WithHint("Input data is missing padding, is truncated, or is otherwise corrupted.")
		}
		return out, nil
	case "escape":
		if len(s) >= 2 && s[0] == '\\' && s[1] == 'x' {
			return nil, pgerr.New(pgerr.InvalidTextRepresentation, "invalid input syntax for type bytea")
		}
		d, err := types.ParseText(types.Of(types.ByteaOID), s, types.DefaultEnv)
		return d.B, err
	}
	return nil, badEncoding(format)
}

func settingOf(ctx *Context, name string, missingOK bool) (types.Datum, error) {
	s, err := session(ctx)
	if err != nil {
		return types.Datum{}, err
	}
	v, ok := s.Setting(name)
	if !ok {
		if missingOK {
			return types.NullDatum, nil
		}
		return types.Datum{}, pgerr.New(pgerr.UndefinedObject, "unrecognized configuration parameter \"%s\"", name)
	}
	return types.NewString(v), nil
}

func init() {
	reg(map2(bytesOf, bytesOf, bytesOf, encode), "binary_encode")
	reg(map2(bytesOf, bytesOf, bytesOf, decode), "binary_decode")
	reg(rowKernel(func(_ *Context, _ []*types.Vec, i int, out *types.Vec) error {
		u, err := uuid.NewRandom()
		if err != nil {
			return pgerr.New(pgerr.InternalError, "could not generate random values")
		}
		out.Bytes[i] = append([]byte(nil), u[:]...)
		return nil
	}), "gen_random_uuid")
	reg(rowKernel(func(ctx *Context, _ []*types.Vec, i int, out *types.Vec) error {
		out.Floats[i] = ctx.random()
		return nil
	}), "drandom")
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		x := args[0].Floats[i]
		if !(x >= -1 && x <= 1) {
			return pgerr.New(pgerr.InvalidParameterValue, "setseed parameter %s is out of allowed range [-1,1]", types.AppendFloat(nil, x, false, 1))
		}
		// The sequence from here on is the session's own and repeatable, though not PostgreSQL's.
		r := rand.New(rand.NewPCG(uint64(int64(x*(1<<52))), 0x9e3779b97f4a7c15))
		ctx.Rand = r.Float64
		return nil
	}), "setseed")
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, _ *types.Vec) error {
		s := args[0].Floats[i]
		if !(s > 0) {
			return nil
		}
		if ctx.Sleep != nil {
			return ctx.Sleep(s)
		}
		time.Sleep(time.Duration(min(s, 86400*365) * float64(time.Second)))
		return nil
	}), "pg_sleep")
	text := func(f func(ctx *Context) (string, error), s ...string) {
		reg(rowKernel(func(ctx *Context, _ []*types.Vec, i int, out *types.Vec) error {
			v, err := f(ctx)
			out.Bytes[i] = []byte(v)
			return err
		}), s...)
	}
	text(func(*Context) (string, error) { return Version, nil }, "pgsql_version")
	text(func(ctx *Context) (string, error) {
		s, err := session(ctx)
		if err != nil {
			return "", err
		}
		return s.Database(), nil
	}, "current_database")
	text(func(ctx *Context) (string, error) {
		s, err := session(ctx)
		if err != nil {
			return "", err
		}
		return s.User(), nil
	}, "current_user")
	text(func(ctx *Context) (string, error) {
		s, err := session(ctx)
		if err != nil {
			return "", err
		}
		if two, ok := s.(interface{ SessionUser() string }); ok {
			return two.SessionUser(), nil
		}
		return s.User(), nil
	}, "session_user")
	text(func(*Context) (string, error) { return "UTF8", nil }, "pg_client_encoding", "getdatabaseencoding")
	reg(datumKernel(func(ctx *Context, _ []*types.Vec, _ int) (types.Datum, error) {
		s, err := session(ctx)
		if err != nil {
			return types.Datum{}, err
		}
		for _, n := range s.SearchPath() {
			if n != "pg_catalog" && n != "pg_temp" {
				return types.NewString(n), nil
			}
		}
		return types.NullDatum, nil
	}), "current_schema")
	reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
		s, err := session(ctx)
		if err != nil {
			return types.Datum{}, err
		}
		var names []types.Datum
		implicit := args[0].Ints[i] != 0
		for _, n := range s.SearchPath() {
			if n == "pg_catalog" {
				implicit = false
			}
		}
		if implicit {
			names = append(names, types.NewString("pg_catalog"))
		}
		for _, n := range s.SearchPath() {
			names = append(names, types.NewString(n))
		}
		return types.NewArray(types.MakeArray1(types.NameOID, names)), nil
	}), "current_schemas")
	reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
		return settingOf(ctx, string(args[0].Bytes[i]), len(args) > 1 && args[1].Ints[i] != 0)
	}), "show_config_by_name", "show_config_by_name_missing_ok")
	reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
		if args[0].IsNull(i) {
			return types.Datum{}, pgerr.New(pgerr.NullValueNotAllowed, "SET requires parameter name")
		}
		s, err := session(ctx)
		if err != nil {
			return types.Datum{}, err
		}
		name := string(args[0].Bytes[i])
		value := ""
		if !args[1].IsNull(i) {
			value = string(args[1].Bytes[i])
		}
		if err := s.SetSetting(name, value, !args[2].IsNull(i) && args[2].Ints[i] != 0); err != nil {
			return types.Datum{}, err
		}
		return settingOf(ctx, name, true)
	}), "set_config_by_name")
	reg(datumKernel(func(ctx *Context, _ []*types.Vec, _ int) (types.Datum, error) {
		s, err := session(ctx)
		if err != nil {
			return types.Datum{}, err
		}
		return types.NewInt(int64(s.BackendPID())), nil
	}), "pg_backend_pid")
	reg(rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
		out.Ints[i] = int64(args[0].Type.OID)
		return nil
	}), "pg_typeof")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		if args[0].IsNull(i) {
			return types.NullDatum, nil
		}
		t := types.Type{OID: types.OID(args[0].Ints[i]), Mod: -1}
		if !args[1].IsNull(i) {
			t.Mod = int32(args[1].Ints[i])
		}
		return types.NewString(FormatTypeName(t)), nil
	}), "format_type")
	nulls := func(want bool) Kernel {
		return rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
			n := int64(0)
			for _, a := range args {
				n += b2i(a.IsNull(i) == want)
			}
			out.Ints[i] = n
			return nil
		})
	}
	reg(nulls(true), "pg_num_nulls")
	reg(nulls(false), "pg_num_nonnulls")
	reg(rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
		name := types.NullDatum
		if args[0].Ints[i] == 6 {
			name = types.NewString("UTF8")
		}
		out.Set(i, name)
		return nil
	}), "PG_encoding_to_char")
}

// FormatTypeName is format_type for every type there is, composite types of the system catalogs included.
func FormatTypeName(t types.Type) string {
	s := types.FormatType(t)
	if s != "???" {
		return s
	}
	r := TypeByOID(t.OID)
	if r == nil {
		return s
	}
	if r.Elem != 0 {
		return FormatTypeName(types.Of(r.Elem)) + "[]"
	}
	if r.Schema != "pg_catalog" {
		return r.Schema + "." + QuoteIdent(r.Name)
	}
	return QuoteIdent(r.Name)
}
