package steps

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// saidStatus are the facts of what two real nodes have said to a status.
func saidStatus(t testing.TB, p *inventories.Pair) map[string]provision.Facts {
	t.Helper()
	nodes := map[string]provision.Facts{}
	for node, role := range map[string]string{"fw01": "standby", "fw02": "active"} {
		f := provision.Facts{}
		if err := StatusProbe(p).Parse(said(t, "el-status-"+role+".txt"), f); err != nil {
			t.Fatal(err)
		}
		for unit, conf := range map[string]string{"conntrackd.service": conntrackdConf, "haproxy.service": haproxyConf, "keepalived.service": keepalivedConf} {
			f[provision.Key("unit", unit, "ActiveState")] = "active"
			f[provision.Key("loaded", unit)], f[provision.Key("file", conf)] = "hash", "hash 0600 0:0"
		}
		nodes[node] = f
	}
	return nodes
}

var now = time.Date(2026, 11, 23, 5, 30, 0, 0, time.UTC)

func TestStatusHears(t *testing.T) {
	p := saidPair()
	s := StatusOf(p, now, saidStatus(t, p), nil)
	if s.State != provision.Healthy || s.Active != "fw02" || s.Since == nil || len(s.Problems) > 0 {
		t.Errorf("%s, %s active since %v: %+v", s.State, s.Active, s.Since, s.Problems)
	}
	if s.Nodes[0].Role != "standby" || s.Nodes[1].Role != "active" {
		t.Errorf("roles %s and %s", s.Nodes[0].Role, s.Nodes[1].Role)
	}
	for _, n := range s.Nodes {
		if n.Connections == 0 || n.MaxConnections != 262144 || n.Sync == nil || n.Sync.Sent == 0 || n.Error != "" {
			t.Errorf("%+v", n)
		}
		if i := n.Interfaces[0]; i.Name != "eth0" || !i.Up || i.RxBytes == 0 || i.RxBps+i.TxBps <= 0 || i.RxPps+i.TxPps <= 0 {
			t.Errorf("%s: %+v", n.Name, i)
		}
	}
	if s.VIPs[0].Address != "192.168.1.10" || !slices.Equal(s.VIPs[0].Holders, []string{"fw02"}) {
		t.Errorf("%+v", s.VIPs)
	}
	if len(s.Services) != 1 || len(s.Services[0].Servers) != 1 || !s.Services[0].Servers[0].Up {
		t.Errorf("%+v", s.Services)
	}
	if len(s.Transitions) == 0 {
		t.Error("no transitions")
	}
}

func TestStatusJudges(t *testing.T) {
	p := saidPair()
	for _, c := range []struct {
		what   string
		fault  func(nodes map[string]provision.Facts, errs map[string]error)
		state  provision.State
		active string
		roles  string
	}{
		{"nothing", func(map[string]provision.Facts, map[string]error) {}, provision.Healthy, "fw02", "standby active"},
		{"the standby is off", func(n map[string]provision.Facts, e map[string]error) {
			delete(n, "fw01")
			e["fw01"] = errors.New("node fw01: no route")
		}, provision.Degraded, "fw02", "unreachable active"},
		{"the active node cannot be reached", func(n map[string]provision.Facts, e map[string]error) {
			delete(n, "fw02")
			e["fw02"] = errors.New("node fw02: no route")
		}, provision.Degraded, "", "standby unreachable"},
		{"nobody answers", func(n map[string]provision.Facts, e map[string]error) {
			clear(n)
			e["fw01"], e["fw02"] = errors.New("x"), errors.New("y")
		}, provision.Down, "", "unreachable unreachable"},
		{"the standby is drained", func(n map[string]provision.Facts, _ map[string]error) {
			n["fw01"]["drain operator"], n["fw01"]["vrrp GW"] = "alice", "fault"
		}, provision.Degraded, "fw02", "drained active"},
		{"the standby is in FAULT", func(n map[string]provision.Facts, _ map[string]error) { n["fw01"]["vrrp GW"] = "fault" }, provision.Degraded, "fw02", "fault active"},
		{"keepalived of the standby is stopped", func(n map[string]provision.Facts, _ map[string]error) {
			n["fw01"]["unit keepalived.service ActiveState"] = "inactive"
		}, provision.Degraded, "fw02", "stopped active"},
		{"split brain", func(n map[string]provision.Facts, _ map[string]error) {
			for _, v := range p.VIPs() {
				n["fw01"][provision.Key("addr", v.Interface, v.Addr.String()+"/24")] = "yes"
			}
		}, provision.Down, "", "active active"},
		{"no holder", func(n map[string]provision.Facts, _ map[string]error) {
			for _, v := range p.VIPs() {
				delete(n["fw02"], provision.Key("addr", v.Interface, v.Addr.String()+"/24"))
			}
		}, provision.Down, "", "standby standby"},
		{"conntrackd hangs", func(n map[string]provision.Facts, _ map[string]error) { delete(n["fw01"], "sync internal") }, provision.Degraded, "fw02", "standby active"},
	} {
		nodes, errs := saidStatus(t, p), map[string]error{}
		c.fault(nodes, errs)
		s := StatusOf(p, now, nodes, errs)
		if roles := s.Nodes[0].Role + " " + s.Nodes[1].Role; s.State != c.state || s.Active != c.active || roles != c.roles {
			t.Errorf("%s: %s, %q is active, roles %s; problems %+v", c.what, s.State, s.Active, roles, s.Problems)
		}
		if (s.State == provision.Healthy) != (len(s.Problems) == 0) {
			t.Errorf("%s: %s with the problems %+v", c.what, s.State, s.Problems)
		}
	}
}

