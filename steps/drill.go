package steps

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
)

// Way is how a drill takes the active node out of service.
type Way string

// The ways, from the gentlest to the roughest.
const (
	ByDrain      Way = "drain"      // as fwprov drain does
	ByStop       Way = "keepalived" // keepalived is stopped
	ByInterfaces Way = "interfaces" // all interfaces of the inventory are set down
)

// Ways lists them all.
func Ways() []Way { return []Way{ByDrain, ByStop, ByInterfaces} }

// Does says what a way does to a node.
func (w Way) Does(node string) string {
	switch w {
	case ByStop:
		return "keepalived is stopped on " + node
	case ByInterfaces:
		return "all interfaces of " + node + " are set down"
	}
	return node + " is drained"
}

// Bounds are what the timers allow for the time in which nobody holds the VIPs when
// a node goes out of service in some way: it cannot be shorter than Floor, and
// should not be longer than Election, with a little for the machine.
type Bounds struct{ Floor, Election time.Duration }

// BoundsOf returns the bounds where peer takes over. A node that steps down says
// so, and its peer waits for one skew; one that falls silent is given up after
// three intervals and a skew. A node that loses one interface before the other may
// still say it over that one.
func BoundsOf(p *inventories.Pair, w Way, peer inventories.Node) Bounds {
	b := Bounds{skew(p.VRRP, peer), skew(p.VRRP, peer)}
	if w == ByInterfaces {
		b.Election = electionTime(p.VRRP, peer)
	}
	return b
}

// DrillOutage is what a way does on a node, and what undoes it.
func DrillOutage(p *inventories.Pair, w Way, who string) provision.Outage {
	switch w {
	case ByStop:
		return provision.Outage{
			Down: "systemctl stop keepalived.service\n",
			Back: "systemctl is-active --quiet keepalived.service || systemctl start keepalived.service\n",
		}
	case ByInterfaces:
		return provision.Outage{Down: linksDown(p), Back: linksUp(p), Cuts: true}
	}
	return provision.Outage{Down: drainScript(p, drainRun, who), Back: undrainScript(drainRun)}
}

// drillLinks are the interfaces of the inventory. Those of the heartbeats go down
// first, so that the node does not say farewell over the last of them, and the
// trunk comes up before the VLANs on it.
func drillLinks(p *inventories.Pair) []string {
	names := []string{p.Sync.Interface, p.Outside.Interface, p.Inside.Interface}
	for _, v := range p.VLANs {
		names = append(names, v.Interface)
	}
	return names
}

// linksDown notes what goes with an interface that is set down and does not come
// back with it: routes that are not the kernel's own, and IPv6 addresses.
func linksDown(p *inventories.Pair) string {
	names := strings.Join(drillLinks(p), " ")
	return fmt.Sprintf(`for dev in %[1]s; do
	for v in 4 6; do
		ip -$v route show table all dev $dev | while read -r route; do
			case "$route " in
			local\ * | broadcast\ * | multicast\ * | anycast\ * | *' proto kernel '*) ;;
			*) echo "$v $dev $route" ;;
			esac
		done
	done
done >routes
ip -6 -o addr show scope global | sed -n '/dynamic/!s/^[0-9]*: *\([^ ]*\) *inet6 \([^ ]*\) .*/\1 \2/p' >addrs
for dev in %[1]s; do
	echo "link set dev $dev down"
done | ip -force -batch -
`, names)
}

// linksUp sets all up and adds what linksDown has noted.
func linksUp(p *inventories.Pair) string {
	return fmt.Sprintf(`for dev in %s; do
	ip link set dev $dev up
done
[ ! -e addrs ] || while read -r dev addr; do
	case " %[1]s " in *" $dev "*) ip -6 addr replace $addr dev $dev ;; esac
done <addrs
for again in 1 2; do # a route by a gateway needs the one that leads to it
	[ ! -e routes ] || while read -r v dev route; do
		ip -$v route replace $route dev $dev 2>/dev/null || :
	done <routes
done
`, strings.Join(drillLinks(p), " "))
}

