package steps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// TestHeldProbe runs it on configurations, whoever wrote them, and on addresses.
func TestHeldProbe(t *testing.T) {
	p := sample.Pair(2, 0, inventories.Single)
	ours := func(form inventories.VRRPForm) string {
		p := sample.Pair(2, 0, form)
		return string(keepalived{p, p.Nodes[0]}.config(debian12(), "secret12"))
	}
	const none = "-"
	for _, tt := range []struct{ name, conf, addrs, want string }{
		{"the outside VIP", ours(inventories.Single), p.VIPs()[0].Addr.String() + "/24", "yes"},
		{"one that is not advertised", ours(inventories.Single), p.VIPs()[2].Addr.String() + "/24", "yes"},
		{"that of an instance of its own", ours(inventories.PerVLAN), p.VIPs()[2].Addr.String() + "/24", "yes"},
		{"its own address", ours(inventories.Single), p.Nodes[0].Sync.String() + "/24", ""},
		{"no address", ours(inventories.Single), "", ""},
		{"one that begins alike", ours(inventories.Single), p.VIPs()[0].Addr.String() + "1/24", ""},
		{"somebody else's configuration", byHand, "192.168.1.10/24", "yes"},
		{"without a prefix", byHand, "10.10.2.250/32", "yes"},
		{"its peer's address", byHand, "10.10.1.2/24", ""},
		{"a block on one line", "vrrp_instance X { virtual_ipaddress { 10.1.1.1/24 dev eth0 } }\nvrrp_instance Y {\nunicast_peer {\n10.1.1.2\n}\n}\n", "10.1.1.1/24", "yes"},
		{"what comes after it", "vrrp_instance X { virtual_ipaddress { 10.1.1.1/24 dev eth0 } }\nvrrp_instance Y {\nunicast_peer {\n10.1.1.2\n}\n}\n", "10.1.1.2/24", ""},
		{"a comment", "# virtual_ipaddress {\n10.1.1.1\n# }\n", "10.1.1.1/24", ""},
		{"no configuration", none, "10.1.1.1/24", ""},
		{"no configuration and no address", none, "", ""},
		{"the token, with no configuration that has it", none, "169.254.77.1/32", "yes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			ip := "#!/bin/sh\necho '1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever'\n"
			if tt.addrs != "" {
				ip += "echo '2: eth0    inet " + tt.addrs + " scope global eth0\\       valid_lft forever'\n"
			}
			conf := filepath.Join(root, "keepalived.conf")
			for path, text := range map[string]string{conf: tt.conf, filepath.Join(root, "ip"): ip} {
				if text == none {
					continue
				}
				if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			script := "PATH=" + root + ":$PATH\n" + strings.ReplaceAll(heldProbe, keepalivedConf, conf) + "true\n"
			for _, sh := range []string{"dash", "bash"} {
				out, err := exec.Command(sh, "-euc", script).CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v\n%s", sh, err, out)
				}
				f := provision.Facts{}
				parseHeld(string(out), f)
				if f[vipsHeld] != tt.want {
					t.Errorf("%s: held is %q, want %q; it says %q", sh, f[vipsHeld], tt.want, out)
				}
				// The other way to ask must come to the same.
				out, _ = exec.Command(sh, "-uc", strings.ReplaceAll(inForceProbe, keepalivedConf, conf)).Output()
				f = provision.Facts{"addr lo 127.0.0.1/8": "yes"}
				if tt.addrs != "" {
					f[provision.Key("addr", "eth0", tt.addrs)] = "yes"
				}
				parseInForce(string(out), f)
				if f[vipsHeld] != tt.want {
					t.Errorf("%s: in force is %q, want %q; it says %q", sh, f[vipsHeld], tt.want, out)
				}
			}
		})
	}
	posix(t, "held", heldProbe)
	posix(t, "in force", inForceProbe)
	posix(t, "holds", holdsAny(p.VIPs()...))
}

// TestRole judges pairs whose inventory may have other VIPs than those in force.
func TestRole(t *testing.T) {
	const running, held = "unit keepalived.service ActiveState", "vips held"
	p := sample.Pair(0, 0, inventories.Single)
	vip := p.VIPs()[0]
	ours := provision.Key("addr", vip.Interface, vip.Addr.String()+"/24")
	facts := func(keys ...string) provision.Facts {
		f := provision.Facts{}
		for _, k := range keys {
			f[k] = "yes"
			if k == running {
				f[k] = "active"
			}
		}
		return f
	}
	for _, tt := range []struct {
		name       string
		fw01, fw02 provision.Facts
		want       string
		unused     bool
	}{
		{"two machines", facts(), facts(), "none none", true},
		{"a pair", facts(running), facts(running, ours, held), "standby active", false},
		{"all its VIPs are others now", facts(running, held), facts(running), "active standby", false},
		{"a VIP by nobody's configuration", facts(ours), facts(), "active standby", false},
		{"between two holders", facts(running), facts(running), "none none", false},
		{"one that has just been started", facts(), facts(running), "none none", false},
		{"both", facts(running, held), facts(running, ours), "active active", false},
		{"one that does not answer", facts(running, held), nil, "active standby", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nodes := map[string]provision.Facts{"fw01": tt.fw01, "fw02": tt.fw02}
			roles := Role(p, nodes)
			if d := cmp.Diff(tt.want, string(roles["fw01"]+" "+roles["fw02"])); d != "" {
				t.Error(d)
			}
			if got := Unused(p, nodes); got != tt.unused {
				t.Errorf("unused: %t", got)
			}
		})
	}
	if Unused(p, map[string]provision.Facts{"fw01": {"unit keepalived.service ActiveState": "activating"}}) {
		t.Error("unused, although keepalived is started again and again")
	}
}
