package hcl

import (
	"fmt"
	"testing"

	"fwprov/inventories/sample"
)

// parseLarge reads an inventory of n VLANs and a quarter as many services.
func parseLarge(t testing.TB, n int) (work func()) {
	text := sample.Text(n, n/4)
	return func() {
		pair, src, diags := Parse(text, "large.hcl", Options{})
		if pair == nil {
			_ = src.Write(t.Output(), diags, false)
			t.Fatal("the inventory is wrong")
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{20, 250, 1000, 4000} {
		b.Run(fmt.Sprintf("vlans=%d", n), func(b *testing.B) {
			work := parseLarge(b, n)
			b.ReportAllocs()
			for b.Loop() {
				work()
			}
		})
	}
}

// What a VLAN or a service costs does not grow with their number.
func TestParseIsLinear(t *testing.T) {
	if g := sample.Growth(250, func(n int) func() { return parseLarge(t, n) }); g > 1.5 {
		t.Errorf("among four times as many a VLAN costs %.1f times as much", g)
	}
	if g := sample.Slowdown(500, func(n int) func() { return parseLarge(t, n) }); g > 2 {
		t.Errorf("among four times as many a VLAN takes %.1f times as long", g)
	}
}
