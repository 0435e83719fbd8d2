package steps

import (
	_ "embed"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"fwprov/inventories"
	"fwprov/provision"
)

//go:embed iptables.v4.tmpl
var rulesV4Template string

//go:embed iptables.v6.tmpl
var rulesV6Template string

// section is a run of rules under one comment.
type section struct {
	Comment string
	Rules   []string
}

// Chains of what comes from any VLAN. A rule for the zone "inside" stands in
// them once, whatever the number of VLANs.
const (
	insideInput   = "INSIDE_IN"
	insideForward = "INSIDE_FWD"
)

// newOnly matches the first packet of a connection; what is answered was
// accepted before.
const newOnly = "-m conntrack --ctstate NEW "

// rulesV4 is the ruleset of IPv4 as iptables-restore reads it.
func (s iptables) rulesV4(f provision.Facts) []byte {
	input := []section{{"SSH.", s.ssh(f, true)}, s.heartbeats(), s.stateSync()}
	input = append(input, s.peers()...)
	input = append(input, s.asked()...)
	input = append(input, s.resets()...)
	input = append(input,
		section{"What belongs to no connection.", []string{
			"-A INPUT -m conntrack --ctstate INVALID -j DROP",
			"-A INPUT -p tcp ! --syn -m conntrack --ctstate NEW -j DROP",
		}},
		section{"Ping, of the node and of the VIPs.", []string{"-A INPUT -p icmp --icmp-type echo-request -j ACCEPT"}})
	for _, svc := range s.pair.Services {
		input = append(input, s.service(svc))
	}
	var forward []section
	for _, a := range s.pair.Allows {
		switch sec := s.allow(a); {
		case len(sec.Rules) == 0:
		case a.To == inventories.ZoneFirewall:
			input = append(input, sec)
		default:
			forward = append(forward, sec)
		}
	}
	var chains []string
	if uses(input, insideInput) {
		chains = append(chains, insideInput)
		input = append(input, s.fromInside("INPUT", insideInput))
	}
	if uses(forward, insideForward) {
		chains = append(chains, insideForward)
		forward = append(forward, s.fromInside("FORWARD", insideForward))
	}
	return render(rulesV4Template, struct {
		Untracked      section
		Divert         bool
		Mark           string
		Chains         []string
		Input, Forward []section
	}{s.untracked(), s.pair.Transparent(), divertMark, chains, input, forward})
}

// rulesV6 is the ruleset of IPv6.
func (s iptables) rulesV6(f provision.Facts) []byte {
	return render(rulesV6Template, struct{ SSH []string }{s.ssh(f, false)})
}

func uses(sections []section, chain string) bool {
	for _, sec := range sections {
		for _, r := range sec.Rules {
			if strings.HasPrefix(r, "-A "+chain+" ") {
				return true
			}
		}
	}
	return false
}

// fromInside sends what comes from the VLANs through their chain.
func (s iptables) fromInside(from, chain string) section {
	sec := section{Comment: "The rules for every VLAN."}
	for _, v := range s.pair.VLANs {
		sec.Rules = append(sec.Rules, fmt.Sprintf("-A %s -i %s -j %s", from, v.Interface, chain))
	}
	return sec
}

// ssh accepts SSH on the ports that the node's sshd listens to, from the
// sources of that family.
func (s iptables) ssh(f provision.Facts, v4 bool) []string {
	var sources []netip.Prefix
	for _, p := range s.pair.SSH.AllowFrom {
		if p.Addr().Is4() == v4 {
			sources = append(sources, p)
		}
	}
	src := ""
	if len(s.pair.SSH.AllowFrom) > 0 {
		if len(sources) == 0 {
			return nil
		}
		src = "-s " + commas(sources) + " "
	}
	var out []string
	for _, port := range s.sshPorts(f) {
		out = append(out, fmt.Sprintf("-A INPUT %s-p tcp --dport %d --syn %s-j ACCEPT", src, port, newOnly))
	}
	return out
}

// sshPorts are the ports of the node's sshd. The port in the inventory may be
// that of a forwarder on the way, so it counts only if sshd did not tell.
func (s iptables) sshPorts(f provision.Facts) []int {
	var ports []int
	for _, w := range strings.Fields(f.Get("ssh", "ports")) {
		if n, err := strconv.Atoi(w); err == nil && n > 0 && n < 1<<16 {
			ports = append(ports, n)
		}
	}
	switch {
	case len(ports) > 0:
		return ports
	case s.pair.SSH.Port != 0:
		return []int{s.pair.SSH.Port}
	}
	return []int{22}
}

// heartbeats accepts VRRP from the peer, on each path the inventory names.
func (s iptables) heartbeats() section {
	sec := section{Comment: "VRRP of the peer."}
	for _, match := range s.adverts() {
		sec.Rules = append(sec.Rules, "-A INPUT "+match+" -j ACCEPT")
	}
	return sec
}

