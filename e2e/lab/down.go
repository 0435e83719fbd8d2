package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Down ends every process of a lab and removes its namespaces, disks and state,
// also of one that is only half there. The images stay in the cache.
func (l *Lab) Down(ctx context.Context) error {
	groups, err := l.cgroups()
	if err != nil {
		return err
	}
	spaces, err := filepath.Glob(netnsPath(l.opts.Name, "*"))
	if err != nil {
		return err
	}
	err = l.until(ctx, "lab "+l.opts.Name+": waiting for its processes to end", func() bool {
		pids := append(processesOf(groups), inhabitants(spaces)...)
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // one that is gone already is what is wanted
		}
		return len(pids) == 0
	})
	if err != nil {
		return err
	}
	// Listed again: a supervisor may have made one a moment before it ended.
	if spaces, err = filepath.Glob(netnsPath(l.opts.Name, "*")); err != nil {
		return err
	}
	var errs []error
	for _, path := range spaces {
		errs = append(errs, run(ctx, "ip", "netns", "del", filepath.Base(path)))
	}
	for _, g := range groups {
		errs = append(errs, removeGroup(g))
	}
	errs = append(errs, os.RemoveAll(filepath.Join(l.opts.CacheDir, "disks", l.opts.Name)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("take lab %s down: %w", l.opts.Name, err)
	}
	if err := os.RemoveAll(l.dir()); err != nil {
		return err
	}
	// The folders above go with the last lab; that they are not empty is no error.
	_ = os.Remove(filepath.Join(l.opts.CacheDir, "disks"))
	_ = os.Remove(l.opts.StateDir)
	return nil
}

// processesOf lists the processes in control groups and all below them.
func processesOf(groups []string) []int {
	var pids []int
	for _, g := range groups {
		_ = filepath.WalkDir(g, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil // a group that vanished has no processes
			}
			thaw := filepath.Join(path, "cgroup.freeze")
			if data, err := os.ReadFile(thaw); err == nil && strings.TrimSpace(string(data)) == "1" {
				_ = os.WriteFile(thaw, []byte("0"), 0)
			}
			data, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			for _, field := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
					pids = append(pids, pid)
				}
			}
			return nil
		})
	}
	return pids
}

// inhabitants lists the processes that are in network namespaces, this one not.
func inhabitants(spaces []string) []int {
	inodes := map[uint64]bool{}
	for _, path := range spaces {
		if info, err := os.Stat(path); err == nil {
			inodes[info.Sys().(*syscall.Stat_t).Ino] = true
		}
	}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	var pids []int
	for _, link := range links {
		info, err := os.Stat(link)
		if err != nil || !inodes[info.Sys().(*syscall.Stat_t).Ino] {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// removeGroup removes a control group and all below it, which must be empty.
func removeGroup(group string) error {
	entries, err := os.ReadDir(group)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroup(filepath.Join(group, e.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(group)
}

// cgroups are the lab's own control groups, one in each hierarchy that systemd
// would look at: the unified one, and the named one of a hybrid machine.
func (l *Lab) cgroups() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	roots := cgroupRoots(string(data))
	if len(roots) == 0 {
		return nil, errors.New("no control group file system (cgroup2) is mounted")
	}
	for i := range roots {
		roots[i] = filepath.Join(roots[i], prefix+l.opts.Name)
	}
	return roots, nil
}

// unified is the lab's group in the unified hierarchy.
func (l *Lab) unified() (string, error) {
	groups, err := l.cgroups()
	if err != nil {
		return "", err
	}
	return groups[0], nil
}

// cgroupRoots finds the unified hierarchy in a mountinfo, which comes first,
// and systemd's named one.
func cgroupRoots(mountinfo string) []string {
	var unified, named []string
	for line := range strings.Lines(mountinfo) {
		mount, fsys, ok := strings.Cut(strings.TrimSpace(line), " - ")
		fields, rest := strings.Fields(mount), strings.Fields(fsys)
		if !ok || len(fields) < 5 || len(rest) < 3 {
			continue
		}
		switch {
		case rest[0] == "cgroup2" && unified == nil:
			unified = []string{fields[4]}
		case rest[0] == "cgroup" && named == nil && strings.Contains(","+rest[2]+",", ",name=systemd,"):
			named = []string{fields[4]}
		}
	}
	if unified == nil {
		return nil
	}
	return append(unified, named...)
}

// ownerOf is the user a file belongs to.
func ownerOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }
