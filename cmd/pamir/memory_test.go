package main

import "testing"

func TestDefaultCache(t *testing.T) {
	for _, c := range []struct{ memory, want int64 }{{0, 128 << 20}, {512 << 20, 128 << 20}, {8 << 30, 1 << 30}, {256 << 30, 4 << 30}} {
		if got := defaultCache(c.memory); got != c.want {
			t.Errorf("defaultCache(%d) = %d, want %d", c.memory, got, c.want)
		}
	}
	if got := parseMeminfo("MemTotal:       24684544 kB\nMemFree:        1 kB\n"); got != 24684544<<10 {
		t.Errorf("MemTotal = %d", got)
	}
	if got := parseMeminfo("nothing of the kind\n"); got != 0 {
		t.Errorf("MemTotal = %d", got)
	}
}
