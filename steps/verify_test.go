package steps

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

const syncStats = `cache internal:
current active connections:	           7
connections created:		          12	failed:	           0

cache external:
current active connections:	           3

multicast traffic (active device=eth1):
                 120 Bytes sent                  240 Bytes recv
                   4 Pckts sent                    8 Pckts recv
                   0 Error send                    1 Error recv
`

func TestParseSyncStats(t *testing.T) {
	f := provision.Facts{}
	if err := parseSyncStats(syncStats, f); err != nil {
		t.Fatal(err)
	}
	want := provision.Facts{"sync internal": "7", "sync external": "3", "sync pckts sent": "4", "sync pckts recv": "8", "sync error send": "0", "sync error recv": "1"}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
}

func TestParsePeersAndStat(t *testing.T) {
	f := provision.Facts{}
	if err := parsePeers("0      0      10.10.1.1:41022   10.10.1.2:1347\n\nnonsense\n", f); err != nil {
		t.Fatal(err)
	}
	stat := "# pxname,svname,...\nweb,srv1," + strings.Repeat(",", 14) + ",UP 1/3,1\nweb,srv2," + strings.Repeat(",", 14) + ",DOWN,1\n"
	if err := parseStat(stat, f); err != nil {
		t.Fatal(err)
	}
	want := provision.Facts{"peers 10.10.1.2": "established", "server web srv1": "UP", "server web srv2": "DOWN"}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
}

// healthyFacts are those of a pair that serves, its first node active.
func healthyFacts(p *inventories.Pair) map[string]provision.Facts {
	nodes := map[string]provision.Facts{}
	for i, n := range p.Nodes {
		f := provision.Facts{"rules v4": strings.Repeat("a", 64), "rules v6": strings.Repeat("b", 64), "divert rule": "yes", "divert route": "yes",
			"sync pckts recv": "5", "sync pckts sent": "5", "peers " + p.Peer(n.Name).Sync.String(): "established",
			"ping " + p.Outside.Gateway.String(): "yes", "ping back": "yes",
			"ping " + p.Peer(n.Name).Sync.String(): "yes", "kernel ipv6": "yes"}
		for _, unit := range []string{"conntrackd.service", "haproxy.service", "keepalived.service"} {
			f[provision.Key("unit", unit, "ActiveState")] = "active"
		}
		for _, v := range p.VIPs() {
			f[provision.Key("ping", v.Addr.String())] = "yes"
			if i == 0 {
				f[provision.Key("addr", v.Interface, netip.PrefixFrom(v.Addr, v.Bits).String())] = "yes"
			}
		}
		for _, s := range p.Services {
			for _, srv := range s.Servers {
				f[provision.Key("server", backendName(s), srv.Name)] = "UP"
			}
		}
		nodes[n.Name] = f
	}
	return nodes
}

func TestVerifyJudges(t *testing.T) {
	p := sample.Pair(2, 1, inventories.Single)
	p.Services[0].Transparent = true
	a, b := p.Nodes[0].Name, p.Nodes[1].Name
	first := p.VIPs()[0]
	vip := provision.Key("addr", first.Interface, netip.PrefixFrom(first.Addr, first.Bits).String())
	server := provision.Key("server", backendName(p.Services[0]), p.Services[0].Servers[0].Name)
	for _, c := range []struct {
		what  string
		fault func(nodes map[string]provision.Facts)
		check string // the one that must fail, "" for none
		state provision.State
	}{
		{"nothing", func(map[string]provision.Facts) {}, "", provision.Healthy},
		{"split brain", func(n map[string]provision.Facts) {
			for _, v := range p.VIPs() {
				n[b][provision.Key("addr", v.Interface, netip.PrefixFrom(v.Addr, v.Bits).String())] = "yes"
			}
		}, "one holder", provision.Down},
		{"a VIP is missing", func(n map[string]provision.Facts) { delete(n[a], vip) }, "one holder", provision.Down},
		{"a VIP is on both", func(n map[string]provision.Facts) { n[b][vip] = "yes" }, "one holder", provision.Down},
		{"keepalived failed", func(n map[string]provision.Facts) { n[b]["unit keepalived.service ActiveState"] = "failed" }, "keepalived runs", provision.Degraded},
		{"a rule was flushed", func(n map[string]provision.Facts) { n[a]["rules v4"] = "changed" }, "rules v4", provision.Degraded},
		{"table 100 is empty", func(n map[string]provision.Facts) { delete(n[a], "divert route") }, "table 100", provision.Degraded},
		{"a VIP is silent on the active node", func(n map[string]provision.Facts) { delete(n[a], provision.Key("ping", first.Addr.String())) }, "VIPs answer", provision.Down},
		{"a VIP is silent from the standby", func(n map[string]provision.Facts) { delete(n[b], provision.Key("ping", first.Addr.String())) }, "VIPs answer", provision.Degraded},
		{"the gateway is silent", func(n map[string]provision.Facts) {
			delete(n[a], "ping "+p.Outside.Gateway.String())
			delete(n[a], "ping back")
		}, "gateway answers", provision.Degraded},
		{"the gateway has no route", func(n map[string]provision.Facts) { delete(n[a], "ping back") }, "gateway's route", provision.Degraded},
		{"the sync network is dead", func(n map[string]provision.Facts) { delete(n[a], "ping "+p.Nodes[1].Sync.String()) }, "sync network", provision.Degraded},
		{"no IPv6", func(n map[string]provision.Facts) { delete(n[a], "kernel ipv6"); delete(n[a], "rules v6") }, "", provision.Healthy},
		{"no states come", func(n map[string]provision.Facts) { n[b]["sync pckts recv"] = "0" }, "connection states", provision.Degraded},
		{"no peers", func(n map[string]provision.Facts) { delete(n[a], "peers "+p.Nodes[1].Sync.String()) }, "haproxy peers", provision.Degraded},
		{"a server is down", func(n map[string]provision.Facts) { n[a][server] = "DOWN" }, "service " + p.Services[0].Name, ""},
		{"a node is gone", func(n map[string]provision.Facts) { n[b] = nil }, "", provision.Healthy}, // the engine reports that it cannot be reached
	} {
		nodes := healthyFacts(p)
		c.fault(nodes)
		checks := verify{p}.Verify(nodes)
		var failed []string
		for _, x := range checks {
			if !x.OK {
				failed = append(failed, x.Name)
				if x.Hint == "" || x.Detail == "" {
					t.Errorf("%s: %s fails without saying how to look further", c.what, x.Name)
				}
			}
		}
		switch {
		case c.check == "" && len(failed) > 0, c.check != "" && (len(failed) != 1 || failed[0] != c.check):
			t.Errorf("%s: failed are %q, want %q", c.what, failed, c.check)
		case c.state != "" && provision.Judge(checks) != c.state:
			t.Errorf("%s: state is %s, want %s", c.what, provision.Judge(checks), c.state)
		}
	}
}

