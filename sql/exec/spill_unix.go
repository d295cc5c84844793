package exec

import "syscall"

var errNoSpace error = syscall.ENOSPC
