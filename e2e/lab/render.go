package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// The functions of this file turn a Topology into what `ip -batch` reads, and
// into the files of a node. All are pure.

// names of a lab: everything that the kernel knows by name starts with them.
const prefix = "fwprov-lab."

var labName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// netns is the name of a host's network namespace. A lab's name has no dot, so
// that no lab's prefix is the start of another's.
func netns(lab, host string) string { return prefix + lab + "." + host }

// switchHost is the host name under which the namespace of all switches goes.
const switchHost = "switch"

// bridgeBatch makes one switch, in the namespace of the switches. It forwards
// at once and floods multicast: VRRP's adverts would not pass snooping.
func bridgeBatch(b Bridge, trunk bool) string {
	var s strings.Builder
	fmt.Fprintf(&s, "link add %s type bridge forward_delay 0 stp_state 0 mcast_snooping 0\n", b.Name)
	fmt.Fprintf(&s, "link set %s up\n", b.Name)
	if b.VLAN != 0 && trunk {
		tagged := fmt.Sprintf("%s.%d", bridgeTrunk, b.VLAN)
		fmt.Fprintf(&s, "link add link %s name %s type vlan id %d\n", bridgeTrunk, tagged, b.VLAN)
		fmt.Fprintf(&s, "link set %s master %s up\n", tagged, b.Name)
	}
	return s.String()
}

// plugBatch connects a host to its switches, run in the namespace of the switches.
func plugBatch(lab string, h Host, links []Link) string {
	var s strings.Builder
	for _, l := range links {
		p := port(h.Name, l.Interface)
		fmt.Fprintf(&s, "link add %s type veth peer name %s address %s netns %s\n", p, l.Interface, l.MAC, netns(lab, h.Name))
		fmt.Fprintf(&s, "link set %s master %s up\n", p, l.Bridge)
	}
	return s.String()
}

// unplugBatch takes a host's cables away.
func unplugBatch(h Host, links []Link) string {
	var s strings.Builder
	for _, l := range links {
		fmt.Fprintf(&s, "link del %s\n", port(h.Name, l.Interface))
	}
	return s.String()
}

// setupBatch configures a host from inside its namespace, as far as its own
// system does not.
func setupBatch(h Host) string {
	if h.Kind == KindNode {
		return ""
	}
	var s strings.Builder
	s.WriteString("link set lo up\n")
	for _, l := range h.Links {
		fmt.Fprintf(&s, "link set %s up\n", l.Interface)
		if l.Addr.IsValid() {
			fmt.Fprintf(&s, "addr add %s dev %s\n", l.Addr, l.Interface)
		}
	}
	for _, r := range h.Routes {
		fmt.Fprintf(&s, "route add %s via %s\n", r.Dst, r.Via)
	}
	return s.String()
}

// machineLinks are the links of a node that are real cables: where the kernel
// has 802.1q, its VLANs are not among them.
func machineLinks(h Host, trunk bool) []Link {
	var out []Link
	for _, l := range h.Links {
		if l.VLAN == 0 || !trunk {
			out = append(out, l)
		}
	}
	return out
}

// interfaces is a Debian node's /etc/network/interfaces.
func interfaces(h Host) string {
	var s strings.Builder
	s.WriteString("source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n")
	for _, l := range h.Links {
		switch {
		case l.VLAN != 0:
		case !l.Addr.IsValid():
			fmt.Fprintf(&s, "\nauto %s\niface %[1]s inet manual\n\tup ip link set dev %[1]s up\n\tdown ip link set dev %[1]s down\n", l.Interface)
		default:
			fmt.Fprintf(&s, "\nauto %s\niface %[1]s inet static\n\taddress %s\n", l.Interface, l.Addr)
			if via, ok := gatewayOn(h, l); ok {
				fmt.Fprintf(&s, "\tgateway %s\n", via)
			}
		}
	}
	return s.String()
}

// keyfile is NetworkManager's connection of one link of an EL node.
func keyfile(h Host, l Link) string {
	var s strings.Builder
	fmt.Fprintf(&s, "[connection]\nid=%s\ntype=ethernet\ninterface-name=%[1]s\n\n[ethernet]\n\n[ipv4]\n", l.Interface)
	switch via, ok := gatewayOn(h, l); {
	case !l.Addr.IsValid():
		s.WriteString("method=disabled\n")
	case ok:
		fmt.Fprintf(&s, "method=manual\naddress1=%s,%s\n", l.Addr, via)
	default:
		fmt.Fprintf(&s, "method=manual\naddress1=%s\n", l.Addr)
	}
	s.WriteString("\n[ipv6]\nmethod=disabled\n")
	return s.String()
}

// gatewayOn is the next hop of the default route that leaves by a link.
func gatewayOn(h Host, l Link) (netip.Addr, bool) {
	for _, r := range h.Routes {
		if r.Dst == anywhere && l.Addr.Contains(r.Via) {
			return r.Via, true
		}
	}
	return netip.Addr{}, false
}

// etcHosts is a node's /etc/hosts: no name of it is ever asked of a server.
func etcHosts(h Host) string {
	names := h.Name
	if len(h.Aliases) > 0 {
		names = strings.Join(h.Aliases, " ") + " " + h.Name
	}
	return fmt.Sprintf("127.0.0.1\tlocalhost\n127.0.1.1\t%s\n::1\tlocalhost ip6-localhost ip6-loopback\n", names)
}

// sshConfig lets ssh find the nodes by name.
func sshConfig(nodes []Host, login Login, home string) string {
	var s strings.Builder
	for _, h := range nodes {
		fmt.Fprintf(&s, "Host %s\n    HostName %s\n\n", strings.Join(append([]string{h.Name}, h.Aliases...), " "), address(h))
	}
	fmt.Fprintf(&s, "Host *\n    User %s\n    Port %d\n", login.User, login.Port)
	fmt.Fprintf(&s, "    IdentityFile %s/.ssh/id_ed25519\n    UserKnownHostsFile %[1]s/.ssh/known_hosts\n    StrictHostKeyChecking yes\n", home)
	return s.String()
}

// knownHosts is one node's line of known_hosts.
func knownHosts(h Host, login Login, key string) string {
	names := append([]string{h.Name, address(h).String()}, h.Aliases...)
	if login.Port != 22 {
		for i, n := range names {
			names[i] = fmt.Sprintf("[%s]:%d", n, login.Port)
		}
	}
	return strings.Join(names, ",") + " " + key
}

// address is where a host is reached: that of its first link.
func address(h Host) netip.Addr { return h.Links[0].Addr.Addr() }

// quote makes one word of a string in sh.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
