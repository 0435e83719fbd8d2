package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// requirement is a program the lab runs and the Debian package that has it.
type requirement struct{ program, pkg string }

var requirements = []requirement{
	{"mmdebstrap", "mmdebstrap"},
	{"systemd-nspawn", "systemd-container"},
	{"zstd", "zstd"},
	{"tar", "tar"},
	{"ip", "iproute2"},
	{"nsenter", "util-linux"},
	{"unshare", "util-linux"},
	{"setsid", "util-linux"},
	{"mount", "mount"},
	{"perl", "perl-base"},
	{"dpkg-deb", "dpkg"},
}

// vmRequirements are what virtual machines need more.
var vmRequirements = []requirement{
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"qemu-img", "qemu-utils"},
	{"mke2fs", "e2fsprogs"},
	{"cpio", "cpio"},
	{"ssh", "openssh-client"},
}

// Packages lists the Debian packages that a lab needs on the machine it runs on.
func Packages() []string {
	var out []string
	for _, r := range requirements {
		if !slices.Contains(out, r.pkg) {
			out = append(out, r.pkg)
		}
	}
	return out
}

// ErrNotRoot is returned by Check when the lab lacks the privileges it needs.
var ErrNotRoot = errors.New("the lab makes network namespaces and machines, which takes root: run it as root or with sudo")

// Check reports what keeps a lab from running on this machine, with what to do
// about it: no Linux, no root, programs that are not installed.
func Check() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the lab is made of Linux namespaces and does not run on %s", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return ErrNotRoot
	}
	return missing(requirements, exec.LookPath)
}

// missing names the programs that look does not find, and the packages to install.
func missing(needed []requirement, look func(string) (string, error)) error {
	var programs, pkgs []string
	for _, r := range needed {
		if _, err := look(r.program); err == nil {
			continue
		}
		programs = append(programs, r.program)
		if !slices.Contains(pkgs, r.pkg) {
			pkgs = append(pkgs, r.pkg)
		}
	}
	if programs == nil {
		return nil
	}
	return fmt.Errorf("the lab needs %s: apt-get install %s", strings.Join(programs, ", "), strings.Join(pkgs, " "))
}
