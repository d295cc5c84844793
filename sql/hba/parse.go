package hba

import (
	"fmt"
	"net/netip"
	"strings"
)

// Method by which a client shows who it is.
type Method string

// Methods.
const (
	Trust       Method = "trust"
	Reject      Method = "reject"
	SCRAM       Method = "scram-sha-256"
	Cert        Method = "cert"
	CertOrSCRAM Method = "cert-or-scram-sha-256"
)

// Word of a list; a quoted one is a name even if it reads like a keyword.
type Word struct {
	Text   string
	Quoted bool
}

// is reports whether the word is a keyword.
func (w Word) is(keyword string) bool { return !w.Quoted && w.Text == keyword }

// Rule is one line.
type Rule struct {
	Line          int
	Type          string // local, host, hostssl, hostnossl
	Databases     []Word
	Users         []Word
	All           bool // any address
	Net           netip.Prefix
	Address, Mask string // as they are shown
	Method        Method
	ClientCert    string // verify-ca or verify-full, of option clientcert
	Options       []string
}

// LineError is what is wrong with a line.
type LineError struct {
	Line int
	Text string
	Msg  string
}

// Error says it.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Msg) }

// maxText bounds a list of rules.
const maxText = 256 << 10

// Parse reads a list. Lines with errors give no rule.
func Parse(text string) ([]Rule, []*LineError) { return parse(text, false) }

func parse(text string, anywhere bool) (rules []Rule, errs []*LineError) {
	if len(text) > maxText {
		return nil, []*LineError{{Line: 1, Msg: fmt.Sprintf("the list is longer than %d bytes", maxText)}}
	}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		no, line := i+1, strings.TrimSuffix(lines[i], "\r")
		for strings.HasSuffix(line, "\\") && i+1 < len(lines) {
			i++
			line = line[:len(line)-1] + strings.TrimSuffix(lines[i], "\r")
		}
		fields, err := split(line)
		if err == "" && len(fields) == 0 {
			continue
		}
		r := Rule{Line: no}
		if err == "" {
			err = r.read(fields, anywhere)
		}
		if err != "" {
			errs = append(errs, &LineError{Line: no, Text: line, Msg: err})
			continue
		}
		rules = append(rules, r)
	}
	return rules, errs
}

// split takes a line apart: fields, each a list of words.
func split(line string) (fields [][]Word, err string) {
	i := 0
	blank := func() {
		for i < len(line) && (line[i] == ' ' || line[i] == '\t' || line[i] == '\r') {
			i++
		}
	}
	for {
		blank()
		if i >= len(line) || line[i] == '#' {
			return fields, ""
		}
		var list []Word
		for {
			var b strings.Builder
			quoted, in := false, false
			for i < len(line) {
				c := line[i]
				if in {
					if c == '"' {
						if i+1 < len(line) && line[i+1] == '"' {
							b.WriteByte('"')
							i += 2
							continue
						}
						in = false
						i++
						continue
					}
				} else {
					if c == '"' {
						in, quoted = true, true
						i++
						continue
					}
					if c == ' ' || c == '\t' || c == ',' || c == '#' || c == '\r' {
						break
					}
				}
				b.WriteByte(c)
				i++
			}
			if in {
				return nil, "unterminated quoted name"
			}
			if b.Len() == 0 && !quoted {
				return nil, "empty name in a list"
			}
			if strings.ContainsRune(b.String(), 0) {
				return nil, "a name holds a zero byte"
			}
			list = append(list, Word{Text: b.String(), Quoted: quoted})
			if i >= len(line) || line[i] != ',' {
				break
			}
			i++
			blank()
		}
		fields = append(fields, list)
	}
}

// read fills the rule from its fields; it returns what is wrong, or "".
func (r *Rule) read(fields [][]Word, anywhere bool) string {
	if len(fields[0]) != 1 {
		return "multiple values specified for connection type"
	}
	r.Type = fields[0][0].Text
	switch r.Type {
	case "local", "host", "hostssl", "hostnossl":
	case "hostgssenc", "hostnogssenc":
		return r.Type + " is not supported: there is no GSSAPI encryption here"
	default:
		return fmt.Sprintf("invalid connection type \"%s\"", r.Type)
	}
	if len(fields) < 2 {
		return "end-of-line before database specification"
	}
	r.Databases = fields[1]
	if len(fields) < 3 {
		return "end-of-line before role specification"
	}
	r.Users = fields[2]
	for _, w := range append(append([]Word(nil), r.Databases...), r.Users...) {
		if !w.Quoted && (strings.HasPrefix(w.Text, "@") || strings.HasPrefix(w.Text, "/")) {
			return fmt.Sprintf("\"%s\": files and regular expressions are not supported", w.Text)
		}
	}
	at := 3
	if r.Type != "local" {
		n, err := r.address(fields[3:])
		if err != "" {
			return err
		}
		at += n
	}
	if at >= len(fields) {
		return "end-of-line before authentication method"
	}
	if len(fields[at]) != 1 {
		return "multiple values specified for authentication type"
	}
	r.Method = Method(fields[at][0].Text)
	if err := r.checkMethod(anywhere); err != "" {
		return err
	}
	return r.options(fields[at+1:])
}

