package engine

import (
	"runtime"
	"syscall"
)

// behindBy is what the niceness of compactions has more than that of the process: beside a thread that wants a core as much as it does, one has a tenth of what that has. Others sleep most of the time, so it is not
// starved: see docs/decisions/0018-compactions-step-behind.md.
const behindBy = 10

// stepBehind has the goroutine that calls it run on a thread of its own, for the rest of its life, to which the operating system prefers all others of the process that want
// the processor. The goroutine must end without unlocking itself from the thread, which then ends with it, for a thread cannot be given its priority back; Go starts no other thread
// from one that is locked, so nobody inherits it.
func stepBehind() error {
	runtime.LockOSThread()
	id := syscall.Gettid()
	p, err := syscall.Getpriority(syscall.PRIO_PROCESS, id)
	if err != nil {
		return err
	}
	return syscall.Setpriority(syscall.PRIO_PROCESS, id, niceBehind(p))
}

// niceBehind is the niceness of a compaction in a process of some priority, which the kernel counts from 40, the highest, to 1.
func niceBehind(priority int) int {
	const last = 19
	return min(20-priority+behindBy, last)
}
