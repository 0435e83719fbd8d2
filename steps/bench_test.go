package steps

import (
	"fmt"
	"strings"
	"testing"

	"fwprov/inventories"
	"fwprov/inventories/sample"
	"fwprov/provision"
)

// sizes are numbers of VLANs; there are a quarter as many services.
func sizes() []int { return []int{20, 250, 1000, 4000} }

// planLarge plans n VLANs on a machine that has nothing yet, or has it all.
func planLarge(t testing.TB, n int, converged bool) (work func()) {
	p := sample.Large(n, n/4)
	facts, _ := Assume("debian12", p)
	for _, name := range []string{"eth0", "eth1", "eth2"} {
		facts[provision.Key("link", name)] = "up"
	}
	facts["ifupdown source"] = "yes"
	all := For(p, p.Nodes[0])[1:] // preflight wants to see interfaces
	plan := func() (changes int) {
		f := facts
		for _, s := range all {
			got, err := s.Plan(f)
			if err != nil {
				t.Fatalf("step %s: %v", s.Name(), err)
			}
			var makes []provision.Facts
			for _, c := range got {
				makes = append(makes, c.Makes)
			}
			f = f.With(makes...)
			changes += len(got)
		}
		if converged {
			facts = f
		}
		return changes
	}
	if converged {
		plan()
	}
	return func() {
		if changes := plan(); !converged && changes < n {
			t.Fatalf("%d changes", changes)
		}
	}
}

func renderLarge(_ testing.TB, n int) (work func()) {
	p := sample.Large(n, n/4)
	facts, _ := Assume("debian12", p)
	return func() {
		for _, s := range For(p, p.Nodes[0]) {
			if r, ok := s.(provision.Renderer); ok {
				r.Files(facts)
			}
		}
	}
}

// leaveLarge plans for a machine of which all VLANs but one leave the inventory.
func leaveLarge(t testing.TB, n int) (work func()) {
	p := sample.Large(n, 0)
	f := linked(t, p)
	for _, v := range p.VLANs {
		f[provision.Key("managed", "interface", v.Interface)] = "interfaces created " + v.Addresses["fw01"].String() + "/24"
	}
	f["ifupdown source"], f["os packages"], f["os network"], f["kernel 8021q"] = "yes", "apt", "ifupdown", "yes"
	small := *p
	small.VLANs = p.VLANs[:1]
	return func() {
		changes, err := interfaces{&small, p.Nodes[0]}.Plan(f)
		if err != nil || len(changes) < n-1 {
			t.Fatalf("%d changes, %v", len(changes), err)
		}
	}
}

// linkText is what the interfaces step's probe prints on a node with all VLANs and,
// if it is active, all VIPs.
func linkText(p *inventories.Pair, n inventories.Node, active bool) string {
	var link, vlan, addr strings.Builder
	for _, i := range []string{"eth0", "eth1", "eth2"} {
		fmt.Fprintf(&link, "%s UP 02:00:00:00:01:01 <BROADCAST,UP,LOWER_UP>\n", i)
	}
	for _, v := range p.VLANs {
		fmt.Fprintf(&link, "%s@eth2 UP 02:00:00:00:01:03 <BROADCAST,UP,LOWER_UP>\n", v.Interface)
		fmt.Fprintf(&vlan, "%s | %d | eth2\n", v.Interface, v.ID)
		fmt.Fprintf(&addr, "%s@eth2 UP %s/24", v.Interface, v.Addresses[n.Name])
		if active {
			fmt.Fprintf(&addr, " %s/24", v.VIP)
		}
		addr.WriteString("\n")
	}
	if active {
		fmt.Fprintf(&addr, "eth0 UP %s/24 %s/24\n", n.Outside, p.Outside.VIP)
	}
	return "== ip\n" + link.String() + addr.String() + "== vlan\n" + vlan.String()
}

func linked(t testing.TB, p *inventories.Pair) provision.Facts {
	f := provision.Facts{}
	if err := parseInterfaces(linkText(p, p.Nodes[0], true), f); err != nil {
		t.Fatal(err)
	}
	return f
}

func parseLarge(t testing.TB, n int) (work func()) {
	p := sample.Large(n, 0)
	text := linkText(p, p.Nodes[0], true)
	return func() {
		f := provision.Facts{}
		if err := parseInterfaces(text, f); err != nil || len(f) < 4*n {
			t.Fatalf("%d facts, %v", len(f), err)
		}
	}
}

// verifyLarge judges a pair of which one node has all VIPs, and the other sees them.
func verifyLarge(t testing.TB, n int) (work func()) {
	p := sample.Large(n, n/4)
	nodes := map[string]provision.Facts{}
	for i, node := range p.Nodes {
		f := provision.Facts{}
		if err := parseInterfaces(linkText(p, node, i == 0), f); err != nil {
			t.Fatal(err)
		}
		for _, v := range p.VIPs() {
			f[provision.Key("ping", v.Addr.String())] = "yes"
			f[provision.Key("neigh", v.Addr.String())] = v.Interface + " 02:00:00:00:01:03"
		}
		f["mac eth2"] = "02:00:00:00:01:03"
		nodes[node.Name] = f
	}
	v := verify{pair: p}
	return func() {
		if checks := v.Verify(nodes); len(checks) < n/4 {
			t.Fatalf("%d checks", len(checks))
		}
	}
}

// bench measures work by size.
func bench(b *testing.B, prepare func(testing.TB, int) func()) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("vlans=%d", n), func(b *testing.B) {
			work := prepare(b, n)
			b.ReportAllocs()
			for b.Loop() {
				work()
			}
		})
	}
}

func BenchmarkRender(b *testing.B) { bench(b, renderLarge) }

func BenchmarkPlan(b *testing.B) {
	for _, converged := range []bool{false, true} {
		b.Run(map[bool]string{false: "new", true: "nothing"}[converged], func(b *testing.B) {
			bench(b, func(t testing.TB, n int) func() { return planLarge(t, n, converged) })
		})
	}
}

func BenchmarkParse(b *testing.B)  { bench(b, parseLarge) }
func BenchmarkVerify(b *testing.B) { bench(b, verifyLarge) }

func BenchmarkRules(b *testing.B) {
	bench(b, func(t testing.TB, n int) func() {
		p := sample.Large(n, n/4)
		return func() {
			if problems := p.Problems(); len(problems) > 0 {
				t.Fatal(problems[0])
			}
		}
	})
}

// What a VLAN or a service costs does not grow with their number.
func TestLinear(t *testing.T) {
	for name, prepare := range map[string]func(testing.TB, int) func(){
		"render":          renderLarge,
		"plan":            func(t testing.TB, n int) func() { return planLarge(t, n, false) },
		"nothing to plan": func(t testing.TB, n int) func() { return planLarge(t, n, true) },
		"all left":        leaveLarge,
		"parse":           parseLarge,
		"verify":          verifyLarge,
	} {
		t.Run(name, func(t *testing.T) {
			if g := sample.Growth(250, func(n int) func() { return prepare(t, n) }); g > 1.5 {
				t.Errorf("among four times as many a VLAN costs %.1f times as much", g)
			}
			if g := sample.Slowdown(500, func(n int) func() { return prepare(t, n) }); g > 2 {
				t.Errorf("among four times as many a VLAN takes %.1f times as long", g)
			}
		})
	}
}
