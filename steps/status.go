package steps

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fwprov/inventories"
	"fwprov/provision"
)

// Status is how a pair is at the moment. Fields are only ever added.
type Status struct {
	Time        time.Time       `json:"time"`
	Cluster     string          `json:"cluster"`
	State       provision.State `json:"state"`
	Active      string          `json:"active,omitempty"` // "" if it is not exactly one node
	Since       *time.Time      `json:"since,omitempty"`  // as far as the journals go back
	Why         string          `json:"why,omitempty"`
	Problems    []Problem       `json:"problems"`
	Nodes       []NodeStatus    `json:"nodes"`
	VIPs        []VIPStatus     `json:"vips"`
	Services    []ServiceStatus `json:"services"`
	Transitions []Transition    `json:"transitions"` // the oldest first
}

// Problem is a check that failed.
type Problem struct {
	Check  string `json:"check"`
	Node   string `json:"node,omitempty"`
	Detail string `json:"detail"`
}

// Roles of a node besides active and standby.
const (
	roleUnreachable = "unreachable"
	roleDrained     = "drained"
	roleFault       = "fault"
	roleStopped     = "stopped" // keepalived does not run
)

// NodeStatus is one of the nodes. Of one that cannot be reached there is nothing but
// Name, Role and Error.
type NodeStatus struct {
	Name           string            `json:"name"`
	Role           string            `json:"role"` // active, standby, drained, fault, stopped, unreachable
	Detail         string            `json:"detail,omitempty"`
	Error          string            `json:"error,omitempty"`
	Connections    int               `json:"connections"`
	MaxConnections int               `json:"max_connections"`
	Sync           *SyncStatus       `json:"sync,omitempty"` // nil: conntrackd does not answer
	Interfaces     []InterfaceStatus `json:"interfaces,omitempty"`
}

// SyncStatus is what conntrackd says.
type SyncStatus struct {
	Own      int `json:"own"`      // connections through this node
	Peer     int `json:"peer"`     // connections through its peer that it knows
	Missing  int `json:"missing"`  // connections of its peer that it does not know; some are always on their way
	Sent     int `json:"sent"`     // messages
	Received int `json:"received"` //
	Errors   int `json:"errors"`   // of sending and receiving
	Lost     int `json:"lost"`     // messages
}

// InterfaceStatus is what has passed an interface, in all and a second.
type InterfaceStatus struct {
	Name      string  `json:"name"`
	Network   string  `json:"network"` // outside, sync, inside, or the VLAN's name
	Up        bool    `json:"up"`      // with a carrier
	RxBytes   uint64  `json:"rx_bytes"`
	RxPackets uint64  `json:"rx_packets"`
	TxBytes   uint64  `json:"tx_bytes"`
	TxPackets uint64  `json:"tx_packets"`
	RxBps     float64 `json:"rx_bytes_per_second"`
	RxPps     float64 `json:"rx_packets_per_second"`
	TxBps     float64 `json:"tx_bytes_per_second"`
	TxPps     float64 `json:"tx_packets_per_second"`
}

// VIPStatus is where an address is.
type VIPStatus struct {
	Address   string   `json:"address"`
	Interface string   `json:"interface"`
	Holders   []string `json:"holders"`
}

// ServiceStatus is a balanced service, as the active node sees it, or the first that
// tells.
type ServiceStatus struct {
	Name     string         `json:"name"`
	Address  string         `json:"address"` // with the port
	Sessions int            `json:"sessions"`
	Servers  []ServerStatus `json:"servers"`
}

// ServerStatus is a server behind a service.
type ServerStatus struct {
	Name  string `json:"name"`
	State string `json:"state"` // UP, DOWN, unknown, ...; "no" is one without a check
	Up    bool   `json:"up"`
}

// StatusProbe is what status asks a node: one command that takes a second, in which
// rates are measured. It sends keepalived no signal, as that would fill its journal.
func StatusProbe(p *inventories.Pair) provision.Probe {
	v := verify{p}
	addrs, rules := interfaces{p, p.Nodes[0]}.Probe(), iptables{p, p.Nodes[0]}.Probe()
	looks := []look{
		{ratesScript, never(parseRates)},
		{addrs.Script, addrs.Parse},
		{rules.Script, rules.Parse},
		{syncScript, parseSyncStats},
		{peersScript, parsePeers},
		{statScript(), parseStatSessions},
		{drainProbe, never(parseDrain)},
		{syncKindProbe, never(parseSyncKind)},
		{journalScript, never(parseJournal)},
		{stoppedScript, never(parseStopped)},
		{othersScript, never(parseOthers)},
		{roomScript, never(parseRoom)},
	}
	probe := joined(looks, v.ReadyProbe().Files)
	probe.Units = append(append(probe.Units, rules.Units...), firewalldUnit, nftablesUnit)
	return probe
}

