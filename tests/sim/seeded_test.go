package sim

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const timersVariable = "PAMIR_SIM_TIMERS"

// TestTimersDoNotDependOnAddresses: of two timers of one select that are due at the same time the seed chooses, wherever they lie
// in memory. A select begins to wait for its channels in the order of their addresses.
func TestTimersDoNotDependOnAddresses(t *testing.T) {
	p := build(t)
	var first string
	for shift := range 8 {
		cmd := exec.Command(p.path, "-test.run", "^TestTimersOfOneSelect$", "-test.v")
		cmd.Env = append(os.Environ(), timersVariable+"="+strconv.Itoa(shift), "GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=off")
		out, err := cmd.CombinedOutput()
		_, s, ok := strings.Cut(string(out), resultPrefix)
		if err != nil || !ok {
			t.Fatalf("%v\n%s", err, out)
		}
		s, _, _ = strings.Cut(s, "\n")
		switch {
		case !strings.Contains(s, "a") || !strings.Contains(s, "b"):
			t.Fatalf("always the same one is first: %s", s)
		case first == "":
			first = s
		case s != first:
			t.Fatalf("with %d other timers in memory, the order is another:\n%s\n%s", shift, first, s)
		}
	}
}

// TestTimersOfOneSelect prints which of two timers was first, many times.
func TestTimersOfOneSelect(t *testing.T) {
	shift, err := strconv.Atoi(os.Getenv(timersVariable))
	if err != nil {
		t.Skip("this is a part of TestTimersDoNotDependOnAddresses, which starts it in a process of its own")
	}
	synctest.Test(t, func(*testing.T) {
		setSeed(1)
		var all []*time.Timer // none may be used again
		for range shift {
			all = append(all, time.NewTimer(time.Second))
		}
		// Goroutines with deep stacks, which end one after the other: what is allocated then lies lower in memory than what was before.
		var deep []chan bool
		for range 100 {
			c := make(chan bool)
			deep = append(deep, c)
			go func() { sink(dig(c, 400)) }()
			c <- true
		}
		setSeed(2)
		var b strings.Builder
		for i := range 1000 {
			if i%10 == 0 {
				last := len(deep) - 1
				close(deep[last])
				deep = deep[:last]
				synctest.Wait()
			}
			x, y := time.NewTimer(time.Second), time.NewTimer(time.Second)
			all = append(all, x, y)
			select {
			case <-x.C:
				b.WriteByte('a')
			case <-y.C:
				b.WriteByte('b')
			}
		}
		emit(resultPrefix + b.String() + "\n")
		for _, t := range all {
			t.Stop()
		}
	})
}

// dig takes some 100 bytes of stack for each level, and returns when c is closed.
func dig(c chan bool, depth int) int {
	var room [64]byte
	if depth == 0 {
		for range c {
		}
		return 0
	}
	room[depth%len(room)] = byte(depth)
	return dig(c, depth-1) + int(room[(depth+1)%len(room)])
}

//go:noinline
func sink(int) {}
