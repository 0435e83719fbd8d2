package steps

import (
	"fmt"
	"testing"

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
	} {
		t.Run(name, func(t *testing.T) {
			if g := sample.Growth(250, func(n int) func() { return prepare(t, n) }); g > 1.5 {
				t.Errorf("among four times as many a VLAN costs %.1f times as much", g)
			}
			if g := sample.Slowdown(1000, func(n int) func() { return prepare(t, n) }); g > 2.5 {
				t.Errorf("among four times as many a VLAN takes %.1f times as long", g)
			}
		})
	}
}