// ratesScript reads the counters of all interfaces twice, a second apart.
const ratesScript = "cat /proc/uptime /proc/net/dev\nsleep 1\ncat /proc/uptime /proc/net/dev\n"

// parseRates makes facts "net NAME" of it: bytes and packets received and sent, and
// the same four a second.
func parseRates(out string, f provision.Facts) {
	type sample struct {
		at   float64
		seen map[string][4]uint64
	}
	var samples []sample
	for _, line := range strings.Split(out, "\n") {
		name, counters, ok := strings.Cut(line, ":")
		w := strings.Fields(counters)
		if !ok {
			up := strings.Fields(line)
			if len(up) != 2 {
				continue
			}
			if at, err := strconv.ParseFloat(up[0], 64); err == nil {
				samples = append(samples, sample{at, map[string][4]uint64{}})
			}
			continue
		}
		if len(w) != 16 || len(samples) == 0 {
			continue
		}
		var got [4]uint64
		good := true
		for i, column := range []int{0, 1, 8, 9} {
			n, err := strconv.ParseUint(w[column], 10, 64)
			got[i] = n
			good = good && err == nil
		}
		if good {
			samples[len(samples)-1].seen[strings.TrimSpace(name)] = got
		}
	}
	if len(samples) != 2 || !(samples[1].at > samples[0].at) {
		return
	}
	took := samples[1].at - samples[0].at
	for name, now := range samples[1].seen {
		before, ok := samples[0].seen[name]
		if !ok || strings.ContainsAny(name, " \t") {
			continue
		}
		var words []string
		for _, n := range now {
			words = append(words, strconv.FormatUint(n, 10))
		}
		for i := range now {
			rate := 0.0
			if now[i] >= before[i] {
				rate = float64(now[i]-before[i]) / took
			}
			words = append(words, strconv.FormatFloat(rate, 'f', 1, 64))
		}
		f[provision.Key("net", name)] = strings.Join(words, " ")
	}
}

// parseStatSessions is parseStat, and how many sessions each backend has.
func parseStatSessions(out string, f provision.Facts) error {
	for _, line := range strings.Split(out, "\n") {
		c := strings.Split(line, ",")
		if len(c) > 17 && c[1] == "BACKEND" && isCount(c[4]) {
			f[provision.Key("sessions", c[0])] = c[4]
		}
	}
	return parseStat(out, f)
}

// StatusOf makes a status of what the nodes have said to StatusProbe, and of why
// others have not.
func StatusOf(p *inventories.Pair, at time.Time, nodes map[string]provision.Facts, errs map[string]error) Status {
	v := verify{p}
	s := Status{Time: at, Cluster: p.Name, Problems: []Problem{}, VIPs: []VIPStatus{}, Services: []ServiceStatus{}, Transitions: transitions(nodes)}
	if s.Transitions == nil {
		s.Transitions = []Transition{}
	}
	checks := v.statusChecks(nodes, errs)
	s.State = provision.Judge(checks)
	if len(nodes) == 0 {
		s.State = provision.Down
	}
	for _, c := range checks {
		if !c.OK {
			s.Problems = append(s.Problems, Problem{c.Name, c.Node, c.Detail})
		}
	}
	var active []string
	for _, n := range p.Nodes {
		one := v.nodeStatus(n, nodes, errs[n.Name])
		if one.Role == string(provision.Active) {
			active = append(active, n.Name)
		}
		s.Nodes = append(s.Nodes, one)
	}
	for _, vip := range p.VIPs() {
		one := VIPStatus{Address: vip.Addr.String(), Interface: vip.Interface, Holders: []string{}}
		for _, n := range p.Nodes {
			if holds(nodes[n.Name], vip) {
				one.Holders = append(one.Holders, n.Name)
			}
		}
		s.VIPs = append(s.VIPs, one)
	}
	if len(active) == 1 {
		s.Active = active[0]
		for _, t := range slices.Backward(s.Transitions) {
			if t.Node == s.Active {
				if t.State == "master" {
					s.Since, s.Why = &t.Time, t.Why
				}
				break
			}
		}
	}
	s.Services = append(s.Services, v.serviceStatus(s.Active, nodes)...)
	return s
}