// HolderWatch is a script that tells who comes to hold and who loses addresses, as
// long as its standard input goes on, and the node's clock for every line of that:
//
//	[2026-11-25T09:15:11.123456] Deleted 2: eth0 inet 192.168.1.10/24 ...   in UTC
//	has ADDRESS          one of those that it has at first
//	clock NANOSECONDS
//
// A part of it ends by itself after the time within.
func HolderWatch(within time.Duration) string {
	return fmt.Sprintf(`TZ=UTC0
export TZ
timeout %d ip -4 -o -ts monitor address 2>/dev/null &
watch=$!
sleep 0.2
ip -4 -o addr show | sed -n 's/.* inet \([0-9.]*\)\/.*/has \1/p'
while read -r line; do
	echo "clock $(date +%%s%%N)"
done
kill $watch 2>/dev/null
`, int(within/time.Second))
}

// Talk is what is said over a connection that is held, so that a stall shows.
type Talk string

// What is said.
const (
	TalkEcho Talk = "echo" // the server sends back what it gets (port 7, RFC 862)
	TalkHTTP Talk = "http" // HEAD, over and over
	TalkSMTP Talk = "smtp" // NOOP
	TalkNone Talk = "idle" // nothing: the server's language is not known
)

// Target is where a connection goes that is held.
type Target struct {
	Addr netip.AddrPort
	Name string // who that is
	Talk Talk
}

// ParseTarget reads ADDRESS:PORT.
func ParseTarget(text string) (Target, error) {
	addr, err := netip.ParseAddrPort(text)
	if err != nil || !addr.Addr().Is4() || addr.Port() == 0 {
		return Target{}, errors.New("an IPv4 address and a port, as in 10.10.2.1:22")
	}
	return Target{addr, "", TalkOf(int(addr.Port()))}, nil
}

// TalkOf guesses what a port understands.
func TalkOf(port int) Talk {
	switch port {
	case 7:
		return TalkEcho
	case 25, 587:
		return TalkSMTP
	case 80, 8080:
		return TalkHTTP
	}
	return TalkNone
}

// DrillServices are the pair's services, as targets, in their order.
func DrillServices(p *inventories.Pair) []Target {
	var out []Target
	for _, s := range p.Services {
		out = append(out, Target{netip.AddrPortFrom(s.Address, uint16(s.Port)), s.Name, serviceTalk(s, s.Port)})
	}
	return out
}

func serviceTalk(s inventories.Service, port int) Talk {
	switch {
	case s.Mode == "http":
		return TalkHTTP
	case s.Check != nil && s.Check.Type == "smtp":
		return TalkSMTP
	case s.Check != nil && s.Check.Type == "http":
		return TalkHTTP
	}
	return TalkOf(port)
}

// RoutedTargets are where a connection through the pair may lead that no balancer
// ends, from a machine with the address from: what the allow blocks let through to
// servers of services, on the server's own port first, and to single destinations.
// The likeliest come first.
func RoutedTargets(p *inventories.Pair, from netip.Addr) []Target {
	var own, others []Target
	zone := zoneOf(p, from)
	for _, a := range p.Allows {
		if a.From != zone && (a.From != inventories.ZoneInside || zone == inventories.ZoneOutside) || !anyHas(a.Sources, from) {
			continue
		}
		for _, s := range p.Services {
			for _, srv := range s.Servers {
				if to := zoneOf(p, srv.Address); to == zone || a.To != to && (a.To != inventories.ZoneInside || to == inventories.ZoneOutside) || !anyHas(a.Destinations, srv.Address) {
					continue
				}
				if hasPort(a.TCP, srv.Port) || len(a.TCP) == 0 && len(a.UDP) == 0 && !a.ICMP {
					own = append(own, Target{netip.AddrPortFrom(srv.Address, uint16(srv.Port)), srv.Name, serviceTalk(s, srv.Port)})
				}
				if port := firstPort(a.TCP); port > 0 {
					others = append(others, Target{netip.AddrPortFrom(srv.Address, uint16(port)), srv.Name, TalkOf(port)})
				}
			}
		}
		for _, d := range a.Destinations {
			if port := firstPort(a.TCP); d.IsSingleIP() && port > 0 {
				others = append(others, Target{netip.AddrPortFrom(d.Addr(), uint16(port)), "of allow " + a.Name, TalkOf(port)})
			}
		}
	}
	var out []Target
	for _, t := range append(own, others...) {
		if !slices.ContainsFunc(out, func(o Target) bool { return o.Addr == t.Addr }) {
			out = append(out, t)
		}
	}
	return out
}

