package e2e

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"fwprov/inventories"
)

// The floors of the timers, for the node with the lower priority.
func (m *matrix) floors() (takeover, skew, outsideSkew, watchdog time.Duration) {
	v := m.pair.VRRP
	low := m.pair.Nodes[0].Priority
	for _, n := range m.pair.Nodes {
		low = min(low, n.Priority)
	}
	part := func(d time.Duration) time.Duration { return d * time.Duration(256-low) / 256 }
	slow := v.AdvertInterval
	if v.Form == inventories.Single {
		slow = max(slow, v.OutsideAdvertInterval)
	}
	return 3*slow + part(slow), part(slow), part(v.OutsideAdvertInterval), v.Watchdog()
}

// faults are the rows.
func (m *matrix) faults() []singleFault {
	takeover, skew, outsideSkew, watchdog := m.floors()
	out, sync := m.pair.Outside.Interface, m.pair.Sync.Interface
	vlan := m.pair.VLANs[0].Interface
	trunk := []string{m.pair.Inside.Interface}
	for _, v := range m.pair.VLANs {
		trunk = append(trunk, v.Interface)
	}
	const blip = 200 * time.Millisecond
	cable := max(outsideSkew+3*m.pair.VRRP.OutsideAdvertInterval, skew) + blip
	gateway, killed := 3*time.Second, time.Second
	if m.pair.VRRP.Profile == "vm" { // for slow hosts, whose timers allow more
		gateway, killed = 6*time.Second, takeover+blip
	}
	onActive := func(m *matrix) []string { return []string{m.active} }
	onStandby := func(m *matrix) []string { return []string{m.standby} }
	onBoth := func(m *matrix) []string { return []string{m.active, m.standby} }
	return []singleFault{
		{name: "power cut, active", often: true, strike: powerCut(onActive), lasts: 3 * time.Second, none: takeover*12/10 + blip, moves: go1, names: "reach"},
		{name: "power cut, standby", strike: powerCut(onStandby), lasts: 2 * time.Second, names: "reach"},
		{name: "both boot at the same moment", strike: powerCut(onBoth), lasts: time.Second, cold: true, empty: true, after: 40 * time.Second},
		{name: "outside cable, active", often: true, strike: cables(onActive, out), lasts: 2 * time.Second, none: cable, moves: go1, names: "reach"},
		{name: "outside cable, standby", strike: cables(onStandby, out), lasts: 2 * time.Second, unnoticed: true, names: "reach"},
		{name: "trunk, active", strike: cables(onActive, trunk...), lasts: 2 * time.Second, none: cable, moves: go1, names: "interfaces"},
		{name: "trunk, standby", strike: cables(onStandby, trunk...), lasts: 2 * time.Second, unnoticed: true, names: "interfaces"},
		{name: "one VLAN, active", strike: cables(onActive, vlan), lasts: 2 * time.Second, none: cable, moves: go1, names: "interfaces"},
		{name: "one VLAN, standby", strike: cables(onStandby, vlan), lasts: 2 * time.Second, unnoticed: true, names: "interfaces"},
		{name: "sync cable, active", often: true, strike: cables(onActive, sync), lasts: 4 * time.Second, unnoticed: true, names: "sync network"},
		{name: "sync cable, both", strike: cables(onBoth, sync), lasts: 4 * time.Second, unnoticed: true, names: "sync network"},
		{name: "sync network silent", often: true, strike: silent(onBoth, sync), lasts: 5 * time.Second, unnoticed: true, names: "sync network"},
		{name: "sync network, half its packets lost", strike: (*matrix).lossy, lasts: 8 * time.Second, unnoticed: true, names: "sync network"},
		{name: "outside path silent, active", often: true, strike: silent(onActive, out), lasts: gateway + 2*time.Second, none: skew + blip, moves: go1, outage: gateway + time.Second, names: "reach"},
		{name: "outside path silent, standby", strike: silent(onStandby, out), lasts: 4 * time.Second, unnoticed: true, names: "reach"},
		{name: "outside switch dead", strike: cables(onBoth, out), lasts: 4 * time.Second, empty: true, after: takeover + blip, moves: either},
		{name: "outside switch silent", strike: silent(onBoth, out), lasts: 5 * time.Second, names: "reach"},
		{name: "gateway silent", strike: (*matrix).gatewaySilent, lasts: 5 * time.Second, names: "gateway answers"},
		{name: "keepalived killed, parent", often: true, strike: signal(onActive, "KILL", "$(systemctl show -p MainPID --value keepalived)"), lasts: 4 * time.Second, none: killed, two: blip, moves: either},
		{name: "keepalived killed, child", strike: signal(onActive, "KILL", "$(pgrep -P $(systemctl show -p MainPID --value keepalived))"), lasts: 4 * time.Second, none: killed, two: blip, moves: either},
		{name: "keepalived killed, both", strike: signal(onActive, "KILL", "$(pgrep -x keepalived)"), lasts: 4 * time.Second, none: killed, two: blip, moves: either},
		{name: "keepalived killed, standby", strike: signal(onStandby, "KILL", "$(pgrep -x keepalived)"), lasts: 3 * time.Second, unnoticed: true},
		{name: "keepalived stopped by a signal, child", strike: signal(onActive, "STOP", "$(pgrep -P $(systemctl show -p MainPID --value keepalived))"), lasts: watchdog + 4*time.Second, none: time.Second, two: watchdog, moves: either},
		{name: "keepalived stopped by a signal, both", strike: signal(onActive, "STOP", "$(pgrep -x keepalived)"), lasts: watchdog + 4*time.Second, none: time.Second, two: watchdog, moves: either},
		{name: "keepalived stopped by a signal, standby", strike: signal(onStandby, "STOP", "$(pgrep -x keepalived)"), lasts: watchdog + 2*time.Second, unnoticed: true},
		{name: "haproxy killed", often: true, strike: signal(onActive, "KILL", "$(pgrep -x haproxy)"), lasts: 3 * time.Second, none: skew + blip, moves: either, outage: watchdog},
		{name: "haproxy stopped by a signal", strike: signal(onActive, "STOP", "$(pgrep -x haproxy)"), lasts: watchdog + 2*time.Second, none: skew + blip, moves: either, outage: watchdog},
		{name: "conntrackd killed", strike: signal(onActive, "KILL", "$(pgrep -x conntrackd)"), lasts: 3 * time.Second, unnoticed: true},
		{name: "conntrackd stopped by a signal", strike: signalled(onActive, "STOP", "CONT", "$(pgrep -x conntrackd)"), lasts: 4 * time.Second, unnoticed: true, names: "daemons answer"},
		{name: "keepalived reloaded with a broken file", strike: (*matrix).brokenReload, lasts: 3 * time.Second, unnoticed: true, names: "files"},
		{name: "rules flushed, active", often: true, strike: rules(onActive, "iptables -P INPUT ACCEPT; iptables -F"), lasts: 3 * time.Second, none: time.Second, two: time.Second, moves: go1, names: "rules v4"},
		{name: "policies DROP, active", strike: rules(onActive, "iptables -F"), lasts: 4 * time.Second, none: time.Second, two: time.Second, moves: go1, names: "reach"},
		{name: "policies DROP, standby", strike: rules(onStandby, "iptables -F"), lasts: 4 * time.Second, none: time.Second, two: time.Second, moves: back, names: "reach"},
		{name: "the distribution's ruleset, active", strike: rules(onActive, distributionRules), lasts: 4 * time.Second, none: time.Second, two: time.Second, moves: go1, names: "rules v4"},
		{name: "the distribution's ruleset, standby", often: true, strike: rules(onStandby, distributionRules), lasts: 4 * time.Second, none: time.Second, two: time.Second, moves: back, names: "rules v4"},
		{name: "firewalld started, active", strike: firewalld(onActive), lasts: 6 * time.Second, none: time.Second, two: time.Second, moves: go1, names: "other firewalls|reach"},
		{name: "firewalld started, standby", strike: firewalld(onStandby), lasts: 6 * time.Second, none: time.Second, two: time.Second, moves: back, names: "other firewalls|reach"},
		{name: "disk full", strike: (*matrix).diskFull, lasts: 3 * time.Second, unnoticed: true, names: "disks"},
		{name: "connection table full", strike: (*matrix).tableFull, lasts: 4 * time.Second, names: "reach|connection table"},
	}
}

