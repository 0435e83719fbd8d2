package steps

import (
	"strings"
	"testing"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// anyProbe is every way in which a step asks a node.
func anyProbe(s provision.Step) []provision.Probe {
	out := []provision.Probe{s.Probe()}
	if v, ok := s.(provision.Verifier); ok {
		out = append(out, v.VerifyProbe())
	}
	if r, ok := s.(interface{ ReadyProbe() provision.Probe }); ok {
		out = append(out, r.ReadyProbe())
	}
	return out
}

// parseAll hands what a node says to all parsers, to those of joined probes as
// every one of the parts too.
func parseAll(all []provision.Step, output string, f provision.Facts) {
	for _, s := range all {
		for _, p := range anyProbe(s) {
			if p.Parse == nil {
				continue
			}
			if parts := strings.Count(p.Script, "@part"); parts > 0 {
				_ = p.Parse(strings.Repeat(output+"\n@part\n", parts), f)
			}
			_ = p.Parse(output, f)
		}
	}
}

// FuzzVerify holds that whatever the two nodes say, each parser takes it, nothing
// becomes a fact of two lines, and the pair is judged.
func FuzzVerify(f *testing.F) {
	f.Add("1 Pckts sent 2 Pckts recv\nESTAB 0 0 10.10.1.1:1347 10.10.1.2:4000\nnoping\n10.10.2.254", "# pxname,svname\nmail,mx1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,UP 1/2,\n")
	f.Add("table\nufw\nconnect 0\nipv6 yes\nrules v4 changed\ndrift v4 -x\ndivert rule\nssh 22 22\n", "== link\neth0 UP <UP>\n== addr\neth0 UP 192.168.1.10/24\n")
	f.Add("== os\nID=debian\nVERSION_ID=\"12\"\n== selinux\n1\n", "doc /x\nscript changed\n== candidates\nhaproxy:\n  Candidate: 3.0.1\n")
	for _, image := range []string{"debian", "el"} {
		f.Add(said(f, image+"-active.txt"), said(f, image+"-standby.txt"))
	}
	pair := sample.Pair(1, 1, inventories.PerVLAN)
	all := [][]provision.Step{For(pair, pair.Nodes[0]), For(pair, pair.Nodes[1])}
	f.Fuzz(func(t *testing.T, one, two string) {
		nodes := map[string]provision.Facts{}
		for i, said := range []string{one, two} {
			facts := debian12()
			parseAll(all[i], said, facts)
			nodes[pair.Nodes[i].Name] = facts
			for k := range facts {
				if strings.Contains(k, "\n") {
					t.Errorf("a fact of two lines: %q", k)
				}
			}
		}
		_ = Role(pair, nodes)
		for _, s := range all[0] {
			if v, ok := s.(provision.Verifier); ok {
				for _, c := range v.Verify(nodes) {
					if c.Name == "" {
						t.Errorf("a check without a name: %+v", c)
					}
				}
			}
		}
	})
}

// FuzzMask holds that no configuration is shown with its passwords, whoever wrote
// it.
func FuzzMask(f *testing.F) {
	f.Add("vrrp_instance X {\n    ", "\n}\n")
	f.Add("auth_pass\t", " # x\r\n")
	f.Add("userlist x\n user y ", "\n")
	const secret = "pXq7mZr2k"
	pair := sample.Pair(1, 1, inventories.PerVLAN)
	facts := debian12()
	files := append(keepalived{pair, pair.Nodes[0]}.Files(facts), haproxy{pair, pair.Nodes[0]}.Files(facts)...)
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before+after, secret) {
			t.Skip("it says the secret itself")
		}
		for _, w := range files {
			if w.Mask == nil {
				continue
			}
			for _, line := range []string{"auth_pass " + secret, "\t auth_pass\t" + secret + " x", "stats auth admin:" + secret, "user x password " + secret, "user x insecure-password\t" + secret} {
				if strings.Contains(line, "auth_pass") != (w.Path == keepalivedConf) {
					continue
				}
				conf := before + "\n" + line + "\n" + after
				masked := string(w.Mask([]byte(conf)))
				if strings.Contains(masked, secret) {
					t.Errorf("%s:\n%s", w.Path, masked)
				}
				if again := string(w.Mask([]byte(masked))); again != masked {
					t.Errorf("masked twice:\n%s\nonce:\n%s", again, masked)
				}
			}
		}
	})
}