// adverts match what the peer says by VRRP.
func (s iptables) adverts() []string {
	var out []string
	peer := s.pair.Peer(s.node.Name)
	for _, h := range s.pair.VRRP.Heartbeats {
		link, from := s.pair.Sync.Interface, peer.Sync
		if h == inventories.HeartbeatOutside {
			link, from = s.pair.Outside.Interface, peer.Outside
		}
		out = append(out, fmt.Sprintf("-i %s -s %s -d 224.0.0.18 -p vrrp", link, from))
	}
	return out
}

// untracked keeps what the nodes tell each other out of the table of connections.
// Where that is full, the kernel drops a packet of no known connection, and forgets
// one that goes one way to make room for another: the standby would no longer hear
// the active node, and take over beside it.
func (s iptables) untracked() section {
	sec := section{Comment: "What the nodes tell each other passes when the table of connections is full."}
	for _, match := range s.adverts() {
		sec.Rules = append(sec.Rules, "-A PREROUTING "+match+" -j CT --notrack")
	}
	link, peer := s.pair.Sync.Interface, s.pair.Peer(s.node.Name).Sync.String()
	to, dest := s.node.Sync.String(), peer
	if s.pair.StateSync.Transport == inventories.TransportMulticast {
		to, dest = syncGroup, syncGroup
	}
	sec.Rules = append(sec.Rules,
		fmt.Sprintf("-A PREROUTING -i %s -s %s -d %s -p udp --dport %d -j CT --notrack", link, peer, to, syncPort),
		"-A OUTPUT -d 224.0.0.18 -p vrrp -j CT --notrack",
		fmt.Sprintf("-A OUTPUT -o %s -d %s -p udp --dport %d -j CT --notrack", link, dest, syncPort))
	if out := s.pair.Outside; keepalived(s).watched() {
		// A full table says nothing of the gateway either.
		sec.Rules = append(sec.Rules,
			fmt.Sprintf("-A PREROUTING -i %s -s %s -d %s -p icmp --icmp-type echo-reply -j CT --notrack", out.Interface, out.Gateway, s.node.Outside),
			fmt.Sprintf("-A OUTPUT -o %s -s %s -d %s -p icmp --icmp-type echo-request -j CT --notrack", out.Interface, s.node.Outside, out.Gateway))
	}
	if len(s.pair.Services) > 0 {
		// Whether HAProxy replies is asked here: a full table says nothing of it.
		for _, chain := range []string{"OUTPUT -o", "PREROUTING -i"} {
			for _, port := range []string{"dport", "sport"} {
				sec.Rules = append(sec.Rules, fmt.Sprintf("-A %s lo -p tcp --%s %d -j CT --notrack", chain, port, statPort))
			}
		}
	}
	return sec
}

// stateSync accepts conntrackd's messages. A group that is not of the local
// network is forwarded by a snooping switch only as long as IGMP queries are
// answered.
func (s iptables) stateSync() section {
	link, peer := s.pair.Sync.Interface, s.pair.Peer(s.node.Name).Sync
	if s.pair.StateSync.Transport == inventories.TransportMulticast {
		return section{"Connection states of the peer.", []string{
			fmt.Sprintf("-A INPUT -i %s -s %s -d %s -p udp --dport %d -j ACCEPT", link, peer, syncGroup, syncPort),
			fmt.Sprintf("-A INPUT -i %s -d 224.0.0.0/4 -p igmp -j ACCEPT", link),
		}}
	}
	return section{"Connection states of the peer.", []string{
		fmt.Sprintf("-A INPUT -i %s -s %s -d %s -p udp --dport %d -j ACCEPT", link, peer, s.node.Sync, syncPort),
	}}
}

// peers accepts the stick tables of the peer's HAProxy.
func (s iptables) peers() []section {
	if len(s.pair.Services) == 0 {
		return nil
	}
	return []section{{"Stick tables of the peer.", []string{s.fromPeer(peersPort)}}}
}

// asked accepts the question whether this node could serve, see keepalived.aliveFiles.
func (s iptables) asked() []section {
	if !keepalived(s).watched() {
		return nil
	}
	return []section{
		{"The peer asks whether this node could serve.", []string{s.fromPeer(peerPort)}},
		{"The gateway answers the pings of serves.sh.", []string{fmt.Sprintf("-A INPUT -i %s -s %s -d %s -p icmp --icmp-type echo-reply -j ACCEPT",
			s.pair.Outside.Interface, s.pair.Outside.Gateway, s.node.Outside)}},
	}
}

// fromPeer accepts the peer's connections to a port on the sync network.
func (s iptables) fromPeer(port int) string {
	return fmt.Sprintf("-A INPUT -i %s -s %s -d %s -p tcp --dport %d --syn %s-j ACCEPT",
		s.pair.Sync.Interface, s.pair.Peer(s.node.Name).Sync, s.node.Sync, port, newOnly)
}

// resets lets the kernel answer the packets of proxied connections that ended
// with the other node: it resets what has no socket, and the client learns it at
// once instead of waiting for its time-out. The rules themselves must not: one
// packet out of order would end a connection that lives.
func (s iptables) resets() []section {
	sec := section{Comment: "Proxied connections end with the node that held them: tell the client."}
	for _, svc := range s.pair.Services {
		sec.Rules = append(sec.Rules, fmt.Sprintf("-A INPUT -d %s -p tcp --dport %d ! --syn -m conntrack --ctstate INVALID,NEW -j ACCEPT",
			svc.Address, svc.Port))
	}
	if len(sec.Rules) == 0 {
		return nil
	}
	return []section{sec}
}

