// Package steps says what must be true on a node of a firewall pair, in order.
// Each step is one file, with its templates beside it.
package steps

import (
	"fwprov/inventories"
	"fwprov/provision"
)

// For returns the steps that make the node of that name what the pair wants.
// The order is the order of an apply: nothing comes before what it needs, and
// nothing becomes master before the rules, the connection states and the
// proxy are ready.
func For(p *inventories.Pair, node inventories.Node) []provision.Step {
	return []provision.Step{
		preflight{p, node},  // is this a machine we can work on
		packages{p, node},   // keepalived, conntrackd, haproxy, iptables
		interfaces{p, node}, // the VLANs and the node's own addresses on them
		sysctl{p, node},     // forwarding, sizes, what a router needs
		conntrackd{p, node}, // connections outlive their node
		iptables{p, node},   // what may pass, the diversion to the proxy, the policy route
		firewalld{p, node},  // gone, once our rules are in place
		haproxy{p, node},    // the balancer
		keepalived{p, node}, // the addresses
		services{p, node},   // everything runs, in this order, now and at boot
		verify{p},           // the pair serves
	}
}
