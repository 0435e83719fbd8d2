package hcl

import (
	hcl2 "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Format lays an inventory out the canonical way. Its meaning and comments stay. A
// text that is not HCL comes back with diagnostics and a Source to print them.
func Format(src []byte, name string) ([]byte, *Source, hcl2.Diagnostics) {
	s := newSource()
	file, diags := hclsyntax.ParseConfig(src, name, hcl2.InitialPos)
	s.add(name, src, file)
	if diags.HasErrors() {
		s.maskBroken(name)
		return nil, s, sorted(strip(diags), name)
	}
	out := hclwrite.Format(src)
	if _, diags := hclsyntax.ParseConfig(out, name, hcl2.InitialPos); diags.HasErrors() {
		return src, s, nil // "10.1. 3" loses its space, and is no number then
	}
	return out, s, nil
}
