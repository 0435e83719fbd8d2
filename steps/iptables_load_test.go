package steps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// TestRulesInKernel loads rulesets with both variants of iptables, in a network
// of its own, and lets the probe tell what became of them.
func TestRulesInKernel(t *testing.T) {
	ns := newNamespace(t, "iptables-restore", "ip6tables-restore", "diff")
	for _, variant := range []string{"nft", "legacy"} {
		t.Run(variant, func(t *testing.T) {
			multi, err := exec.LookPath("xtables-" + variant + "-multi")
			if err != nil {
				t.Skipf("this machine has no %s variant of iptables", variant)
			}
			k := newRulesMachine(t, ns, multi)
			k.load(t)
		})
	}
}

// rulesMachine is a machine as far as step iptables is concerned: its files are
// in a folder of the test.
type rulesMachine struct {
	ns        namespace
	step      iptables
	facts     provision.Facts
	dir, head string
}

func newRulesMachine(t *testing.T, ns namespace, multi string) *rulesMachine {
	t.Helper()
	p := sample.Pair(3, 5, inventories.Single)
	k := &rulesMachine{ns: ns, step: iptables{p, p.Nodes[0]}, facts: debian12(), dir: t.TempDir()}
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, what := range []string{"", "-save", "-restore"} {
			if err := os.Symlink(multi, filepath.Join(k.dir, family+what)); err != nil {
				t.Fatal(err)
			}
		}
	}
	k.head = "PATH=" + k.dir + ":$PATH\nXTABLES_LOCKFILE=" + k.dir + "/lock\nexport PATH XTABLES_LOCKFILE\nip link set lo up\n"
	k.put(t, k.step.rulesV4(k.facts), k.step.rulesV6(k.facts))
	return k
}

func (k *rulesMachine) put(t *testing.T, v4, v6 []byte) {
	t.Helper()
	for name, content := range map[string][]byte{"rules.v4": v4, "rules.v6": v6} {
		if err := os.WriteFile(filepath.Join(k.dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// here is a script of the step, with its files in the folder of the test.
func (k *rulesMachine) here(script string) string {
	return strings.NewReplacer("/etc/iptables/", k.dir+"/", provision.StateDir+"/", k.dir+"/", "mkdir -p "+provision.StateDir, "").Replace(script)
}

const cut = "==== cut ====\n"

// run runs scripts in one new network and returns what each printed.
func (k *rulesMachine) run(t *testing.T, scripts ...string) []string {
	t.Helper()
	script := k.head
	for _, s := range scripts {
		script += "(\n" + strings.TrimRight(s, "\n") + "\n) 2>&1\nprintf '" + strings.TrimRight(cut, "\n") + "\\n'\n"
	}
	out, err := k.ns.run(t, script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.Split(out, cut)
}

func (k *rulesMachine) probed(t *testing.T, out string) provision.Facts {
	t.Helper()
	f := provision.Facts{}
	if err := parseIptables(out, f); err != nil {
		t.Fatal(err)
	}
	return f
}

func (k *rulesMachine) load(t *testing.T) {
	c, ok := k.step.planLoad(k.facts)
	if !ok {
		t.Fatal("nothing to load on a machine without rules")
	}
	probe, load := "set +eu\n"+k.here(rulesProbe), k.here(c.Script)
	out := k.run(t, probe, load, probe,
		"iptables -D INPUT -i lo -j ACCEPT\nip6tables -F INPUT", probe, load, probe,
		"iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE", probe)

	if f := k.probed(t, out[0]); f["rules v4"] != "" || f["rules v6"] != "" {
		t.Errorf("before anything was loaded: %v", f)
	}
	for _, i := range []int{2, 6, 8} {
		f := k.probed(t, out[i])
		if f["rules v4"] != c.Makes["rules v4"] || f["rules v6"] != c.Makes["rules v6"] || f["drift rules v4"] != "" {
			t.Errorf("after step %d: %v\n%s\nwant %v", i, f, out[i], c.Makes)
		}
	}
	f := k.probed(t, out[4])
	if f["rules v4"] != "changed" || f["rules v6"] != "changed" || !strings.Contains(f["drift rules v4"], "\n--A INPUT -i lo -j ACCEPT\n") {
		t.Errorf("after a rule was taken out: %v", f)
	}

	// A reboot: the distribution's service loads the files into a new kernel.
	out = k.run(t, k.here("iptables-restore </etc/iptables/rules.v4\nip6tables-restore </etc/iptables/rules.v6\n"), probe)
	if f := k.probed(t, out[1]); f["rules v4"] != c.Makes["rules v4"] || f["rules v6"] != c.Makes["rules v6"] {
		t.Errorf("after a reboot: %v\n%s", f, out[1])
	}

	// A file that the kernel does not take leaves everything as it was.
	good, all := string(k.step.rulesV6(k.facts)), "iptables-save\nip6tables-save\n"
	k.put(t, []byte(strings.ReplaceAll(string(k.step.rulesV4(k.facts)), "192.168.1.10", "192.168.1.20")),
		[]byte(strings.Replace(good, "-A INPUT -j DROP", "-A INPUT -j MISSING", 1)))
	broken := "set +e\n( set -e\n" + load + ")\necho status $?\n"
	out = k.run(t, "iptables -A FORWARD -s 203.0.113.77 -j DROP\n", all, broken, all)
	if !strings.Contains(out[2], "status 1") || !strings.Contains(out[2], "as they were before") {
		t.Errorf("loading a broken file: %s", out[2])
	}
	if !strings.Contains(out[1], "203.0.113.77") || strip(out[1]) != strip(out[3]) {
		t.Errorf("rules before:\n%s\nafter a failed load:\n%s", out[1], out[3])
	}
}

// strip takes the counters out, and tables that are there but empty.
func strip(rules string) string {
	var out []string
	for _, l := range strings.Split(rules, "\n") {
		if strings.HasPrefix(l, "-A") || strings.HasPrefix(l, ":") && !strings.Contains(l, " ACCEPT ") {
			l, _, _ = strings.Cut(l, " [")
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}
