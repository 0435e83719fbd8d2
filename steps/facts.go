package steps

import (
	"strconv"
	"strings"

	"fwprov/provision"
)

// The facts of package steps, besides those of the engine (provision.Facts).
// A step may read what any step probes; who provides a fact stands behind it.
//
//	os id, os like, os version       preflight  /etc/os-release
//	os hostname                      preflight  uname -n
//	os selinux                       preflight  enforcing, permissive, disabled, or "" without SELinux
//	os packages                      preflight  apt, dnf or yum
//	os network                       preflight  ifupdown, networkd, networkmanager or ifcfg
//	kernel 8021q                     preflight  "yes" if the kernel has or can load 802.1q
//	version systemd                  preflight  252
//	version keepalived|conntrackd|haproxy|iptables
//	                                 packages   upstream version, "2.2.7": what is installed, or what will be
//	variant iptables                 packages   nf_tables or legacy
//	package NAME                     packages   "yes" if it is installed, or what provides it
//	candidate NAME                   packages   version a package manager would install; only if one is missing
//	doc primary-backup.sh            conntrackd path of the packaged fail-over script
//	failover script                  conntrackd "ready" if the copied script is what it should be, "changed" if not
//	link NAME                        interfaces "up" or "down" (administratively), then "vlan PARENT ID" if it is one
//	carrier NAME                     interfaces "yes" if the link has one
//	addr NAME ADDRESS/BITS           interfaces "yes"; IPv4, all interfaces
//	route default                    interfaces "via ADDRESS dev NAME"
//	sysctl KEY                       sysctl     running value
//	rules v4, rules v6               iptables   hash of the ruleset file the kernel's rules came from; "changed" if
//	                                            they are not what that file made, "" if it was never loaded
//	drift rules v4, drift rules v6   iptables   a diff, where rules are "changed"
//	divert rule, divert route        iptables   "yes" if the fwmark rule / table 100 is in the kernel
//	kernel ipv6                      iptables   "yes" if the kernel has IPv6
//	ssh ports                        iptables   the ports of sshd, in order
//	vips held                        keepalived "yes" if the node has an address that its keepalived.conf makes a VIP
//	firewalld table                  firewalld  "yes" if a table of firewalld's is in the kernel
//	firewalld runtime                firewalld  "yes" if its zones are other than after a restart
//	ufw enabled                      firewalld  "yes"
//	selinux haproxy_connect_any      haproxy    "on", "off", or "" without that boolean

// Versions of daemons and the rest are compared by number, part by part.
// An unparsable part counts as 0, an empty version as older than any.
func versionAtLeast(have, want string) bool {
	h, w := strings.Split(have, "."), strings.Split(want, ".")
	for i := range max(len(h), len(w)) {
		if a, b := part(h, i), part(w, i); a != b {
			return a > b
		}
	}
	return true
}

func part(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	digits := parts[i]
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	n, _ := strconv.Atoi(digits)
	return n
}

// debian tells the two families of layout apart: paths and units of Debian and
// its kin, or of Enterprise Linux and its kin.
func debian(f provision.Facts) bool { return f.Get("os", "packages") == "apt" }

// loadedLines are the lines of a drop-in that let a unit record, at each start
// and each reload, the hash of the configuration it loads, and at each start that
// of the files that say how it is started, so that a restart or reload that is
// owed is seen from the node alone. Only root may read it: what a secret is can be
// guessed from the hash of the file that it is in.
func loadedLines(unit string, reload bool, conf, dropIn string, options ...provision.File) string {
	start := []string{dropIn}
	for _, o := range options {
		start = append(start, o.Path)
	}
	record := func(to string, files ...string) string {
		return "cat " + strings.Join(files, " ") + " | sha256sum >" + provision.LoadedDir + "/" + to
	}
	const sh = "/bin/sh -c 'umask 077; mkdir -p " + provision.LoadedDir + " && "
	lines := "ExecStartPre=" + sh + record(unit, conf) + " && " + record(startRecord(unit), start...) + "'\n"
	if reload {
		lines += "ExecReload=" + sh + record(unit, conf) + "'\n"
	}
	return lines
}

// startedHash is the hash that a unit records of how it is started: by its drop-in,
// and by its options file if it needs one.
func startedHash(dropIn []byte, options []provision.File) string {
	for _, o := range options {
		dropIn = append(dropIn, o.Content...)
	}
	return provision.LoadedHash(dropIn)
}

// optionsFile is the options file that a daemon's package has beside its unit, which
// gives it options under the name that the family has for them.
func optionsFile(f provision.Facts, daemon, debians, others, options string) []provision.File {
	path, name := "/etc/sysconfig/"+daemon, others
	if debian(f) {
		path, name = "/etc/default/"+daemon, debians
	}
	return []provision.File{{Path: path, Content: []byte("# Managed by fwprov.\n" + name + "=\"" + options + "\"\n")}}
}

// startRecord is where it is recorded how a unit was started, named after the
// folder of its drop-ins.
func startRecord(unit string) string { return unit + ".d" }
