package differential

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// kind is a type that columns and expressions have here.
type kind int

const (
	kInt kind = iota
	kBig
	kText
	kNum
	kBool
	kTime
	kDate
	kFloat
	kJSON
	kInts
	kinds
)

var typeNames = [kinds]string{"int4", "int8", "text", "numeric", "bool", "timestamptz", "date", "float8", "jsonb", "int4[]"}

// columnTypes differ where expressions are to stay within what can be compared: numerics with one scale.
var columnTypes = [kinds]string{"int4", "int8", "text", "numeric(10,2)", "bool", "timestamptz", "date", "float8", "jsonb", "int4[]"}

var texts = []string{"", "a", "A", "b", "ab", "abc", "aBc", "Ab", "z", "Z", "é", "zé", "a b", "a%b", "a_b", "it's", "aa", "aaa", "ba", "bb", "10", "9", "~", " ", "longer text than the others", "ÄÖ", "ä"}

var jsons = []string{"null", "1", "2", "\"a\"", "{}", "[]", "[1, 2]", "{\"a\": 1}", "{\"a\": 2, \"b\": \"x\"}", "{\"a\": null}", "{\"a\": \"y\", \"b\": [1, 2, 3]}", "[1, \"a\"]", "true"}

var arrays = []string{"{}", "{1}", "{1,2}", "{2,1}", "{NULL}", "{1,NULL,3}", "{5,6,7,8}", "{0}", "{3,3}"}

// few draws from [0, n), small numbers more often.
func few(r *rand.Rand, n int) int {
	if r.IntN(3) == 0 {
		return r.IntN(n)
	}
	return r.IntN(r.IntN(n) + 1)
}

// draw makes a value as the columns have them: from a small set, the same ones often.
func draw(r *rand.Rand, k kind) *value {
	v := &value{kind: k}
	switch k {
	case kInt:
		switch r.IntN(40) {
		case 0:
			v.text = strconv.Itoa(r.IntN(2000000) - 1000000)
		case 1, 2:
			v.text = strconv.Itoa(-few(r, 20))
		default:
			v.text = strconv.Itoa(few(r, 60))
		}
	case kBig:
		v.text = strconv.FormatInt(int64(few(r, 60))*[]int64{1, 1, 1000, 5000000000}[r.IntN(4)]-5, 10)
	case kText:
		v.text = texts[few(r, len(texts))]
	case kNum:
		v.text = fmt.Sprintf("%d.%02d", few(r, 40)-3, []int{0, 0, 25, 50, 99}[r.IntN(5)])
	case kBool:
		v.text = []string{"true", "false"}[r.IntN(2)]
	case kTime:
		v.text = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(few(r, 400)) * []time.Duration{time.Hour, 7 * time.Hour, 1500 * time.Millisecond}[r.IntN(3)]).Format("2006-01-02 15:04:05.999999-07")
	case kDate:
		v.text = time.Date(2024, 1, 1+few(r, 90), 0, 0, 0, 0, time.UTC).Format("2006-01-02")
	case kFloat:
		if r.IntN(60) == 0 {
			v.text = "NaN"
		} else {
			v.text = strconv.FormatFloat(float64(few(r, 200)-20)*0.25, 'g', -1, 64)
		}
	case kJSON:
		v.text = jsons[few(r, len(jsons))]
	case kInts:
		v.text = arrays[few(r, len(arrays))]
	}
	return v
}

// drawKey makes a value for the first column of a primary key: from a larger set.
func drawKey(r *rand.Rand, k kind, rows int) *value {
	n := r.IntN(rows*2 + 10)
	switch k {
	case kInt, kBig:
		return &value{kind: k, text: strconv.Itoa(n)}
	case kText:
		return &value{kind: k, text: fmt.Sprintf("%s%d", []string{"k", "", "kk"}[n%3], n)}
	case kNum:
		return &value{kind: k, text: fmt.Sprintf("%d.%02d", n/4, n%4*25)}
	case kTime:
		return &value{kind: k, text: time.Date(2024, 1, 1, n, 0, 0, 0, time.UTC).Format("2006-01-02 15:04:05-07")}
	}
	return draw(r, k)
}

func literals(vs []*value) string {
	var s []string
	for _, v := range vs {
		s = append(s, v.literal())
	}
	return strings.Join(s, ", ")
}
