package builtin

import (
	"github.com/pamirdb/pamir/sql/types"
)

func cmpInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func justifyHours(v iv) (iv, error) {
	days := v.Micros / usDay
	v.Micros -= days * usDay
	d := int64(v.Days) + days
	if d != int64(int32(d)) {
		return v, types.IntervalRangeError()
	}
	v.Days = int32(d)
	if v.Days > 0 && v.Micros < 0 {
		v.Micros += usDay
		v.Days--
	} else if v.Days < 0 && v.Micros > 0 {
		v.Micros -= usDay
		v.Days++
	}
	return v, nil
}

func justifyDays(v iv) (iv, error) {
	m := int64(v.Months) + int64(v.Days/30)
	if m != int64(int32(m)) {
		return v, types.IntervalRangeError()
	}
	v.Days %= 30
	v.Months = int32(m)
	if v.Months > 0 && v.Days < 0 {
		v.Days += 30
		v.Months--
	} else if v.Months < 0 && v.Days > 0 {
		v.Days -= 30
		v.Months++
	}
	return v, nil
}

func justifyInterval(v iv) (iv, error) {
	days := int64(v.Days) + v.Micros/usDay
	us := v.Micros % usDay
	months := int64(v.Months) + days/30
	days %= 30
	if months > 0 && (days < 0 || days == 0 && us < 0) {
		days += 30
		months--
	} else if months < 0 && (days > 0 || days == 0 && us > 0) {
		days -= 30
		months++
	}
	if days > 0 && us < 0 {
		us += usDay
		days--
	} else if days < 0 && us > 0 {
		us -= usDay
		days++
	}
	if months != int64(int32(months)) {
		return v, types.IntervalRangeError()
	}
	return iv{Months: int32(months), Days: int32(days), Micros: us}, nil
}
