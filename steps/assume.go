package steps

import (
	"strconv"

	"fwprov/inventories"
	"fwprov/provision"
)

// system is what a distribution ships, as of its newest minor release.
type system struct {
	name                                      string
	id, like, version                         string // of /etc/os-release
	packages, network, selinux                string
	systemd                                   string
	keepalived, conntrackd, haproxy, iptables string
	variant                                   string // of iptables
}

func systems() []system {
	return []system{
		{"debian11", "debian", "", "11", "apt", "ifupdown", "", "247", "2.1.5", "1.4.6", "2.2.9", "1.8.7", "nf_tables"},
		{"debian12", "debian", "", "12", "apt", "ifupdown", "", "252", "2.2.7", "1.4.7", "2.6.12", "1.8.9", "nf_tables"},
		{"debian13", "debian", "", "13", "apt", "ifupdown", "", "257", "2.3.3", "1.4.8", "3.0.11", "1.8.11", "nf_tables"},
		{"ubuntu22", "ubuntu", "debian", "22.04", "apt", "networkd", "", "249", "2.2.4", "1.4.6", "2.4.14", "1.8.7", "nf_tables"},
		{"ubuntu24", "ubuntu", "debian", "24.04", "apt", "networkd", "", "255", "2.2.8", "1.4.8", "2.8.5", "1.8.10", "nf_tables"},
		{"el7", "rhel", "fedora", "7.9", "yum", "ifcfg", "enforcing", "219", "1.3.5", "1.4.4", "1.5.18", "1.4.21", "legacy"},
		{"el8", "rhel", "fedora", "8.10", "dnf", "networkmanager", "enforcing", "239", "2.1.5", "1.4.4", "1.8.27", "1.8.5", "nf_tables"},
		{"el9", "rhel", "fedora", "9.4", "dnf", "networkmanager", "enforcing", "252", "2.2.8", "1.4.7", "2.4.22", "1.8.10", "nf_tables"},
		{"el10", "rhel", "fedora", "10.0", "dnf", "networkmanager", "enforcing", "257", "2.2.8", "1.4.8", "3.0.5", "1.8.11", "nf_tables"},
	}
}

// Systems names what Assume knows.
func Systems() []string {
	var names []string
	for _, s := range systems() {
		names = append(names, s.name)
	}
	return names
}

// Assume returns the facts of a machine that nobody has looked at, enough to
// render the files it would get: a new machine with 4 GiB of memory that runs
// the named one of Systems. A plan never assumes anything.
func Assume(name string, p *inventories.Pair) (provision.Facts, bool) {
	for _, s := range systems() {
		if s.name == name {
			return s.facts(p), true
		}
	}
	return nil, false
}

func (s system) facts(p *inventories.Pair) provision.Facts {
	f := provision.Facts{
		"os id": s.id, "os like": s.like, "os version": s.version,
		"os packages": s.packages, "os network": s.network, "os selinux": s.selinux, "os uid": "0",
		"kernel 8021q": "yes", "kernel ipv6": "yes", "kernel memory": "4194304",
		"version systemd": s.systemd, "version keepalived": s.keepalived, "version conntrackd": s.conntrackd,
		"version haproxy": s.haproxy, "version iptables": s.iptables, "variant iptables": s.variant,
	}
	for _, x := range settings {
		f[provision.Key("sysctl", x.Key)] = "0"
	}
	f[provision.Key("sysctl", conntrackMaxKey)] = strconv.Itoa(conntrackEntries(f))
	if s.network == "networkd" {
		f[provision.Key("networkd", p.Outside.Interface)] = "/run/systemd/network/10-netplan-" + p.Outside.Interface + ".network"
	}
	return provision.Facts{}.With(f)
}
