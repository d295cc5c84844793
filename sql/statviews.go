package sql

import (
	"sort"
	"strconv"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/role"
)

// The statistics views of PostgreSQL that are about sessions, of all nodes.

// encryptionRows is pg_stat_ssl.
func (s *Session) encryptionRows() [][]*string {
	var infos []Info
	for _, a := range s.activity() {
		infos = append(infos, a.Sessions...)
	}
	sort.Slice(infos, func(i, j int) bool { return infos[i].PID < infos[j].PID })
	rows := make([][]*string, len(infos))
	for i := range infos {
		in := &infos[i]
		row := make([]*string, 8)
		row[0] = str(strconv.Itoa(int(in.PID)))
		if s.hasRole(in.User) || s.hasRole(role.ReadStats) {
			row[1] = pgBool(in.Encryption != nil)
			if e := in.Encryption; e != nil {
				row[2], row[3], row[4] = str(e.Version), str(e.Cipher), str(strconv.Itoa(e.Bits))
				row[5], row[6], row[7] = opt(e.ClientDN), opt(e.ClientSerial), opt(e.IssuerDN)
			}
		}
		rows[i] = row
	}
	return rows
}

// databaseRows is pg_stat_database: what is not counted is NULL.
func (s *Session) databaseRows() [][]*string {
	var sessions, commits, rollbacks, deadlocks int64
	for _, a := range s.activity() {
		sessions += int64(len(a.Sessions))
		commits += a.Commits
		rollbacks += a.Rollbacks
		for _, r := range a.Retries {
			if r.Cause == kv.CodeDeadlock.String() {
				deadlocks += r.Retried + r.Visible
			}
		}
	}
	num := func(v int64) *string { return str(strconv.FormatInt(v, 10)) }
	row := make([]*string, 28)
	row[0], row[1], row[2], row[3], row[4], row[15] = str("16383"), str(s.database), num(sessions), num(commits), num(rollbacks), num(deadlocks)
	return [][]*string{row}
}
