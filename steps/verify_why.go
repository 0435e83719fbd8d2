package steps

import (
	"strings"

	"fwprov/provision"
)

// explained adds to every failed check why it matters.
func explained(checks []provision.Check) []provision.Check {
	for i, c := range checks {
		if !c.OK {
			checks[i].Why = why(c.Name)
		}
	}
	return checks
}

// why is what follows from a failed check of that name.
func why(name string) string {
	if kind, _, ok := strings.Cut(name, " "); ok && kind == "service" {
		return "clients of this service get fewer servers, or none"
	}
	switch name {
	case "one holder":
		return "every VIP has to be on exactly one node, and all on the same: else packets go nowhere, or two ways"
	case "clocks":
		return "what happened first on the two nodes is not to be told from their logs"
	case "stick tables":
		return "after a failover clients would be sent to other servers than before"
	case "conntrackd runs":
		return "connections do not outlive their node"
	case "haproxy runs":
		return "this node cannot serve clients of the services"
	case "keepalived runs":
		return "the node does not take over, or keeps VIPs that its peer takes over too"
	case "daemons answer":
		return "a daemon that hangs is taken for one that works"
	case "starts at boot":
		return "after the next boot the node would not serve"
	case "answers the peer":
		return "the peer does not yield where it lacks the gateway or HAProxy"
	case "conntrackd is current", "haproxy is current", "keepalived is current":
		return "what is on disk takes effect only at the next restart, unexpectedly"
	case "files":
		return "the node is not what was applied, or will not be after a boot"
	case "vrrp":
		return "the node would not take over"
	case "adverts":
		return "one heartbeat is dead: if the other falls silent too, both nodes take the VIPs"
	case "interfaces":
		return "a node without one of its interfaces cannot serve, or not alone"
	case "rules v4", "rules v6":
		return "what may pass is not what the inventory says"
	case "table 100":
		return "transparent services do not answer"
	case "other firewalls":
		return "it replaces the rules: VRRP, states and traffic are let through no more"
	case "SELinux":
		return "the daemon could not do what it is there for"
	case "connection table":
		return "new connections are dropped"
	case "disks":
		return "daemons cannot write, and an apply cannot either"
	case "ping":
		return "whether addresses answer is not known"
	case "VIPs answer", "VIPs answer from here":
		return "clients do not reach what is behind it"
	case "no third machine":
		return "packets for the address go to a machine that is none of ours"
	case "gateway answers":
		return "there is no way out, and none in"
	case "gateway's route":
		return "answers from the Internet do not find the inside"
	case "connection states", "connections known", "sync path", "canary":
		return "connections would break at the next failover"
	case "sync network":
		return "connection states and stick tables do not reach the peer"
	case "haproxy peers":
		return "the balancers choose servers without knowing of each other"
	}
	return ""
}