// distributionRules is what Enterprise Linux's package of iptables brings: SSH may
// come in, and nothing else.
const distributionRules = `iptables-restore <<'E'
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
COMMIT
E`

type strike = func(m *matrix) (heal func())

// must runs something of the lab's that has to work.
func (m *matrix) must(do func(ctx context.Context) error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := do(ctx); err != nil {
		m.t.Error(err)
	}
}

// side picks nodes when the fault strikes.
type side = func(m *matrix) []string

// each does something on nodes at the same moment.
func (m *matrix) each(nodes []string, do func(ctx context.Context, node string) error) {
	m.t.Helper()
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() { m.must(func(ctx context.Context) error { return do(ctx, n) }) })
	}
	wg.Wait()
}

func powerCut(on side) strike {
	return func(m *matrix) func() {
		nodes := on(m)
		m.each(nodes, m.lab.PowerCut)
		return func() { m.each(nodes, m.lab.PowerOn) }
	}
}

func cables(on side, links ...string) strike {
	return ports(on, links, func(ctx context.Context, m *matrix, node, link string, hurt bool) error {
		return m.lab.Link(ctx, node, link, !hurt)
	})
}

func silent(on side, links ...string) strike {
	return ports(on, links, func(ctx context.Context, m *matrix, node, link string, hurt bool) error {
		return m.lab.Silence(ctx, node, link, hurt)
	})
}

