package steps

import (
	_ "embed"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"fwprov/inventories"
	"fwprov/provision"
)

// conntrackd replicates the table of connections to the peer, and hands it to
// the kernel when the node becomes active: a routed connection outlives the
// node it went through. It has no check mode and no reload.
type conntrackd struct {
	pair *inventories.Pair
	node inventories.Node
}

var _ provision.Renderer = conntrackd{}

//go:embed conntrackd.conf.tmpl
var conntrackdTemplate string

const (
	conntrackdConf   = "/etc/conntrackd/conntrackd.conf"
	conntrackdDropIn = "/etc/systemd/system/conntrackd.service.d/fwprov.conf"

	// The paths that Enterprise Linux's policy has labels for, and that the
	// packaged fail-over script expects. Debian's differ, but nothing there
	// depends on them.
	conntrackdLock   = "/var/lock/conntrack.lock"
	conntrackdSocket = "/var/run/conntrackd.ctl"

	syncPort  = inventories.StateSyncPort
	syncGroup = "225.0.0.50"

	// conntrackMax stands in for nf_conntrack_max where the machine did not tell.
	conntrackMax = 262144
)

func (conntrackd) Name() string { return "conntrackd" }

// Files are the configuration, the drop-in of the unit, and the fail-over
// script where it has to be our own, see failoverScript.
func (s conntrackd) Files(f provision.Facts) []provision.File {
	out := []provision.File{
		{Path: conntrackdConf, Content: s.config(f)},
		{Path: conntrackdDropIn, Content: s.dropIn(f)},
	}
	if enforcing(f) {
		out = append(out, provision.File{Path: labelledScript, Content: []byte(ownScript), Mode: 0o755})
	}
	return out
}

// loaded is the hash of the configuration that the daemon has to have loaded.
func (s conntrackd) loaded(f provision.Facts) string { return provision.LoadedHash(s.config(f)) }

// started is the hash of what says how the daemon is started.
func (s conntrackd) started(f provision.Facts) string { return provision.LoadedHash(s.dropIn(f)) }

func (s conntrackd) config(f provision.Facts) []byte {
	version := f.Get("version", "conntrackd")
	mode := "FTFW"
	if s.pair.StateSync.Mode == inventories.ModeAlarm {
		mode = "ALARM"
	}
	entries, err := strconv.Atoi(f.Get("sysctl", conntrackMaxKey))
	if err != nil || entries <= 0 {
		entries = conntrackMax
	}
	return render(conntrackdTemplate, struct {
		Mode                     string
		StartupResync, Multicast bool
		Group                    string
		Port                     int
		Local, Peer              netip.Addr
		Interface                string
		Notify                   bool
		HashSize, HashLimit      int
		LockFile, Socket         string
		Ignore                   []netip.Addr
	}{
		Mode:          mode,
		StartupResync: mode == "FTFW" && versionAtLeast(version, "1.4.5"), // a syntax error before
		Multicast:     s.pair.StateSync.Transport == inventories.TransportMulticast,
		Group:         syncGroup,
		Port:          syncPort,
		Local:         s.node.Sync,
		Peer:          s.pair.Peer(s.node.Name).Sync,
		Interface:     s.pair.Sync.Interface,
		Notify:        debian(f), // Enterprise Linux's unit is of Type=simple
		HashSize:      32768,
		HashLimit:     2 * entries, // conntrackd.conf(5): double of nf_conntrack_max
		LockFile:      conntrackdLock,
		Socket:        conntrackdSocket,
		Ignore:        s.ignore(f),
	})
}

// ignore lists the IPv4 addresses whose connections end on a firewall: those
// of the inventory, and this node's addresses on networks that are not in it,
// over which it may be managed. A node that becomes backup purges all other
// connections after a minute, and a purged SSH session hangs.
func (s conntrackd) ignore(f provision.Facts) []netip.Addr {
	out := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	add := func(a netip.Addr) {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	for _, n := range s.pair.Nodes {
		add(n.Outside)
	}
	for _, n := range s.pair.Nodes {
		add(n.Sync)
	}
	for _, v := range s.pair.VIPs() {
		add(v.Addr)
	}
	for _, v := range s.pair.VLANs {
		for _, n := range s.pair.Nodes {
			add(v.Addresses[n.Name])
		}
	}
	for _, name := range f.Names("addr") {
		link, prefix, _ := strings.Cut(name, " ")
		if p, err := netip.ParsePrefix(prefix); err == nil && p.Addr().Is4() && !s.ours(link) {
			add(p.Addr())
		}
	}
	return out
}

// ours tells the interfaces whose addresses the inventory rules over. What else
// is found there is on its way out, or somebody's mistake.
func (s conntrackd) ours(link string) bool {
	p := s.pair
	return link == "lo" || link == p.Outside.Interface || link == p.Sync.Interface ||
		link == p.Inside.Interface || strings.HasPrefix(link, p.Inside.Interface+".")
}

func (s conntrackd) dropIn(f provision.Facts) []byte {
	var b strings.Builder
	unit, service := restartForever(f)
	b.WriteString("# Managed by fwprov.\n[Unit]\nWants=network-online.target\nAfter=network-online.target\n" + unit)
	// A daemon that was killed leaves its lock, and the next does not start.
	b.WriteString("\n[Service]\nExecStartPre=-/bin/rm -f " + conntrackdLock + "\n")
	b.WriteString(loadedLines("conntrackd.service", false, conntrackdConf, conntrackdDropIn))
	if s.pair.StateSync.Mode == inventories.ModeFTFW && !versionAtLeast(f.Get("version", "conntrackd"), "1.4.5") {
		// What StartupResync does since 1.4.5.
		b.WriteString("ExecStartPost=-/bin/sh -c 'for i in 1 2 3 4 5; do conntrackd -n && break; sleep 1; done'\n")
	}
	// The other way round nobody asks: what the kernel of an active node came to know
	// while nobody told of it, the peer would never hear.
	fmt.Fprintf(&b, "ExecStartPost=-/bin/sh -c 'ip -4 -o addr show | grep -qF \" %s/\" || exit 0; for i in 1 2 3 4 5 6 7 8 9 10; do conntrackd -B && break; sleep 0.2; done'\n", s.pair.Outside.VIP)
	b.WriteString(service)
	return []byte(b.String())
}

// Probe looks for the files and the fail-over scripts.
func (s conntrackd) Probe() provision.Probe {
	return provision.Probe{
		Files:  append([]string{conntrackdConf, conntrackdDropIn, copiedScript, labelledScript}, strings.Fields(packagedScripts)...),
		Script: failoverProbe(),
		Parse:  parseFailover,
	}
}

// Plan wants the files and the fail-over script. That the daemon runs them is
// the business of step services.
func (s conntrackd) Plan(f provision.Facts) ([]provision.Change, error) {
	out := provision.PlanFiles(f, s.Name(), s.Files(f)...)
	return append(out, planFailover(f, s.Name())...), nil
}