// statusChecks are those of verify's checks that one look without pings can judge.
func (v verify) statusChecks(nodes map[string]provision.Facts, errs map[string]error) []provision.Check {
	var out []provision.Check
	for _, n := range v.pair.Nodes {
		if err := errs[n.Name]; err != nil {
			out = append(out, provision.Check{Name: "reach", Node: n.Name, Detail: err.Error()})
		}
	}
	if len(nodes) < len(v.pair.Nodes) && !slices.ContainsFunc(v.pair.Nodes, func(n inventories.Node) bool { return v.holdsAny(nodes[n.Name]) }) {
		// The VIPs may be where nobody can look.
	} else {
		out = append(out, v.holders(nodes)...)
	}
	for _, n := range v.pair.Nodes {
		f, peer := nodes[n.Name], nodes[v.pair.Peer(n.Name).Name]
		if f == nil {
			continue
		}
		out = append(out, v.units(n, f)...)
		out = append(out, v.stopped(n, f))
		out = append(out, v.current(n, f)...)
		out = append(out, v.electable(n, f, false))
		out = append(out, v.cables(n, f)...)
		out = append(out, v.rules(n, f)...)
		out = append(out, v.others(n, f))
		out = append(out, v.room(n, f)...)
		known := v.inSync(n, f, peer)
		known.Name = "connections known"
		out = append(out, known)
		out = append(out, v.servers(n, f)...)
	}
	return out
}

func (v verify) nodeStatus(n inventories.Node, nodes map[string]provision.Facts, err error) NodeStatus {
	f, peer := nodes[n.Name], nodes[v.pair.Peer(n.Name).Name]
	s := NodeStatus{Name: n.Name, Role: string(provision.Standby)}
	if f == nil {
		s.Role = roleUnreachable
		if err != nil {
			s.Error = err.Error()
		}
		return s
	}
	drained, _ := drainedBy(n.Name, f)
	switch {
	case v.holdsAny(f):
		s.Role, s.Detail = string(provision.Active), drained
	case drained != "":
		s.Role, s.Detail = roleDrained, drained
	case f.Get("unit", "keepalived.service", "ActiveState") != "active":
		s.Role, s.Detail = roleStopped, "keepalived does not run"
	default:
		for _, name := range f.Names("vrrp") {
			if f.Get("vrrp", name) == "fault" {
				s.Role, s.Detail = roleFault, name+" is in FAULT"
			}
		}
	}
	s.Connections, s.MaxConnections = number(f.Get("conntrack", "count")), number(f.Get("conntrack", "max"))
	if f.Get("sync", "internal") != "" {
		s.Sync = &SyncStatus{
			Own: number(f.Get("sync", "internal")), Peer: number(f.Get("sync", "external")),
			Sent: number(f.Get("sync", "pckts", "sent")), Received: number(f.Get("sync", "pckts", "recv")),
			Errors: number(f.Get("sync", "error", "send")) + number(f.Get("sync", "error", "recv")), Lost: number(f.Get("sync", "lost")),
		}
		if s.Role != string(provision.Active) {
			s.Sync.Missing = max(0, number(peer.Get("sync", "internal"))-s.Sync.Peer)
		}
	}
	add := func(name, network string) {
		link, _, _ := strings.Cut(f.Get("link", name), " ")
		i := InterfaceStatus{Name: name, Network: network, Up: link == "up" && f.Get("carrier", name) != ""}
		if w := strings.Fields(f.Get("net", name)); len(w) == 8 {
			for j, to := range []*uint64{&i.RxBytes, &i.RxPackets, &i.TxBytes, &i.TxPackets} {
				*to, _ = strconv.ParseUint(w[j], 10, 64)
			}
			for j, to := range []*float64{&i.RxBps, &i.RxPps, &i.TxBps, &i.TxPps} {
				*to, _ = strconv.ParseFloat(w[4+j], 64)
			}
		}
		s.Interfaces = append(s.Interfaces, i)
	}
	add(v.pair.Outside.Interface, inventories.ZoneOutside)
	add(v.pair.Inside.Interface, inventories.ZoneInside)
	add(v.pair.Sync.Interface, inventories.ZoneSync)
	for _, vlan := range v.pair.VLANs {
		add(vlan.Interface, vlan.Name)
	}
	return s
}

func (v verify) serviceStatus(active string, nodes map[string]provision.Facts) []ServiceStatus {
	f := nodes[active]
	for _, n := range v.pair.Nodes {
		if len(f.Names("server")) == 0 {
			f = nodes[n.Name]
		}
	}
	var out []ServiceStatus
	for _, s := range v.pair.Services {
		one := ServiceStatus{Name: s.Name, Address: fmt.Sprintf("%s:%d", s.Address, s.Port), Sessions: number(f.Get("sessions", backendName(s))), Servers: []ServerStatus{}}
		for _, srv := range s.Servers {
			state := orUnknown(f.Get("server", backendName(s), srv.Name))
			one.Servers = append(one.Servers, ServerStatus{srv.Name, state, state == "UP" || state == "no"})
		}
		out = append(out, one)
	}
	return out
}
