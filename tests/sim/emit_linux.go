package sim

import (
	"syscall"
	"unsafe"
)

// emit writes to standard output without telling the scheduler: an ordinary write may hand the processor to another
// thread, and goroutines would run in another order when somebody reads along.
func emit(s string) {
	for len(s) > 0 {
		n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, 1, uintptr(unsafe.Pointer(unsafe.StringData(s))), uintptr(len(s)))
		if e == syscall.EINTR || e == syscall.EAGAIN {
			continue
		}
		if e != 0 {
			return
		}
		s = s[n:]
	}
}

// seededPlatform: runs repeat exactly here, so this is where they are made.
const seededPlatform = true