// In alarm mode a node without connections tells its peer nothing.
func TestVerifyAlarmModeMayBeSilent(t *testing.T) {
	p := sample.Pair(1, 0, inventories.PerVLAN)
	p.StateSync.Mode = inventories.ModeAlarm
	nodes := healthyFacts(p)
	a, b := p.Nodes[0].Name, p.Nodes[1].Name
	nodes[b]["sync pckts recv"], nodes[a]["sync internal"] = "0", "0"
	if s := provision.Judge(verify{p}.Verify(nodes)); s != provision.Healthy {
		t.Errorf("state is %s although there is nothing to tell", s)
	}
	nodes[a]["sync internal"] = "3"
	if s := provision.Judge(verify{p}.Verify(nodes)); s != provision.Degraded {
		t.Errorf("state is %s although three connections were never told", s)
	}
}

func TestServicesPlan(t *testing.T) {
	p := sample.Pair(1, 1, inventories.Single)
	s := services{p, p.Nodes[0]}
	f := debian12()
	changes, err := s.Plan(f)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, c.Target+" "+c.Why)
		f = f.With(c.Makes)
	}
	want := []string{
		"conntrackd.service enable: starts at boot", "conntrackd.service start: does not run",
		"haproxy.service enable: starts at boot", "haproxy.service start: does not run",
		"keepalived.service enable: starts at boot", "keepalived.service start: does not run"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, c := range []struct {
		what, key, value, want string
		disruptive             bool
	}{
		{"nothing", "x", "", "", false},
		{"keepalived started by others", "loaded keepalived.service", "", "keepalived.service " + whyRestart, true},
		{"keepalived started by another unit", "loaded keepalived.service.d", "old", "keepalived.service " + whyStart, true},
		{"haproxy started with other options", "loaded haproxy.service.d", "old", "haproxy.service " + whyStart, true},
		{"another configuration of conntrackd", "loaded conntrackd.service", "old", "conntrackd.service " + whyRestart, false},
		{"a failed haproxy", "unit haproxy.service ActiveState", "failed", "haproxy.service start: has failed", false},
		{"a masked keepalived", "unit keepalived.service UnitFileState", "masked", "keepalived.service enable: starts at boot", false},
	} {
		changes, err := s.Plan(f.With(provision.Facts{c.key: c.value}))
		if err != nil {
			t.Fatal(err)
		}
		if c.want == "" && len(changes) == 0 {
			continue
		}
		if len(changes) != 1 || changes[0].Target+" "+changes[0].Why != c.want || changes[0].Disruptive != c.disruptive {
			t.Errorf("%s: %+v", c.what, changes)
		}
	}
	p.Services = nil
	changes, err = services{p, p.Nodes[0]}.Plan(f)
	if err != nil || len(changes) == 0 || changes[0].Target != "haproxy.service" || !strings.Contains(changes[0].Script, "disable --now") {
		t.Errorf("haproxy that nothing needs: %+v, %v", changes, err)
	}
}
