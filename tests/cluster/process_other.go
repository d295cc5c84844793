//go:build !linux

package cluster

import "os/exec"

// dieWithParent has no equivalent here: a test process that is killed leaves its nodes running.
func dieWithParent(*exec.Cmd) {}