func ports(on side, links []string, set func(ctx context.Context, m *matrix, node, link string, hurt bool) error) strike {
	return func(m *matrix) func() {
		nodes := on(m)
		all := func(hurt bool) {
			m.must(func(ctx context.Context) error {
				for _, n := range nodes {
					for _, link := range links {
						if err := set(ctx, m, n, link, hurt); err != nil {
							return err
						}
					}
				}
				return nil
			})
		}
		all(true)
		return func() { all(false) }
	}
}

func (m *matrix) lossy() func() {
	heal, err := m.lab.Lossy(m.active, m.pair.Sync.Interface, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		m.t.Fatal(err)
	}
	return func() { m.must(func(context.Context) error { return heal() }) }
}

func (m *matrix) gatewaySilent() func() {
	m.must(func(ctx context.Context) error { return m.lab.Silence(ctx, "gateway", "eth0", true) })
	return func() {
		m.must(func(ctx context.Context) error { return m.lab.Silence(ctx, "gateway", "eth0", false) })
	}
}

// signal ends processes, which come back by themselves.
func signal(on side, sig, pids string) strike { return signalled(on, sig, "", pids) }

// signalled sends a signal to processes, and another one to undo it.
func signalled(on side, sig, undo, pids string) strike {
	return func(m *matrix) func() {
		nodes := on(m)
		for _, n := range nodes {
			// Some may have ended since they were listed.
			m.on(n, "hit=1; for p in "+pids+"; do kill -"+sig+" $p && hit=0; done; exit $hit")
		}
		return func() {
			for _, n := range nodes {
				if undo != "" {
					m.on(n, "kill -"+undo+" "+pids)
				} else if m.compared && sig == "STOP" { // nobody else does
					m.on(n, "kill -CONT "+pids)
				}
			}
		}
	}
}

func (m *matrix) brokenReload() func() {
	node := m.active
	const conf = "/etc/keepalived/keepalived.conf"
	m.on(node, "cp -a "+conf+" /run/whole && echo 'vrrp_instance {' >>"+conf+"; systemctl reload keepalived")
	return func() { m.on(node, "cp -a /run/whole "+conf+" && systemctl reload keepalived") }
}

// rules changes the kernel's rules; the distribution's service loads ours again.
func rules(on side, script string) strike {
	return func(m *matrix) func() {
		nodes := on(m)
		for _, n := range nodes {
			m.on(n, script)
		}
		return func() {
			for _, n := range nodes {
				m.on(n, "systemctl restart "+m.rulesUnit())
			}
		}
	}
}

func (m *matrix) rulesUnit() string {
	if out, _ := m.try(m.active, "systemctl show -p LoadState netfilter-persistent"); out == "LoadState=loaded" {
		return "netfilter-persistent"
	}
	return "iptables ip6tables"
}

func firewalld(on side) strike {
	return func(m *matrix) func() {
		nodes := on(m)
		for _, n := range nodes {
			m.on(n, "systemctl unmask firewalld && systemctl start firewalld")
		}
		return func() {
			for _, n := range nodes {
				m.on(n, "systemctl mask --now firewalld && systemctl restart "+m.rulesUnit())
			}
		}
	}
}

func (m *matrix) diskFull() func() {
	node := m.active
	m.on(node, full("/var/log", 0))
	return func() { m.on(node, empty("/var/log")) }
}

// tableFull leaves the kernel no room for a connection more.
func (m *matrix) tableFull() func() {
	node := m.active
	m.on(node, fillIt)
	// What else is in the table lives on.
	return func() {
		m.on(node, "systemctl stop fill; conntrack -D -p udp >/dev/null 2>&1; rm /run/fill.py /run/filled")
	}
}
