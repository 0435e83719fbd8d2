package steps

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// Tests shared by the first four steps, which prepare the machine.

func groundwork(p *inventories.Pair) []provision.Step {
	n := p.Nodes[0]
	return []provision.Step{preflight{p, n}, packages{p, n}, interfaces{p, n}, sysctl{p, n}}
}

// machineFacts are those of fw01 of the sample pair, freshly installed.
func machineFacts(stack string) provision.Facts {
	f := provision.Facts{
		"os uid": "0", "os state": "running", "os network": stack, "os modules": "yes",
		"version systemd": "252", "command ip": "yes", "command ping": "yes",
		"kernel 8021q": "yes", "kernel nf_conntrack": "yes", "kernel xt_socket": "yes",
		"module 8021q": "yes", "module nf_conntrack": "yes", "module xt_socket": "yes",
		"kernel release": "6.1.0-13-amd64", "kernel memory": "4011234",
		"link lo": "up", "link eth0": "up", "link eth1": "up", "link eth2": "down",
		"addr lo 127.0.0.1/8": "yes", "addr eth0 192.168.1.1/24": "yes", "addr eth1 10.10.1.1/24": "yes",
		"sysctl net.ipv4.conf.eth0.send_redirects": "1",
	}
	for _, x := range settings {
		if !strings.HasPrefix(x.Key, "net.netfilter.") {
			f["sysctl "+x.Key] = "1"
		}
	}
	switch stack {
	case "networkmanager", "ifcfg":
		f = f.With(provision.Facts{"os id": "rocky", "os like": "rhel centos fedora", "os version": "9.4", "os packages": "dnf",
			"kernel release": "5.14.0-427.el9.x86_64"})
	default:
		f = f.With(provision.Facts{"os id": "debian", "os version": "12", "os packages": "apt"})
	}
	if stack == "ifupdown" {
		f["ifupdown source"] = "yes"
	}
	return f
}

var stacks = []string{"ifcfg", "ifupdown", "networkd", "networkmanager"}

// settle plans until nothing is left to do: once, and then nothing. It returns
// the changes and the facts that they make.
func settle(t *testing.T, steps []provision.Step, f provision.Facts) ([]provision.Change, provision.Facts) {
	t.Helper()
	var all []provision.Change
	for range 2 {
		var changes []provision.Change
		for _, s := range steps {
			c, err := s.Plan(f)
			if err != nil {
				t.Fatalf("plan %s: %v", s.Name(), err)
			}
			for _, c := range c {
				checkChange(t, f, c)
				f = f.With(c.Makes)
			}
			changes = append(changes, c...)
		}
		if all != nil {
			for _, c := range changes {
				t.Errorf("planned a second time: %s %s: %s", c.Action, c.Target, c.Why)
			}
			return all, f
		}
		all = append([]provision.Change{}, changes...)
	}
	return all, f
}

func checkChange(t *testing.T, f provision.Facts, c provision.Change) {
	t.Helper()
	if c.Target == "" || c.Step == "" || c.Action == "" {
		t.Errorf("incomplete change %+v", c)
	}
	for k, v := range c.From {
		if f[k] != v {
			t.Errorf("%s was computed from %s %q, which is %q", c.Target, k, v, f[k])
		}
	}
	posix(t, c.Target, c.Script)
}

func posix(t *testing.T, name, script string) {
	t.Helper()
	if _, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(script), name); err != nil {
		t.Errorf("not POSIX sh: %v\n%s", err, script)
	}
}

// brief lists changes as a plan would.
func brief(changes []provision.Change) string {
	var b strings.Builder
	for _, c := range changes {
		b.WriteString(string(c.Action) + " " + c.Target)
		if c.Why != "" {
			b.WriteString(": " + c.Why)
		}
		if c.Late {
			b.WriteString(" (late)")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestGroundworkSettles(t *testing.T) {
	for _, vlans := range []int{0, 1, 20, 250} {
		for _, stack := range stacks {
			p := sample.Pair(vlans, 2, inventories.Single)
			changes, _ := settle(t, groundwork(p), machineFacts(stack))
			for _, s := range groundwork(p)[1:] {
				mine := slices.ContainsFunc(changes, func(c provision.Change) bool { return c.Step == s.Name() })
				if none := s.Name() == "interfaces" && vlans == 0 && stack != "networkd"; mine == none {
					t.Errorf("%d VLANs, %s: step %s has changes: %v", vlans, stack, s.Name(), mine)
				}
			}
		}
	}
}

func TestGroundworkProbesArePOSIX(t *testing.T) {
	for _, s := range groundwork(sample.Pair(3, 2, inventories.Single)) {
		posix(t, s.Name(), s.Probe().Script)
		posix(t, s.Name(), s.Probe().Once)
	}
}

// What a node answers may be anything.
func FuzzGroundworkParse(f *testing.F) {
	f.Add("== uname\nfw01 6.1.0 x86_64\n== disk\nreadonly\n== modules\ntree\n/8021q.ko:\n")
	f.Add("== installed\ninstalled haproxy 2.6.12-1\n== iptables\niptables v1.8.9 (nf_tables)\n== candidates\nkeepalived:\nCandidate: 1:2\n")
	f.Add("== link\neth2.2@eth2 UP aa <UP,LOWER_UP>\n== vlan\neth2.2|2|eth2\n== addr\neth0 UP 10.0.0.1 peer 10.0.0.2/32\n== route\ndefault via\n")
	f.Add("== value\nnet/ipv4/conf/eth2.2/send_redirects:1\n== override\n/etc/sysctl.d/99-x.conf:net.ipv4.conf.[.rp_filter=1\n")
	p := sample.Pair(3, 2, inventories.Single)
	seen := map[string]bool{} // scripts that were parsed: they hardly differ
	f.Fuzz(func(t *testing.T, output string) {
		for _, s := range groundwork(p) {
			facts := machineFacts("networkd")
			if err := s.Probe().Parse(output, facts); err != nil {
				t.Fatal(err)
			}
			for _, k := range slices.Sorted(maps.Keys(facts)) {
				if strings.ContainsAny(k+facts[k], "\n\x00") && !strings.Contains(output, "\x00") {
					t.Errorf("fact %q is %q", k, facts[k])
				}
			}
			changes, err := s.Plan(facts)
			if err != nil {
				continue
			}
			for _, c := range changes {
				if !seen[c.Script] {
					seen[c.Script] = true
					posix(t, c.Target, c.Script)
				}
			}
		}
	})
}
