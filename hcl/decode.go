package hcl

import (
	"errors"
	"fmt"

	hcl2 "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/dynblock"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// block is one block as it was written or made: its attributes evaluated and of
// the type that their kind asks for, nothing more.
type block struct {
	l      *loader
	typ    *blockType
	label  string
	path   string // "vlan.mail"
	at     hcl2.Range
	attrs  map[string]value
	blocks []*block
}

type value struct {
	val cty.Value // known, not null
	at  hcl2.Range
}

// decode evaluates the whole inventory.
func (l *loader) decode(t *blockType, body *hclsyntax.Body) *block {
	top := &block{l: l, typ: t, at: hcl2.Range{Filename: l.name, Start: hcl2.InitialPos, End: hcl2.InitialPos}}
	expanded := dynblock.Expand(body, l.ctx, dynblock.OptCheckForEach(l.checkEach))
	l.decodeBody(top, expanded)
	return top
}

func (l *loader) decodeBody(b *block, body hcl2.Body) {
	content, _, diags := body.PartialContent(b.typ.body())
	l.addDiags(diags)
	b.attrs = map[string]value{}
	for i := range b.typ.attrs {
		t := &b.typ.attrs[i]
		if a := content.Attributes[t.name]; a != nil {
			l.decodeAttr(b, t, a)
		} else {
			l.checkMissing(b, t)
		}
	}
	taken := map[string]hcl2.Range{}
	for _, raw := range content.Blocks {
		if child := l.decodeBlock(b, raw, taken); child != nil {
			b.blocks = append(b.blocks, child)
			l.decodeBody(child, raw.Body)
		}
	}
	for i := range b.typ.blocks {
		t := &b.typ.blocks[i]
		if t.required && len(b.all(t.name)) == 0 {
			l.void[join(b.path, t.name)] = true
			if l.partial[t.name] {
				continue // there is one that was told of already
			}
			in := ""
			if b.label != "" {
				in = " in " + describe(b.typ.name, []string{b.label})
			}
			l.errorf(b.at, "Block missing", "There is no %s block%s. Write `%s`. %s", t.name, in, t.usage(), t.doc)
		}
	}
}

// decodeBlock takes the header of a block. It is nil for a second one where there
// may be one.
func (l *loader) decodeBlock(parent *block, raw *hcl2.Block, taken map[string]hcl2.Range) *block {
	t := parent.typ.block(raw.Type)
	b := &block{l: l, typ: t, path: join(parent.path, t.name), at: raw.DefRange}
	if t.label != "" {
		b.label = raw.Labels[0]
		if t.many {
			b.path = join(b.path, b.label)
		}
	}
	if first, ok := taken[b.path]; ok {
		switch {
		case !t.many:
			l.errorf(raw.DefRange, "Second "+t.name+" block", "An inventory has one; the first is on line %d. Put everything into that.", first.Start.Line)
		default:
			l.errorf(raw.DefRange, "Name used twice", "There is %s on line %d already.", describe(t.name, raw.Labels), first.Start.Line)
		}
		return nil
	}
	taken[b.path] = raw.DefRange
	l.place(b.path, raw.DefRange)
	if len(raw.LabelRanges) > 0 {
		l.place(join(b.path, "name"), raw.LabelRanges[0])
	}
	return b
}

// place notes where a path was written. Two paths in one place come from a
// dynamic block.
func (l *loader) place(path string, at hcl2.Range) {
	if other, ok := l.placed[at]; ok && other != path {
		l.generated[at] = true
	}
	l.placed[at] = path
	l.ranges[path] = at
}

func (l *loader) checkMissing(b *block, t *attrType) {
	if !t.required {
		return
	}
	l.void[join(b.path, t.name)] = true
	if l.meant[item{b.at, t.name}] {
		return // checkBody has said it
	}
	l.errorf(b.at, "Attribute missing", "%s needs %s: %s", b.title(), t.name, t.doc)
}

func (l *loader) decodeAttr(b *block, t *attrType, a *hcl2.Attribute) {
	path, at := join(b.path, t.name), a.Expr.Range()
	l.place(path, at)
	val, diags := a.Expr.Value(l.ctx)
	l.addDiags(diags)
	if diags.HasErrors() {
		l.void[path] = true
		return
	}
	if val.ContainsMarked() {
		if t.kind != kindSecret {
			l.void[path] = true
			l.errorf(at, "Sensitive value", "A sensitive value in %s would be shown: only vrrp.password may have one.", t.name)
			return
		}
		l.src.remember(val)
		val, _ = val.UnmarkDeep()
	}
	if !val.IsWhollyKnown() {
		l.void[path] = true
		return
	}
	if val.IsNull() {
		l.checkMissing(b, t)
		return
	}
	val, err := t.convert(val)
	if err != nil {
		l.void[path] = true
		l.errorf(at, "Value of another type", "%s is a %s, %s.", t.name, t.kind.title(), err)
		return
	}
	b.attrs[t.name] = value{val, at}
	l.elements(path, a.Expr)
}

// convert makes a value what the kind is decoded from: a string, number or bool,
// or a list or map of strings without a null.
func (t *attrType) convert(val cty.Value) (cty.Value, error) {
	var want cty.Type
	switch t.kind {
	case kindNumber:
		want = cty.Number
	case kindBool:
		want = cty.Bool
	case kindNetworks, kindPorts:
		want = cty.List(cty.String)
	case kindNames:
		want = cty.List(cty.String)
		if val.Type() == cty.String {
			val = cty.ListVal([]cty.Value{val})
		}
	case kindHosts:
		want = cty.Map(cty.String)
	default:
		want = cty.String
	}
	given := val.Type().FriendlyName()
	val, err := convert.Convert(val, want)
	switch {
	case err != nil && val.Type() == cty.String:
		return val, errors.New("which this string is not")
	case err != nil:
		return val, fmt.Errorf("not a %s", given)
	case !val.IsWhollyKnown() || !noNull(val):
		return val, errors.New("and nothing in it is null")
	}
	return val, nil
}

func noNull(val cty.Value) bool {
	ok := true
	_ = cty.Walk(val, func(_ cty.Path, v cty.Value) (bool, error) {
		ok = ok && !v.IsNull()
		return true, nil
	})
	return ok
}

// elements notes where the elements of a list or map stand that is written out.
func (l *loader) elements(path string, expr hcl2.Expression) {
	if items, diags := hcl2.ExprList(expr); !diags.HasErrors() {
		for i, e := range items {
			l.place(fmt.Sprintf("%s[%d]", path, i), e.Range())
		}
		return
	}
	pairs, diags := hcl2.ExprMap(expr)
	if diags.HasErrors() {
		return
	}
	for _, p := range pairs {
		key, diags := p.Key.Value(l.ctx)
		if diags.HasErrors() {
			continue
		}
		key, _ = key.Unmark()
		if key, err := convert.Convert(key, cty.String); err == nil && key.IsKnown() && !key.IsNull() {
			l.place(join(path, key.AsString()), p.Value.Range())
		}
	}
}

func (b *block) title() string {
	if b.label == "" {
		return b.typ.name
	}
	return describe(b.typ.name, []string{b.label})
}

// all lists the blocks of one type in b.
func (b *block) all(name string) []*block {
	var out []*block
	for _, c := range b.blocks {
		if c.typ.name == name {
			out = append(out, c)
		}
	}
	return out
}

// one is the only block of that type in b, or an empty one.
func (b *block) one(name string) *block {
	if all := b.all(name); len(all) > 0 {
		return all[0]
	}
	return &block{l: b.l, typ: b.typ.block(name), path: join(b.path, name), at: b.at}
}

func (b *block) has(name string) bool {
	_, ok := b.attrs[name]
	return ok || b.l.void[join(b.path, name)]
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