func (s iptables) service(svc inventories.Service) section {
	sec := section{Comment: "Service " + svc.Name + ", from " + strings.Join(svc.From, ", ") + "."}
	match := fmt.Sprintf("-d %s -p tcp --dport %d --syn %s", svc.Address, svc.Port, newOnly)
	for _, zone := range svc.From {
		for _, start := range s.from(zone, "INPUT") {
			sec.Rules = append(sec.Rules, start+match+"-j ACCEPT")
		}
	}
	return sec
}

// allow is the rules of an allow block, none if it is about the nodes' own
// traffic, which is free.
func (s iptables) allow(a inventories.Allow) section {
	sec := section{Comment: fmt.Sprintf("Allow %s: from %s to %s.", a.Name, a.From, a.To)}
	chain := "FORWARD"
	if a.To == inventories.ZoneFirewall {
		chain = "INPUT"
	}
	ends := ""
	if len(a.Sources) > 0 {
		ends += "-s " + commas(a.Sources) + " "
	}
	if len(a.Destinations) > 0 {
		ends += "-d " + commas(a.Destinations) + " "
	}
	for _, start := range s.from(a.From, chain) {
		for _, out := range s.to(a.To) {
			for _, what := range protocols(a) {
				match := start + out + ends + what + newOnly
				if a.Log {
					sec.Rules = append(sec.Rules, match+"-j LOG --log-prefix "+logPrefix(a.Name))
				}
				sec.Rules = append(sec.Rules, match+"-j ACCEPT")
			}
		}
	}
	return sec
}

// from is how rules for what comes from a zone begin.
func (s iptables) from(zone, chain string) []string {
	link := ""
	switch zone {
	case inventories.ZoneFirewall:
		return nil
	case inventories.ZoneInside:
		if len(s.pair.VLANs) == 0 {
			return nil
		}
		if chain == "INPUT" {
			return []string{"-A " + insideInput + " "}
		}
		return []string{"-A " + insideForward + " "}
	case inventories.ZoneOutside:
		link = s.pair.Outside.Interface
	case inventories.ZoneSync:
		link = s.pair.Sync.Interface
	default:
		link = s.vlan(zone).Interface
	}
	return []string{"-A " + chain + " -i " + link + " "}
}

// to is the match for what leaves for a zone, once for each interface of it.
func (s iptables) to(zone string) []string {
	switch zone {
	case inventories.ZoneFirewall:
		return []string{""} // what comes in through INPUT leaves no more
	case inventories.ZoneInside:
		var out []string
		for _, v := range s.pair.VLANs {
			out = append(out, "-o "+v.Interface+" ")
		}
		return out
	case inventories.ZoneOutside:
		return []string{"-o " + s.pair.Outside.Interface + " "}
	case inventories.ZoneSync:
		return []string{"-o " + s.pair.Sync.Interface + " "}
	}
	return []string{"-o " + s.vlan(zone).Interface + " "}
}

// vlan is the VLAN of that name. The rules of inventories know no other zones.
func (s iptables) vlan(name string) inventories.VLAN {
	for _, v := range s.pair.VLANs {
		if v.Name == name {
			return v
		}
	}
	panic("steps: no zone " + name)
}

// protocols is what an allow block matches besides addresses, a rule each.
func protocols(a inventories.Allow) []string {
	var out []string
	for _, p := range []struct {
		name  string
		ports []inventories.PortRange
	}{{"tcp", a.TCP}, {"udp", a.UDP}} {
		out = append(out, portMatches(p.name, p.ports)...)
	}
	if a.ICMP {
		out = append(out, "-p icmp ")
	}
	if len(out) == 0 {
		return []string{""}
	}
	return out
}

// multiportMax is how many ports a multiport match takes; a range counts twice.
const multiportMax = 15

func portMatches(protocol string, ports []inventories.PortRange) []string {
	var out, words []string
	used := 0
	flush := func() {
		switch {
		case len(words) == 1:
			out = append(out, "-p "+protocol+" --dport "+words[0]+" ")
		case len(words) > 1:
			out = append(out, "-p "+protocol+" -m multiport --dports "+strings.Join(words, ",")+" ")
		}
		words, used = nil, 0
	}
	for _, p := range ports {
		word, n := strconv.Itoa(p.First), 1
		if p.Last != p.First {
			word, n = word+":"+strconv.Itoa(p.Last), 2
		}
		if used+n > multiportMax {
			flush()
		}
		words, used = append(words, word), used+n
	}
	flush()
	return out
}

// logPrefix is a quoted prefix for what an allow block logs. The kernel keeps
// 29 characters.
func logPrefix(name string) string {
	const before, after, most = "fwprov ", ": ", 29
	safe := []byte(name)
	for i, c := range safe {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.') {
			safe[i] = '_'
		}
	}
	if room := most - len(before) - len(after); len(safe) > room {
		safe = safe[:room]
	}
	return `"` + before + string(safe) + after + `"`
}
