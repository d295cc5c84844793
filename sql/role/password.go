package role

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/xdg-go/stringprep"
)

// Verifier is what a server keeps of a password (RFC 5802): enough to check it, not enough to log in with.
type Verifier struct {
	Iterations           int
	Salt                 []byte
	StoredKey, ServerKey []byte
}

// iterations as PostgreSQL 15 has them. A verifier brings its own number.
const (
	iterations    = 4096
	maxIterations = 10_000_000
	saltLen       = 16
)

// NewVerifier makes a verifier with a random salt.
func NewVerifier(password string) (*Verifier, error) {
	salt := make([]byte, saltLen)
	rand.Read(salt) // never fails
	return derive(password, salt, iterations)
}

func derive(password string, salt []byte, n int) (*Verifier, error) {
	// What cannot be prepared is taken as it is, by clients, too.
	if p, err := stringprep.SASLprep.Prepare(password); err == nil && p != "" {
		password = p
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, n, sha256.Size)
	if err != nil {
		return nil, err
	}
	mac := func(what string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(what))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	return &Verifier{Iterations: n, Salt: salt, StoredKey: stored[:], ServerKey: mac("Server Key")}, nil
}

// String is PostgreSQL's form of it.
func (v *Verifier) String() string {
	b := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", v.Iterations, b(v.Salt), b(v.StoredKey), b(v.ServerKey))
}

// ParseVerifier reads PostgreSQL's form.
func ParseVerifier(s string) (*Verifier, bool) {
	rest, ok := strings.CutPrefix(s, "SCRAM-SHA-256$")
	if !ok {
		return nil, false
	}
	head, keys, ok1 := strings.Cut(rest, "$")
	n, salt, ok2 := strings.Cut(head, ":")
	stored, server, ok3 := strings.Cut(keys, ":")
	if !ok1 || !ok2 || !ok3 {
		return nil, false
	}
	v := &Verifier{}
	var err error
	if v.Iterations, err = strconv.Atoi(n); err != nil || v.Iterations < 1 || v.Iterations > maxIterations {
		return nil, false
	}
	for _, p := range []struct {
		to   *[]byte
		from string
	}{{&v.Salt, salt}, {&v.StoredKey, stored}, {&v.ServerKey, server}} {
		if *p.to, err = base64.StdEncoding.DecodeString(p.from); err != nil {
			return nil, false
		}
	}
	if len(v.StoredKey) != sha256.Size || len(v.ServerKey) != sha256.Size || len(v.Salt) == 0 || len(v.Salt) > 1024 {
		return nil, false
	}
	return v, true
}

// Check reports whether a password is the one. It takes the time of making a verifier, whatever the answer.
func (v *Verifier) Check(password string) bool {
	got, err := derive(password, v.Salt, v.Iterations)
	return err == nil && hmac.Equal(got.StoredKey, v.StoredKey)
}

// Mock is a verifier that nothing satisfies, for users that do not exist: the same for a user every time, and not to be told from a
// real one by who does not know the secret.
func Mock(secret []byte, user string) *Verifier {
	mac := func(what string) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(what))
		h.Write([]byte{0})
		h.Write([]byte(user))
		return h.Sum(nil)
	}
	return &Verifier{Iterations: iterations, Salt: mac("salt")[:saltLen], StoredKey: mac("stored"), ServerKey: mac("server")}
}

var md5Form = regexp.MustCompile(`^md5[0-9a-f]{32}$`)

// IsMD5 reports whether a password is given in PostgreSQL's old hashed form.
func IsMD5(s string) bool { return md5Form.MatchString(s) }
