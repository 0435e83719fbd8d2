package main

import (
	"fwprov/provision"
)

// system is what a distribution ships, for rendering without a node. A node's
// own versions are probed and decide in a plan.
type system struct {
	name                                     string // as in --assume
	id, like, version                        string // of /etc/os-release
	packages, network, selinux               string
	systemd                                  string
	keepalived, conntrackd, haproxy, iptable string
	variant                                  string // of iptables
}

// systems are the distributions that are known, with their versions as of
// their newest minor release.
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

// assumable names the systems of systems, in order.
func assumable() []string {
	var names []string
	for _, s := range systems() {
		names = append(names, s.name)
	}
	return names
}

// assume returns what the steps would find out about such a system.
func assume(name string) (provision.Facts, bool) {
	for _, s := range systems() {
		if s.name != name {
			continue
		}
		return provision.Facts{}.With(provision.Facts{
			"os id": s.id, "os like": s.like, "os version": s.version,
			"os packages": s.packages, "os network": s.network, "os selinux": s.selinux,
			"kernel 8021q":    "yes",
			"version systemd": s.systemd, "version keepalived": s.keepalived, "version conntrackd": s.conntrackd,
			"version haproxy": s.haproxy, "version iptables": s.iptable, "variant iptables": s.variant,
		}), true
	}
	return nil, false
}
