package parse

import (
	"fmt"
	"reflect"
	"strings"
)

// dump prints a tree without its zero fields, so that a golden file shows what the parser saw.
func dump(v any) string {
	var b strings.Builder
	dumpValue(&b, reflect.ValueOf(v))
	return b.String()
}

func dumpValue(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			b.WriteString("nil")
			return
		}
		dumpValue(b, v.Elem())
	case reflect.Slice:
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(' ')
			}
			dumpValue(b, v.Index(i))
		}
		b.WriteByte(']')
	case reflect.Struct:
		b.WriteString(v.Type().Name())
		b.WriteByte('{')
		first := true
		var fields func(v reflect.Value)
		fields = func(v reflect.Value) {
			for i := range v.NumField() {
				f := v.Type().Field(i)
				if v.Field(i).IsZero() {
					continue
				}
				if f.Anonymous {
					fields(v.Field(i))
					continue
				}
				if !first {
					b.WriteByte(' ')
				}
				first = false
				b.WriteString(f.Name)
				b.WriteByte(':')
				dumpValue(b, v.Field(i))
			}
		}
		fields(v)
		b.WriteByte('}')
	case reflect.Uint8:
		if c := v.Uint(); c >= 32 && c < 127 {
			fmt.Fprintf(b, "%q", rune(c))
			return
		}
		fmt.Fprint(b, v.Uint())
	case reflect.String:
		fmt.Fprintf(b, "%q", v.String())
	default:
		fmt.Fprint(b, v.Interface())
	}
}
