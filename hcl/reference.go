package hcl

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Reference is the part of docs/inventory.md that the language itself knows: every
// block and attribute with type, default and meaning, in Markdown.
func Reference() string {
	var b strings.Builder
	for _, t := range language().blocks {
		reference(&b, &t, "")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func reference(b *strings.Builder, t *blockType, in string) {
	level := "###"
	if in != "" {
		level, in = "####", " in "+in
	}
	fmt.Fprintf(b, "%s %s%s\n\n`%s`, %s.\n%s\n\n", level, t.name, in, t.usage(), t.count(), t.doc)
	if len(t.attrs) > 0 {
		b.WriteString("| attribute | type | default | meaning |\n| --- | --- | --- | --- |\n")
	}
	for _, a := range t.attrs {
		typ, def := a.typ, a.def
		if typ == "" {
			typ = a.kind.title()
		}
		if a.required {
			def = "**required**"
		}
		doc := a.doc
		if len(a.oneOf) > 0 {
			doc = "One of `" + strings.Join(a.oneOf, "`, `") + "`. " + doc
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", a.name, typ, def, doc)
	}
	if len(t.attrs) > 0 {
		b.WriteString("\n")
	}
	for _, c := range t.blocks {
		reference(b, &c, t.name)
	}
}

// count says how often a block stands.
func (t *blockType) count() string {
	switch {
	case t.required && t.name == "node":
		return "exactly two"
	case t.required && t.many:
		return "one or more"
	case t.required:
		return "exactly one"
	case t.many:
		return "any number"
	}
	return "at most one"
}

// FunctionNames lists the functions of the language, sorted.
func FunctionNames() []string {
	l := newLoader("", Options{})
	return slices.Sorted(maps.Keys(l.ctx.Functions))
}
