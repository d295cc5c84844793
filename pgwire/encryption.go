package pgwire

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"strings"

	"github.com/pamirdb/pamir/sql"
)

// encryption describes the connection's TLS for pg_stat_ssl, in PostgreSQL's words; nil without.
func (c *conn) encryption() *sql.Encryption {
	t, ok := c.net.(*tls.Conn)
	if !ok {
		return nil
	}
	st := t.ConnectionState()
	e := &sql.Encryption{Version: strings.Replace(tls.VersionName(st.Version), "TLS 1", "TLSv1", 1), Cipher: tls.CipherSuiteName(st.CipherSuite), Bits: 256}
	if strings.Contains(e.Cipher, "AES_128") {
		e.Bits = 128
	}
	if c.peer != nil {
		e.ClientDN, e.IssuerDN, e.ClientSerial = oneLine(c.peer.Subject), oneLine(c.peer.Issuer), c.peer.SerialNumber.String()
	}
	return e
}

// nameTypes are the attributes of names that have a short form.
var nameTypes = map[string]string{"2.5.4.3": "CN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU",
	"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC", "1.2.840.113549.1.9.1": "emailAddress"}

// oneLine is a name as "/O=Pamir/CN=root".
func oneLine(n pkix.Name) string {
	var b strings.Builder
	for _, a := range n.Names {
		v, ok := a.Value.(string)
		if !ok {
			continue
		}
		id := a.Type.String()
		if short := nameTypes[id]; short != "" {
			id = short
		}
		b.WriteString("/" + id + "=" + v)
	}
	return b.String()
}
