package steps

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

func daemonPlanners(p *inventories.Pair, n inventories.Node) []provision.Step {
	return []provision.Step{conntrackd{p, n}, iptables{p, n}, firewalld{p, n}, haproxy{p, n}, keepalived{p, n}}
}

// fresh are the facts of a machine on which firewalld runs and of whose
// packages only the versions are known yet.
func (m machine) fresh() provision.Facts {
	f := m.facts()
	if m.selinux != "" {
		f["selinux haproxy_connect_any"] = "off"
	}
	f["unit firewalld.service LoadState"], f["unit firewalld.service ActiveState"] = "loaded", "active"
	f["unit firewalld.service UnitFileState"], f["firewalld table"] = "enabled", "yes"
	return f
}

func TestDaemonsSettle(t *testing.T) {
	for _, form := range []inventories.VRRPForm{inventories.PerVLAN, inventories.Single} {
		for _, m := range machines {
			for _, size := range []struct{ vlans, services int }{{0, 0}, {2, 5}, {250, 50}} {
				t.Run(fmt.Sprintf("%s %s %d %d", form, m.name, size.vlans, size.services), func(t *testing.T) {
					p := sample.Pair(size.vlans, size.services, form)
					changes, f := settle(t, daemonPlanners(p, p.Nodes[0]), m.fresh())
					for _, want := range []string{keepalivedConf, conntrackdConf, failoverScript(f), "rules in the kernel", "firewalld.service"} {
						if !slices.ContainsFunc(changes, func(c provision.Change) bool { return c.Target == want }) {
							t.Errorf("%s is not in the plan:\n%s", want, brief(changes))
						}
					}
				})
			}
		}
	}
}

// settled are the facts of a machine to which everything was done.
func settled(t *testing.T, p *inventories.Pair, m machine) provision.Facts {
	t.Helper()
	_, f := settle(t, daemonPlanners(p, p.Nodes[0]), m.fresh())
	return f
}

