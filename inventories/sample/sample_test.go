package sample_test

import (
	"fmt"
	"testing"

	"fwprov/inventories"
	"fwprov/inventories/sample"
)

// TestPair holds that a sample of any size obeys every rule.
func TestPair(t *testing.T) {
	for _, form := range []inventories.VRRPForm{inventories.Single, inventories.PerVLAN} {
		for _, vlans := range []int{0, 1, 2, 20, 250, sample.Most} {
			for _, services := range []int{0, 1, 7, 50} {
				t.Run(fmt.Sprintf("%s/%d/%d", form, vlans, services), func(t *testing.T) {
					p := sample.Pair(vlans, services, form)
					if len(p.VLANs) != vlans || len(p.Services) != services {
						t.Fatalf("%d VLANs, %d services", len(p.VLANs), len(p.Services))
					}
					for _, problem := range p.Problems() {
						if !problem.Warning {
							t.Errorf("%s: %s: %s", problem.Path, problem.Summary, problem.Detail)
						}
					}
				})
			}
		}
	}
}
