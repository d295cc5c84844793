package keys

import (
	"fmt"
	"strings"
)

// Pretty prints a key for logs and errors: "/table/104/1/8000000000000007",
// "/meta/...", "/system/next-range-id", "/local/lock/table/...". Columns are shown in
// hexadecimal, since their types are known to the catalog only.
func Pretty(k Key) string {
	switch {
	case len(k) == 0:
		return "/min"
	case k.Equal(Max):
		return "/max"
	case k[0] == tablePrefix:
		if len(k) == 1 {
			return "/table"
		}
		table, rest, err := DecodeUvarint(k[1:])
		if err != nil {
			return fmt.Sprintf("/table/?%x", []byte(k[1:]))
		}
		if len(rest) == 0 {
			return fmt.Sprintf("/table/%d", table)
		}
		index, rest, err := DecodeUvarint(rest)
		if err != nil {
			return fmt.Sprintf("/table/%d/?%x", table, rest)
		}
		if len(rest) == 0 {
			return fmt.Sprintf("/table/%d/%d", table, index)
		}
		return fmt.Sprintf("/table/%d/%d/%x", table, index, rest)
	case k[0] == metaPrefix:
		if len(k) == 1 {
			return "/meta"
		}
		return "/meta" + Pretty(k[1:])
	case k[0] == systemPrefix:
		return "/system/" + printable(k[1:])
	case k[0] == localPrefix && len(k) > 1:
		return prettyLocal(k)
	}
	return fmt.Sprintf("/?%x", []byte(k))
}

func prettyLocal(k Key) string {
	switch k[1] {
	case localStore:
		return "/local/store/" + printable(k[2:])
	case localUnreplicated, localReplicated:
		if id, replicated, name, err := DecodeRangeLocal(k); err == nil {
			kind := "raft"
			if replicated {
				kind = "range"
			}
			return fmt.Sprintf("/local/%s/%d/%s", kind, id, printable([]byte(name)))
		}
	case localTxnRecord:
		if anchor, id, err := DecodeTxnRecord(k); err == nil {
			return fmt.Sprintf("/local/txn%s/%x", Pretty(anchor), id)
		}
	case localOutcome:
		if shelf, anchor, id, err := DecodeOutcome(k); err == nil {
			return fmt.Sprintf("/local/outcome/%d%s/%x", shelf, Pretty(anchor), id)
		}
	case localLock:
		if locked, err := DecodeLock(k); err == nil {
			return "/local/lock" + Pretty(locked)
		}
	}
	return fmt.Sprintf("/local/?%x", []byte(k[1:]))
}

func printable(b []byte) string {
	var sb strings.Builder
	for _, c := range b {
		if c >= 0x20 && c < 0x7f {
			sb.WriteByte(c)
		} else {
			fmt.Fprintf(&sb, "\\x%02x", c)
		}
	}
	return sb.String()
}