// address reads one or two fields.
func (r *Rule) address(fields [][]Word) (n int, err string) {
	if len(fields) == 0 {
		return 0, "end-of-line before IP address specification"
	}
	if len(fields[0]) != 1 {
		return 0, "multiple values specified for host address"
	}
	w := fields[0][0]
	r.Address = w.Text
	switch {
	case w.is("all"):
		r.All = true
		return 1, ""
	case w.is("samehost"), w.is("samenet"):
		return 0, w.Text + " is not supported: write the addresses"
	}
	if strings.Contains(w.Text, "/") {
		p, perr := netip.ParsePrefix(w.Text)
		if perr != nil {
			return 0, fmt.Sprintf("invalid CIDR mask in address \"%s\"", w.Text)
		}
		r.setNet(p)
		return 1, ""
	}
	a, perr := netip.ParseAddr(w.Text)
	if perr != nil || a.Zone() != "" {
		return 0, fmt.Sprintf("\"%s\" is not an IP address: host names are not supported here", w.Text)
	}
	if len(fields) < 2 {
		return 0, "end-of-line before netmask specification"
	}
	if len(fields[1]) != 1 {
		return 0, "multiple values specified for netmask"
	}
	m, perr := netip.ParseAddr(fields[1][0].Text)
	if perr != nil || m.Is4() != a.Is4() {
		return 0, fmt.Sprintf("invalid IP mask \"%s\"", fields[1][0].Text)
	}
	ones, ok := maskBits(m.AsSlice())
	if !ok {
		return 0, fmt.Sprintf("IP mask \"%s\" is not a prefix", fields[1][0].Text)
	}
	r.setNet(netip.PrefixFrom(a, ones))
	return 2, ""
}

func (r *Rule) setNet(p netip.Prefix) {
	r.Address = p.Addr().String()
	r.Net = p.Masked()
	mask := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	if a, ok := netip.AddrFromSlice(mask); ok {
		r.Mask = a.String()
	}
}

func maskBits(b []byte) (int, bool) {
	n, ended := 0, false
	for _, x := range b {
		for bit := byte(0x80); bit != 0; bit >>= 1 {
			switch {
			case x&bit == 0:
				ended = true
			case ended:
				return 0, false
			default:
				n++
			}
		}
	}
	return n, true
}

func (r *Rule) checkMethod(anywhere bool) string {
	switch r.Method {
	case Reject, SCRAM:
		return ""
	case Trust:
		if r.Type != "local" && !anywhere && (r.All || !loopback(r.Net)) {
			return "trust is for loopback addresses only (127.0.0.0/8 and ::1/128)"
		}
		return ""
	case Cert, CertOrSCRAM:
		if r.Type != "hostssl" {
			return fmt.Sprintf("%s authentication is only supported on hostssl connections", r.Method)
		}
		return ""
	case "md5":
		return "md5 is not supported, its hashes are as good as passwords: use scram-sha-256"
	case "password":
		return "password is not supported, it would send the password to the server: use scram-sha-256"
	case "gss", "sspi", "ident", "peer", "pam", "bsd", "ldap", "radius":
		return fmt.Sprintf("authentication method \"%s\" is not supported", r.Method)
	}
	return fmt.Sprintf("invalid authentication method \"%s\"", r.Method)
}

func loopback(p netip.Prefix) bool {
	return p.Addr().Is4() && p.Bits() >= 8 && p.Addr().IsLoopback() || p.Addr().Is6() && p.Bits() == 128 && p.Addr().IsLoopback()
}

func (r *Rule) options(fields [][]Word) string {
	for _, f := range fields {
		for _, w := range f {
			name, value, ok := strings.Cut(w.Text, "=")
			if !ok {
				return fmt.Sprintf("authentication option not in name=value format: %s", w.Text)
			}
			switch {
			case name != "clientcert":
				return fmt.Sprintf("authentication option \"%s\" is not supported", name)
			case r.Type != "hostssl":
				return "clientcert can only be configured for \"hostssl\" rows"
			case value != "verify-ca" && value != "verify-full":
				return fmt.Sprintf("invalid value for clientcert: \"%s\"", value)
			}
			r.ClientCert = value
			r.Options = append(r.Options, w.Text)
		}
	}
	return ""
}
