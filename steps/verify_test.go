package steps

import (
	"fmt"
	"maps"
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

message tracking:
                   0 Malformed msgs                    3 Lost msgs
`

func TestParseSyncStats(t *testing.T) {
	f := provision.Facts{}
	if err := parseSyncStats(syncStats, f); err != nil {
		t.Fatal(err)
	}
	want := provision.Facts{"sync internal": "7", "sync external": "3", "sync pckts sent": "4", "sync pckts recv": "8", "sync error send": "0", "sync error recv": "1", "sync malformed": "0", "sync lost": "3"}
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
			"kernel ipv6": "yes"}
		maps.Copy(f, seenOn(p, n, i))
		for unit, conf := range map[string]string{"conntrackd.service": conntrackdConf, "haproxy.service": haproxyConf, "keepalived.service": keepalivedConf} {
			f[provision.Key("unit", unit, "ActiveState")] = "active"
			f[provision.Key("unit", unit, "UnitFileState")] = "enabled"
			f[provision.Key("loaded", unit)], f[provision.Key("file", conf)] = "hash", "hash 0600 0:0"
			f[provision.Key("managed", "file", conf)] = "step hash"
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

// seenOn is what a look at one node of a healthy pair finds besides.
func seenOn(p *inventories.Pair, n inventories.Node, i int) provision.Facts {
	peer := p.Peer(n.Name)
	f := provision.Facts{"asked from": "1000000", "time first": "1050000", "time last": "1950000", "asked until": "2000000",
		"unit iptables.service UnitFileState": "enabled", "unit " + divertUnit + " UnitFileState": "enabled",
		"unit " + peerSocket + " UnitFileState": "enabled", "unit " + peerSocket + " ActiveState": "active",
		"unit firewalld.service LoadState": "masked", "unit firewalld.service ActiveState": "inactive",
		"conntrack count": "70", "conntrack max": "262144", "free kbytes /": "999999", "free kbytes /var/log": "999999", "free inodes /": "9999",
		"managed file /etc/x": "step hash", "file /etc/x": "hash 0644 0:0",
		"managed file /etc/sysconfig/iptables": "iptables " + strings.Repeat("a", 64), "file /etc/sysconfig/iptables": strings.Repeat("a", 64) + " 0600 0:0",
		"sync internal": "70", "sync external": "70", "sync error send": "0", "sync lost": "0", "later error send": "0", "later lost": "0", "sync heard": "1",
		"canary sent": "yes", "canary asked": "yes", "canary seen": "yes", "ping sync": "20",
		"session " + peer.Sync.String(): "ESTA"}
	for j, name := range []string{p.Outside.Interface, p.Sync.Interface, p.VLANs[0].Interface, p.VLANs[len(p.VLANs)-1].Interface} {
		f[provision.Key("link", name)], f[provision.Key("carrier", name)] = "up", "yes"
		f[provision.Key("mac", name)] = fmt.Sprintf("02:00:00:00:%02d:%02d", i, j)
	}
	for _, s := range p.Services {
		f[provision.Key("table", backendName(s))] = "12"
	}
	if i == 0 {
		return f
	}
	for _, v := range p.VIPs() {
		f[provision.Key("neigh", v.Addr.String())] = v.Interface + " 02:00:00:00:00:00"
	}
	f["adverts "+p.Outside.Interface], f["adverts "+p.Sync.Interface] = "12", "4"
	return f
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
		{"the sync network is dead", func(n map[string]provision.Facts) { delete(n[a], "ping sync") }, "sync network", provision.Degraded},
		{"no IPv6", func(n map[string]provision.Facts) { delete(n[a], "kernel ipv6"); delete(n[a], "rules v6") }, "", provision.Healthy},
		{"no states come", func(n map[string]provision.Facts) { n[b]["sync pckts recv"] = "0" }, "connection states", provision.Degraded},
		{"no peers", func(n map[string]provision.Facts) { delete(n[a], "peers "+p.Nodes[1].Sync.String()) }, "haproxy peers", provision.Degraded},
		{"keepalived does not start at boot", func(n map[string]provision.Facts) { n[a]["unit keepalived.service UnitFileState"] = "disabled" }, "starts at boot", provision.Degraded},
		{"nothing loads the rules at boot", func(n map[string]provision.Facts) { n[b]["unit iptables.service UnitFileState"] = "disabled" }, "starts at boot", provision.Degraded},
		{"nobody answers the peer", func(n map[string]provision.Facts) { n[b]["unit "+peerSocket+" ActiveState"] = "failed" }, "answers the peer", provision.Degraded},
		{"the policy route is not made at boot", func(n map[string]provision.Facts) { delete(n[b], "unit "+divertUnit+" UnitFileState") }, "starts at boot", provision.Degraded},
		{"haproxy runs an older configuration", func(n map[string]provision.Facts) { n[b]["loaded haproxy.service"] = "older" }, "haproxy is current", provision.Degraded},
		{"a file was changed by hand", func(n map[string]provision.Facts) { n[b]["file /etc/x"] = "other 0644 0:0" }, "files", provision.Degraded},
		{"a file is missing", func(n map[string]provision.Facts) { delete(n[b], "file /etc/x") }, "files", provision.Degraded},
		{"a unit was not read again", func(n map[string]provision.Facts) { n[b]["unit keepalived.service NeedDaemonReload"] = "yes" }, "files", provision.Degraded},
		{"other rules were loaded than are on disk", func(n map[string]provision.Facts) { n[b]["rules v4"] = strings.Repeat("c", 64) }, "files", provision.Degraded},
		{"keepalived is stopped", func(n map[string]provision.Facts) { parseStopped("stopped keepalived.service 12\n", n[a]) }, "daemons answer", provision.Degraded},
		{"conntrackd does not answer", func(n map[string]provision.Facts) {
			delete(n[b], "sync internal")
			delete(n[b], "later error send")
		}, "daemons answer", provision.Degraded},
		{"keepalived is in FAULT", func(n map[string]provision.Facts) { n[b]["vrrp GW"] = "fault" }, "vrrp", provision.Degraded},
		{"no adverts on the sync network", func(n map[string]provision.Facts) { n[b]["adverts eth1"] = "0" }, "adverts", provision.Degraded},
		{"the rule of a heartbeat is not there", func(n map[string]provision.Facts) { delete(n[b], "adverts eth1") }, "", provision.Healthy},
		{"the active node hears no adverts", func(n map[string]provision.Facts) { n[a]["adverts eth1"] = "0" }, "", provision.Healthy},
		{"the trunk's cable is out", func(n map[string]provision.Facts) { delete(n[b], "carrier "+p.VLANs[0].Interface) }, "interfaces", provision.Degraded},
		{"the sync cable is out", func(n map[string]provision.Facts) { delete(n[b], "carrier "+p.Sync.Interface) }, "interfaces", provision.Degraded},
		{"firewalld runs", func(n map[string]provision.Facts) {
			n[b]["unit firewalld.service LoadState"], n[b]["unit firewalld.service ActiveState"] = "loaded", "active"
		}, "other firewalls", provision.Degraded},
		{"firewalld is not masked", func(n map[string]provision.Facts) { n[b]["unit firewalld.service LoadState"] = "loaded" }, "other firewalls", provision.Degraded},
		{"firewalld is not there", func(n map[string]provision.Facts) { n[b]["unit firewalld.service LoadState"] = "not-found" }, "", provision.Healthy},
		{"a table of firewalld's", func(n map[string]provision.Facts) { parseOthers("table\n", n[b]) }, "other firewalls", provision.Degraded},
		{"nftables.service is enabled", func(n map[string]provision.Facts) { n[b]["unit nftables.service UnitFileState"] = "enabled" }, "other firewalls", provision.Degraded},
		{"the table of connections is full", func(n map[string]provision.Facts) { n[a]["conntrack count"] = "262144" }, "connection table", provision.Degraded},
		{"a disk is full", func(n map[string]provision.Facts) { n[a]["free kbytes /var/log"] = "0" }, "disks", provision.Degraded},
		{"a disk has no room for files", func(n map[string]provision.Facts) { n[a]["free inodes /"] = "3" }, "disks", provision.Degraded},
		{"SELinux denies", func(n map[string]provision.Facts) { n[a]["denied keepalived"] = "{ execute } for pid=1" }, "SELinux", provision.Degraded},
		{"another answers for a VIP, as the standby sees it", func(n map[string]provision.Facts) {
			n[b][provision.Key("neigh", first.Addr.String())] = first.Interface + " 02:00:00:00:66:66"
		}, "no third machine", provision.Degraded},
		{"another answers for a VIP, as its holder sees it", func(n map[string]provision.Facts) {
			n[a][provision.Key("vip", first.Addr.String())] = "twice"
		}, "no third machine", provision.Degraded},
		{"a bond answers under the address of another port", func(n map[string]provision.Facts) {
			n[a]["mac eth7"] = "02:00:00:00:07:07"
			n[b][provision.Key("neigh", first.Addr.String())] = first.Interface + " 02:00:00:00:07:07"
		}, "", provision.Healthy},
		{"nobody was seen to answer", func(n map[string]provision.Facts) {
			for _, v := range p.VIPs() {
				delete(n[b], provision.Key("neigh", v.Addr.String()))
			}
		}, "", provision.Healthy},
		{"half of the sync packets are lost", func(n map[string]provision.Facts) { n[a]["ping sync"] = "11" }, "sync network", provision.Degraded},
		{"one packet is lost", func(n map[string]provision.Facts) { n[a]["ping sync"] = "19" }, "", provision.Healthy},
		{"errors of sending grow", func(n map[string]provision.Facts) { n[a]["later error send"] = "9" }, "sync path", provision.Degraded},
		{"there were errors once", func(n map[string]provision.Facts) { n[a]["sync error send"], n[a]["later error send"] = "9", "9" }, "", provision.Healthy},
		{"messages get lost", func(n map[string]provision.Facts) { n[b]["later lost"] = "2" }, "sync path", provision.Degraded},
		{"conntrackd of the peer is silent", func(n map[string]provision.Facts) { n[b]["sync heard"] = "0" }, "sync path", provision.Degraded},
		{"the peer does not know the connections", func(n map[string]provision.Facts) { n[a]["sync internal"] = "1000" }, "connections known", provision.Degraded},
		{"some connections are on their way", func(n map[string]provision.Facts) { n[a]["sync internal"], n[b]["sync external"] = "1000", "960" }, "", provision.Healthy},
		{"the canary does not arrive", func(n map[string]provision.Facts) { delete(n[b], "canary seen") }, "canary", provision.Degraded},
		{"no canary was sent", func(n map[string]provision.Facts) {
			delete(n[a], "canary sent")
			delete(n[b], "canary seen")
		}, "", provision.Healthy},
		{"the peers greet each other without end", func(n map[string]provision.Facts) { n[a]["session "+p.Nodes[1].Sync.String()] = "PROT" }, "haproxy peers", provision.Degraded},
		{"a stick table is empty on one node", func(n map[string]provision.Facts) {
			n[a][provision.Key("table", backendName(p.Services[0]))] = "100"
		}, "stick tables", provision.Degraded},
		{"an older HAProxy", func(n map[string]provision.Facts) { delete(n[a], "session "+p.Nodes[1].Sync.String()) }, "", provision.Healthy},
		{"a clock is ahead", func(n map[string]provision.Facts) { n[a]["time first"], n[a]["time last"] = "6000000", "6900000" }, "clocks", provision.Degraded},
		{"a clock is behind", func(n map[string]provision.Facts) { n[a]["time first"], n[a]["time last"] = "-9000000", "-8100000" }, "clocks", provision.Degraded},
		{"a slow line", func(n map[string]provision.Facts) { n[a]["asked until"] = "9000000" }, "", provision.Healthy},
		{"a node without the time", func(n map[string]provision.Facts) { delete(n[a], "time last") }, "", provision.Healthy},
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
				if x.Hint == "" || x.Detail == "" || x.Why == "" {
					t.Errorf("%s: %s fails without saying why it matters and how to look further: %+v", c.what, x.Name, x)
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
