package lab

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Status is what a lab looks like at the moment.
type Status struct {
	Name    string       `json:"name"`
	Image   string       `json:"image"`
	Machine string       `json:"machine"` // what the nodes are: container or vm
	Home    string       `json:"home"`    // the home directory on the admin host
	Hosts   []HostStatus `json:"hosts"`
	Notes   []string     `json:"notes"` // where the lab differs from what it stands for
}

// HostStatus is one host of a lab.
type HostStatus struct {
	Name      string       `json:"name"`
	Kind      Kind         `json:"kind"`
	Up        bool         `json:"up"`
	Addresses []netip.Addr `json:"addresses"`
	Listens   []Listen     `json:"listens,omitempty"`
}

// Status looks at a lab.
func (l *Lab) Status() (Status, error) {
	if _, err := os.Stat(netnsPath(l.opts.Name, switchHost)); err != nil {
		return Status{}, fmt.Errorf("lab %s is half there, take it down: %w", l.opts.Name, err)
	}
	st := Status{Name: l.opts.Name, Image: l.state.Image, Machine: l.state.Machine, Home: l.Home(), Notes: notes(l.state)}
	for _, h := range l.state.Topology.Hosts {
		hs := HostStatus{Name: h.Name, Kind: h.Kind, Up: l.running(h.Name), Listens: h.Listens}
		for _, link := range h.Links {
			if link.Addr.IsValid() {
				hs.Addresses = append(hs.Addresses, link.Addr.Addr())
			}
		}
		st.Hosts = append(st.Hosts, hs)
	}
	return st, nil
}

// notes says openly what a lab is not.
func notes(s state) []string {
	out := append([]string(nil), s.Topology.Notes...)
	switch {
	case s.Machine == VM && s.Accelerator == "tcg":
		out = append(out, "the virtual machines are emulated, for want of a KVM that runs their kernel: what they do takes several times as long")
	case s.Machine == VM:
	case !s.Trunk:
		out = append(out, "this kernel has no 802.1q: each VLAN is a network of its own, and a veth of the VLAN interface's name stands in for it on the nodes")
	}
	if s.Image == EL {
		out = append(out, "image el is a stand-in for Enterprise Linux: its package manager, paths and units on a Debian userland, without SELinux")
	}
	return out
}

// String renders a status for people.
func (s Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "lab %s, image %s, machine %s\n", s.Name, s.Image, s.Machine)
	for _, h := range s.Hosts {
		power := "up"
		if !h.Up {
			power = "off"
		}
		var addrs []string
		for _, a := range h.Addresses {
			addrs = append(addrs, a.String())
		}
		fmt.Fprintf(&b, "  %-16s %-6s %-3s  %s", h.Name, h.Kind, power, strings.Join(addrs, " "))
		for _, listen := range h.Listens {
			fmt.Fprintf(&b, "  %s:%d", listen.Protocol, listen.Port)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "home on the admin host: %s\n", s.Home)
	for _, n := range s.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}
