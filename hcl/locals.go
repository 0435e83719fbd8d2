package hcl

import (
	"fmt"
	"strings"

	hcl2 "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"fwprov/inventories"
)

// references reports every var.x and local.x that is not declared, wherever it
// stands. They count as declared from then on, so that nothing else stumbles
// over them.
func (l *loader) references(body *hclsyntax.Body, vars []*variable) {
	l.vars, l.locals = map[string]bool{}, map[string]bool{}
	var varNames, localNames []string
	for _, b := range body.Blocks {
		if b.Type == "variable" && len(b.Labels) == 1 {
			l.vars[b.Labels[0]] = true
		}
	}
	for _, v := range vars {
		varNames = append(varNames, v.Name)
	}
	for _, a := range l.localAttrs(body, true) {
		l.locals[a.Name] = true
		localNames = append(localNames, a.Name)
	}
	_ = hclsyntax.VisitAll(body, func(n hclsyntax.Node) hcl2.Diagnostics {
		expr, ok := n.(*hclsyntax.ScopeTraversalExpr)
		if !ok || len(expr.Traversal) < 2 {
			return nil
		}
		step, ok := expr.Traversal[1].(hcl2.TraverseAttr)
		if !ok {
			return nil
		}
		switch root := expr.Traversal.RootName(); {
		case root == "var" && !l.vars[step.Name]:
			l.vars[step.Name] = true
			l.unknownName(expr.Range(), "variable", step.Name, varNames)
		case root == "local" && !l.locals[step.Name]:
			l.locals[step.Name] = true
			l.unknownName(expr.Range(), "local", step.Name, localNames)
		}
		return nil
	})
}

func (l *loader) unknownName(at hcl2.Range, what, name string, names []string) {
	detail := "None is declared in this inventory."
	if len(names) > 0 {
		detail = "Declared are " + strings.Join(names, ", ") + "."
	}
	if s := inventories.Nearest(name, names); s != "" {
		detail = fmt.Sprintf("Did you mean %q?", s)
	}
	l.errorf(at, "Unknown "+what, "There is no %s %q. %s", what, name, detail)
}

// localAttrs lists the locals in the order written, and reports the second of a
// name.
func (l *loader) localAttrs(body *hclsyntax.Body, report bool) []*hclsyntax.Attribute {
	var out []*hclsyntax.Attribute
	seen := map[string]hcl2.Range{}
	for _, b := range body.Blocks {
		if b.Type != "locals" {
			continue
		}
		for _, a := range attributesOf(b.Body) {
			first, ok := seen[a.Name]
			if !ok {
				seen[a.Name] = a.NameRange
				out = append(out, a)
			} else if report {
				l.errorf(a.NameRange, "Name used twice", "Local %q is set on line %d already.", a.Name, first.Start.Line)
			}
		}
	}
	return out
}

// evalLocals computes the locals, each after those it refers to, and puts them
// into scope.
func (l *loader) evalLocals(body *hclsyntax.Body) {
	e := localEval{l: l, attrs: map[string]*hclsyntax.Attribute{}, values: map[string]cty.Value{}}
	order := l.localAttrs(body, false)
	for _, a := range order {
		e.attrs[a.Name] = a
	}
	for name := range l.locals {
		if e.attrs[name] == nil {
			e.values[name] = cty.DynamicVal
		}
	}
	for _, a := range order {
		e.eval(a)
	}
	l.ctx.Variables["local"] = cty.ObjectVal(e.values)
}

type localEval struct {
	l      *loader
	attrs  map[string]*hclsyntax.Attribute
	values map[string]cty.Value
	stack  []string
}

func (e *localEval) eval(a *hclsyntax.Attribute) {
	if _, done := e.values[a.Name]; done {
		return
	}
	for i, name := range e.stack {
		if name == a.Name {
			e.l.errorf(a.Expr.Range(), "Locals in a circle", "%s: no value can be found for any of them.",
				strings.Join(append(e.stack[i:], a.Name), " needs "))
			e.values[a.Name] = cty.DynamicVal
			return
		}
	}
	e.stack = append(e.stack, a.Name)
	for _, t := range a.Expr.Variables() {
		if t.RootName() != "local" || len(t) < 2 {
			continue
		}
		if step, ok := t[1].(hcl2.TraverseAttr); ok && e.attrs[step.Name] != nil {
			e.eval(e.attrs[step.Name])
		}
	}
	e.stack = e.stack[:len(e.stack)-1]
	if _, circular := e.values[a.Name]; circular {
		return
	}
	ctx := e.l.ctx.NewChild()
	ctx.Variables = map[string]cty.Value{"local": cty.ObjectVal(e.values)}
	val, diags := a.Expr.Value(ctx)
	e.l.addDiags(diags)
	if diags.HasErrors() {
		val = cty.DynamicVal
	}
	e.values[a.Name] = val
	if val.ContainsMarked() {
		e.l.src.remember(val)
	}
}