// zoneOf is the zone that an address is in: a VLAN's name, or outside.
func zoneOf(p *inventories.Pair, a netip.Addr) string {
	for _, v := range p.VLANs {
		if v.Network.Contains(a) {
			return v.Name
		}
	}
	return inventories.ZoneOutside
}

// anyHas reports whether one of the networks has the address; no networks have all.
func anyHas(networks []netip.Prefix, a netip.Addr) bool {
	return len(networks) == 0 || slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

func hasPort(ranges []inventories.PortRange, port int) bool {
	return slices.ContainsFunc(ranges, func(r inventories.PortRange) bool { return r.First <= port && port <= r.Last })
}

// firstPort is the first port of an allow that names some.
func firstPort(ranges []inventories.PortRange) int {
	for _, r := range ranges {
		if r.First == r.Last {
			return r.First
		}
	}
	return 0
}

// StickyServices are the services that keep a client with its server.
func StickyServices(p *inventories.Pair) []string {
	var out []string
	for _, s := range p.Services {
		if s.Sticky > 0 {
			out = append(out, s.Name)
		}
	}
	return out
}

// stickClients are programs that talk to a UNIX socket, one of which most machines
// have: the socket on loopback is not told what stands in a table.
const stickClients = `sock=/var/lib/haproxy/stats
ask() {
	if command -v socat >/dev/null; then
		echo "$1" | timeout 3 socat - UNIX-CONNECT:$sock
		return
	fi
	for py in python3 /usr/libexec/platform-python python; do
		if command -v $py >/dev/null; then
			timeout 3 $py -c 'import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall((sys.argv[2] + "\n").encode())
while True:
	b = s.recv(65536)
	if not b:
		break
	os.write(1, b)' $sock "$1"
			return
		fi
	done
	if command -v perl >/dev/null; then
		timeout 3 perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or exit 1; print $s "$ARGV[1]\n"; print while <$s>' $sock "$1"
		return
	fi
	echo 'there is no socat, python or perl to ask it with' >&2
	exit 1
}
`

// StickScript asks a node's HAProxy which server it has for a client.
func StickScript(p *inventories.Pair, client netip.Addr) string {
	var show []string
	for _, s := range p.Services {
		if s.Sticky > 0 {
			show = append(show, fmt.Sprintf("show table %s key %s", backendName(s), client))
		}
	}
	return stickClients + "ask " + provision.Quote(strings.Join(show, "; ")) + "\n"
}

// ParseStick reads what StickScript prints: the server by service.
func ParseStick(p *inventories.Pair, out string) map[string]string {
	chosen := map[string]string{}
	var here *inventories.Service
	for _, line := range strings.Split(out, "\n") {
		if rest, ok := strings.CutPrefix(line, "# table: "); ok {
			name, _, _ := strings.Cut(rest, ",")
			i := slices.IndexFunc(p.Services, func(s inventories.Service) bool { return backendName(s) == name })
			if here = nil; i >= 0 {
				here = &p.Services[i]
			}
			continue
		}
		if here == nil {
			continue
		}
		for _, w := range strings.Fields(line) {
			if id, ok := strings.CutPrefix(w, "server_id="); ok && isCount(id) {
				// HAProxy numbers servers as they stand in the configuration.
				if n := number(id); n >= 1 && n <= len(here.Servers) {
					chosen[here.Name] = here.Servers[n-1].Name
				}
			}
		}
	}
	return chosen
}
