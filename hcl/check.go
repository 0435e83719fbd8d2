package hcl

import (
	"fmt"
	"sort"
	"strings"

	hcl2 "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"fwprov/inventories"
)

// item is an attribute of a block.
type item struct {
	block hcl2.Range
	name  string
}

// checkBody reports the names that the language does not have, in what is
// written and in what a dynamic block would make, once each.
func (l *loader) checkBody(t *blockType, body *hclsyntax.Body, at hcl2.Range, in string) {
	if !t.free {
		for _, a := range attributesOf(body) {
			if t.attr(a.Name) == nil {
				l.unknownAttr(t, a, at, in)
			}
		}
	}
	for _, b := range body.Blocks {
		if b.Type == "dynamic" {
			l.checkDynamic(t, b, in)
			continue
		}
		bt := t.block(b.Type)
		if bt == nil {
			l.unknownBlock(t, b.Type, b.TypeRange, at, in)
			continue
		}
		l.checkLabels(bt, b)
		l.checkBody(bt, b.Body, b.DefRange(), describe(b.Type, b.Labels))
	}
}

func (l *loader) unknownAttr(t *blockType, a *hclsyntax.Attribute, block hcl2.Range, in string) {
	detail := ""
	switch s := inventories.Nearest(a.Name, t.attrNames()); {
	case s != "":
		l.meant[item{block, s}] = true
		detail = fmt.Sprintf("Did you mean %q?", s)
	case t.block(a.Name) != nil:
		l.partial[a.Name] = true
		detail = fmt.Sprintf("%s is a block: write `%s { ... }` without the equals sign.", a.Name, a.Name)
	case len(t.attrs) == 0:
		detail = "No attributes stand here, only blocks: " + strings.Join(t.blockNames(), ", ") + "."
	default:
		detail = "Known here: " + strings.Join(t.attrNames(), ", ") + "."
	}
	where := ""
	if in != "" {
		where = " in " + in
	}
	l.errorf(a.NameRange, "Unknown attribute", "There is no attribute %q%s. %s", a.Name, where, detail)
}

func (l *loader) unknownBlock(t *blockType, name string, at, block hcl2.Range, in string) {
	detail := ""
	switch s := inventories.Nearest(name, t.blockNames()); {
	case s != "":
		l.partial[s] = true
		detail = fmt.Sprintf("Did you mean %q?", s)
	case t.attr(name) != nil:
		l.meant[item{block, name}] = true
		detail = fmt.Sprintf("%s is an attribute: write `%s = ...`.", name, name)
	case len(t.blocks) == 0:
		detail = "No blocks stand here."
	default:
		detail = "Known here: " + strings.Join(t.blockNames(), ", ") + "."
	}
	where := ""
	if in != "" {
		where = " in " + in
	}
	l.errorf(at, "Unknown block", "There is no block %q%s. %s", name, where, detail)
}

func (l *loader) checkLabels(t *blockType, b *hclsyntax.Block) {
	want := 0
	if t.label != "" {
		want = 1
	}
	switch {
	case len(b.Labels) > want:
		at := b.LabelRanges[want]
		l.headers[at] = true
		l.partial[t.name] = true
		if want == 0 {
			l.errorf(at, "Label too many", "A %s block has no label: write `%s`.", t.name, t.usage())
		} else {
			l.errorf(at, "Label too many", "A %s block has one label, its %s.", t.name, t.label)
		}
	case len(b.Labels) < want:
		l.headers[b.OpenBraceRange] = true
		l.partial[t.name] = true
		l.errorf(b.OpenBraceRange, "Label missing", "A %s block has a label, its %s: write `%s`.", t.name, t.label, t.usage())
	}
}

// checkDynamic looks at what a dynamic block makes. The rest of its form is the
// library's to check.
func (l *loader) checkDynamic(t *blockType, b *hclsyntax.Block, in string) {
	if len(b.Labels) != 1 {
		return
	}
	name := b.Labels[0]
	bt := t.block(name)
	if bt == nil {
		l.unknownBlock(t, name, b.LabelRanges[0], b.DefRange(), in)
		return
	}
	if bt.static {
		l.errorf(b.LabelRanges[0], "Block cannot be dynamic", "A %s block is read before anything is computed: write it out.", name)
		return
	}
	if a := b.Body.Attributes["for_each"]; a != nil {
		l.each[a.Expr.Range()] = name
	}
	if a := b.Body.Attributes["labels"]; a != nil {
		exprs, _ := hcl2.ExprList(a.Expr)
		for _, e := range exprs {
			l.each[e.Range()] = name
		}
	}
	for _, c := range b.Body.Blocks {
		if c.Type == "content" {
			l.checkBody(bt, c.Body, b.DefRange(), name)
		}
	}
}

// describe names a block as it is written.
func describe(typ string, labels []string) string {
	var b strings.Builder
	b.WriteString(typ)
	for _, s := range labels {
		fmt.Fprintf(&b, " %q", s)
	}
	return b.String()
}

// attributesOf lists the attributes of a body in the order written.
func attributesOf(body *hclsyntax.Body) []*hclsyntax.Attribute {
	out := make([]*hclsyntax.Attribute, 0, len(body.Attributes))
	for _, a := range body.Attributes {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].SrcRange.Start.Byte < out[j].SrcRange.Start.Byte })
	return out
}