func TestParseRates(t *testing.T) {
	const line = "  eth0: %s 10 0 0 0 0 0 0 5000 20 0 0 0 0 0 0\n"
	first := "100.00 1.00\n face |bytes\n" + strings.Replace(line, "%s", "1000", 1)
	for _, c := range []struct{ what, out, want string }{
		{"a second", first + "101.00 1.00\n" + strings.Replace(line, "%s", "3500", 1), "3500 10 5000 20 2500.0 0.0 0.0 0.0"},
		{"half a second", first + "100.50 1.00\n" + strings.Replace(line, "%s", "3500", 1), "3500 10 5000 20 5000.0 0.0 0.0 0.0"},
		{"counters that began anew", first + "101.00 1.00\n" + strings.Replace(line, "%s", "7", 1), "7 10 5000 20 0.0 0.0 0.0 0.0"},
		{"one look", first, ""},
		{"no time between", first + first, ""},
		{"nonsense", first + "101.00 1.00\neth0: x\neth0: -1 10 0 0 0 0 0 0 5000 20 0 0 0 0 0 0\nNaN 1\n", ""},
	} {
		f := provision.Facts{}
		parseRates(c.out, f)
		if got := f["net eth0"]; got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func TestStatusProbeFits(t *testing.T) {
	if n := len(StatusProbe(sample.Pair(sample.Most, 50, inventories.Single)).Script); n > 40000 {
		t.Errorf("the probe has %d bytes", n)
	}
}

// FuzzStatus holds that whatever the nodes say, it becomes a status, with no fact of
// two lines.
func FuzzStatus(f *testing.F) {
	f.Add(said(f, "el-status-active.txt"), said(f, "el-status-standby.txt"))
	f.Add(said(f, "debian-journal-fw01.txt"), said(f, "debian-journal-fw02.txt"))
	f.Add("1 1\neth0: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n2 1\neth0: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n", "conntrack count 1\n")
	p := saidPair()
	probe := StatusProbe(p)
	parts := strings.Count(probe.Script, "@part")
	f.Fuzz(func(t *testing.T, one, two string) {
		nodes := map[string]provision.Facts{}
		for i, said := range []string{one, two} {
			facts := provision.Facts{}
			if probe.Parse(said, facts) != nil {
				_ = probe.Parse(strings.Repeat(said+"\n@part\n", parts), facts)
			}
			for k, v := range facts {
				if strings.Contains(k, "\n") || strings.HasPrefix(k, "journal ") && strings.Contains(v, "\n") {
					t.Errorf("a fact of two lines: %q: %q", k, v)
				}
			}
			nodes[p.Nodes[i].Name] = facts
		}
		s := StatusOf(p, now, nodes, nil)
		if len(s.Nodes) != 2 || len(s.VIPs) != len(p.VIPs()) || len(s.Transitions) > 2*journalKept {
			t.Errorf("%+v", s)
		}
	})
}
