package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

// A start on a disk that is full says so, and the store is as before once there is room again.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	disk := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.Mkdir(disk, 0o755))
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256m"); err != nil {
		t.Skipf("no small disk can be made here: %v", err)
	}
	defer func() { require.NoError(t, syscall.Unmount(disk, syscall.MNT_DETACH)) }()
	copyTo := func(from, to string) {
		out, err := exec.Command("cp", "-a", from, to).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	c := cluster.Start(t, 1)
	require.NoError(t, c.Exec(0, "create table kept (a int primary key)"))
	require.NoError(t, c.Exec(0, "insert into kept values (1)"))
	require.Zero(t, c.Stop(0))
	store := filepath.Join(disk, "store")
	copyTo(c.Dir(0), store)

	filler, err := os.Create(filepath.Join(disk, "filler"))
	require.NoError(t, err)
	chunk := make([]byte, 64<<10)
	for err == nil {
		_, err = filler.Write(chunk)
		if err != nil && len(chunk) > 1 { // to the last byte
			chunk, err = chunk[:len(chunk)/2], nil
		}
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, filler.Close())
	refused(t, "Make room and start again", append(anywhere, "--store", store)...)

	require.NoError(t, os.Remove(filler.Name()))
	require.NoError(t, os.RemoveAll(c.Dir(0)))
	copyTo(store, c.Dir(0))
	c.Restart(0)
	c.WaitReady(0)
	require.Error(t, c.Exec(0, "insert into kept values (1)"), "the row is there")
	require.NoError(t, c.Exec(0, "insert into kept values (2)"))
}