func TestDaemonsDrift(t *testing.T) {
	debian, el8, el9 := machines[3], machines[1], machines[2]
	for _, tt := range []struct {
		name    string
		machine machine
		drift   provision.Facts
		want    string
	}{
		{"fail-over script changed", debian, provision.Facts{"failover script": "changed"},
			"update /etc/conntrackd/primary-backup.sh: is not the packaged one, or has another mode or owner\n"},
		{"fail-over script deleted", debian, provision.Facts{"failover script": ""},
			"create /etc/conntrackd/primary-backup.sh: copied from the documentation of the package, or our own where it has none\n"},
		{"SELinux begins to enforce", el8, provision.Facts{"os selinux": "enforcing"},
			"create /usr/libexec/keepalived/primary-backup.sh\n" +
				"delete /etc/conntrackd/primary-backup.sh: SELinux does not let keepalived run it there\n" +
				"run SELinux boolean haproxy_connect_any: services and peers are not on the ports of the web\n" +
				"update /etc/keepalived/keepalived.conf\n" +
				"update /etc/systemd/system/keepalived.service.d/fwprov.conf\n"},
		{"rules flushed", debian, provision.Facts{"rules v4": "changed", "drift rules v4": "--- loaded\n"},
			"run rules in the kernel: were changed by hand\n"},
		{"rules never loaded", debian, provision.Facts{"rules v6": ""}, "run rules in the kernel: load the ruleset files\n"},
		{"rules service disabled", debian, provision.Facts{"unit netfilter-persistent.service UnitFileState": "disabled"},
			"run netfilter-persistent.service: enable: starts at boot\n"},
		{"rules service masked and stopped", el9, provision.Facts{"unit iptables.service UnitFileState": "masked", "unit iptables.service ActiveState": "inactive"},
			"run iptables.service: enable: starts at boot; start: does not run\n"},
		{"policy rule deleted", debian, provision.Facts{"divert rule": ""}, "run fwprov-divert.service: rule or route is missing\n"},
		{"policy route unit stopped", debian, provision.Facts{"unit fwprov-divert.service ActiveState": "failed"},
			"run fwprov-divert.service: start: has failed\n"},
		{"policy route unit disabled, route deleted", debian, provision.Facts{"unit fwprov-divert.service UnitFileState": "disabled", "divert route": ""},
			"run fwprov-divert.service: enable: starts at boot\n"},
		{"firewalld is back", debian, provision.Facts{"unit firewalld.service LoadState": "loaded", "unit firewalld.service UnitFileState": "enabled"},
			"run firewalld.service: stop, disable and mask: our rules take its place\n"},
		{"a table of firewalld is left", debian, provision.Facts{"unit firewalld.service LoadState": "", "firewalld table": "yes"},
			"run firewalld.service: stop, disable and mask: our rules take its place\n"},
		{"ufw is enabled", debian, provision.Facts{"ufw enabled": "yes", "unit ufw.service UnitFileState": "enabled"},
			"run ufw.service: mask: our rules take its place\n"},
		{"ufw is there and off", debian, provision.Facts{"unit ufw.service UnitFileState": "enabled"}, ""},
		{"SELinux boolean off", el9, provision.Facts{"selinux haproxy_connect_any": "off"},
			"run SELinux boolean haproxy_connect_any: services and peers are not on the ports of the web\n"},
		{"a configuration deleted", debian, provision.Facts{"file " + haproxyConf: ""}, "create /etc/haproxy/haproxy.cfg: was deleted by hand\n"},
		{"readable by all", debian, provision.Facts{"file " + keepalivedConf: "HASH 0644 0:0"},
			"update /etc/keepalived/keepalived.conf: mode or owner was changed\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := sample.Pair(2, 5, inventories.PerVLAN)
			f := settled(t, p, tt.machine)
			for k, v := range tt.drift {
				hash, _, _ := strings.Cut(f[k], " ")
				f = f.With(provision.Facts{k: strings.Replace(v, "HASH", hash, 1)})
			}
			changes, _ := settle(t, daemonPlanners(p, p.Nodes[0]), f)
			if d := cmp.Diff(tt.want, brief(changes)); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

// TestDaemonsLeave takes services out: what was made for them goes.
func TestDaemonsLeave(t *testing.T) {
	p := sample.Pair(2, 5, inventories.Single)
	f := settled(t, p, machines[3])
	p = sample.Pair(2, 0, inventories.Single)
	changes, f := settle(t, daemonPlanners(p, p.Nodes[0]), f)
	want := `update /etc/conntrackd/conntrackd.conf
delete fwprov-divert.service: no service is transparent
update /etc/iptables/rules.v4
delete /etc/systemd/system/fwprov-divert.service: left the inventory
run rules in the kernel: load the ruleset files
delete /etc/haproxy/haproxy.cfg: left the inventory
delete /etc/systemd/system/haproxy.service.d/fwprov.conf: left the inventory
update /etc/keepalived/keepalived.conf
update /etc/keepalived/serves.sh
`
	if d := cmp.Diff(want, brief(changes)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if f["divert rule"] != "" || f["divert route"] != "" || haproxy(daemonOf(p)).loaded(f) != "" {
		t.Errorf("something is left: %v", f)
	}
}

func daemonOf(p *inventories.Pair) services { return services{p, p.Nodes[0]} }

func TestOtherRulersAreRefused(t *testing.T) {
	p := sample.Pair(1, 1, inventories.Single)
	for want, facts := range map[string]provision.Facts{
		"nftables.service is enabled":                   {"unit nftables.service UnitFileState": "enabled"},
		"firewalld has settings that are not permanent": {"firewalld runtime": "yes"},
	} {
		if _, err := (firewalld{p, p.Nodes[0]}).Plan(debian12().With(facts)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestPasswordIsMasked: the password is in the file that reaches the node, and
// nowhere in the change that is shown.
func TestPasswordIsMasked(t *testing.T) {
	p := sample.Pair(1, 0, inventories.PerVLAN)
	p.VRRP.Password = inventories.NewSecret("S3CRETpw")
	f := debian12().With(provision.Facts{
		"file " + keepalivedConf:    "0000 0644 0:0",
		"content " + keepalivedConf: "vrrp_instance X {\n    authentication {\n        auth_type PASS\n        auth_pass   \"OLDpw one\"\n    }\n}\n",
	})
	changes, err := (keepalived{p, p.Nodes[0]}).Plan(f)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%+v", changes)
	for _, c := range changes {
		shown += c.Diff + c.Script + c.Why
		for _, v := range c.Makes {
			shown += v
		}
	}
	// %+v prints the file's bytes as numbers.
	if !bytes.Contains(changes[0].Write.Content, []byte("auth_pass S3CRETpw\n")) || strings.Contains(shown, "S3CRETpw") || strings.Contains(shown, "OLDpw") {
		t.Errorf("content:\n%s\nshown:\n%s", changes[0].Write.Content, shown)
	}
	if strings.Contains(changes[0].Diff, "OLDpw") || !strings.Contains(changes[0].Diff, "-        auth_pass   "+inventories.Masked) ||
		!strings.Contains(changes[0].Diff, "+        auth_pass "+inventories.Masked) {
		t.Errorf("diff:\n%s", changes[0].Diff)
	}
	if perm := changes[0].Write.Perm(); perm != 0o600 {
		t.Errorf("mode %o", perm)
	}
}

// TestScriptsArePOSIX: whatever runs on a node is read by dash and busybox too.
func TestScriptsArePOSIX(t *testing.T) {
	p := sample.Pair(3, 5, inventories.PerVLAN)
	posix(t, "primary-backup.sh", ownScript)
	for _, s := range daemonPlanners(p, p.Nodes[0]) {
		posix(t, s.Name(), s.Probe().Script)
		posix(t, s.Name(), s.Probe().Once)
		if v, ok := s.(provision.Validator); ok {
			posix(t, s.Name(), v.Validate(func(path string) string { return "/tmp/a b'c" + path }))
		}
	}
}

// TestProbeNamesFiles: the engine tells of a file only if the probe names it.
func TestProbeNamesFiles(t *testing.T) {
	p := sample.Pair(2, 5, inventories.PerVLAN)
	for _, m := range machines {
		for _, s := range daemonSteps(p, p.Nodes[0]) {
			for _, f := range s.Files(m.facts()) {
				if !slices.Contains(s.Probe().Files, f.Path) {
					t.Errorf("%s: step %s writes %s and does not probe it", m.name, s.Name(), f.Path)
				}
			}
		}
	}
}

// What a node answers may be anything.
func FuzzDaemonsParse(f *testing.F) {
	f.Add("doc /usr/share/doc/x\nscript ready\n")
	f.Add("ipv6 yes\nrules v4 " + strings.Repeat("a", 64) + "\nrules v6 changed\ndrift v6 --- loaded\ndivert rule\nssh 22 2222 \n")
	f.Add("rules v5 changed\ndrift v9 x\nssh 99999 x -1\n")
	f.Add("connect 1\n")
	f.Add("/run/fwprov/drain bob\nVIPs held\n")
	f.Add("table\nufw\n")
	p := sample.Pair(2, 3, inventories.Single)
	seen := map[string]bool{} // scripts that were parsed: they hardly differ
	f.Fuzz(func(t *testing.T, output string) {
		for _, s := range daemonPlanners(p, p.Nodes[0]) {
			facts, parse := debian12(), s.Probe().Parse
			if parse == nil {
				continue
			}
			if err := parse(output, facts); err != nil {
				t.Fatal(err)
			}
			for _, k := range slices.Sorted(maps.Keys(facts)) {
				if strings.ContainsAny(k, "\n\x00") {
					t.Errorf("fact %q is %q", k, facts[k])
				}
			}
			changes, err := s.Plan(facts)
			if err != nil {
				t.Fatal(err)
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
