package hcl

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	hcl2 "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"fwprov/inventories"
)

// Variable is a variable as a person is asked for it.
type Variable struct {
	Name        string
	Description string
	Type        string // as written, "any" if it has none
	Sensitive   bool   // do not echo what is typed
}

// EnvPrefix goes before a variable's name in the environment.
const EnvPrefix = "FWPROV_VAR_"

// mark is on every value that must not be shown.
type mark string

const sensitive mark = "sensitive"

// variable is one declaration and what became of it.
type variable struct {
	Variable
	typ         cty.Type
	optional    *typeexpr.Defaults
	def         cty.Value // cty.NilVal: it has none
	validations []validation
	at          hcl2.Range
	value       cty.Value
	file        *hclsyntax.Attribute // where a var-file sets it
	broken      bool                 // reported already
}

type validation struct {
	condition, message hclsyntax.Expression
}

// variables reads the declarations, in the order written.
func (l *loader) variables(body *hclsyntax.Body) []*variable {
	var out []*variable
	seen := map[string]hcl2.Range{}
	for _, b := range body.Blocks {
		if b.Type != "variable" || len(b.Labels) != 1 {
			continue
		}
		name, at := b.Labels[0], b.LabelRanges[0]
		if first, ok := seen[name]; ok {
			l.errorf(at, "Name used twice", "Variable %q is declared on line %d already.", name, first.Start.Line)
			continue
		}
		seen[name] = at
		if !hclsyntax.ValidIdentifier(name) {
			l.errorf(at, "Bad variable name", "A name is letters, digits, _ and -, and begins with a letter.")
			continue
		}
		out = append(out, l.declaration(name, at, b.Body))
	}
	return out
}

func (l *loader) declaration(name string, at hcl2.Range, body *hclsyntax.Body) *variable {
	v := &variable{Variable: Variable{Name: name, Type: "any"}, typ: cty.DynamicPseudoType, at: at}
	consts := &hcl2.EvalContext{Functions: l.ctx.Functions}
	if a := body.Attributes["description"]; a != nil {
		v.Description = l.constant(a, cty.String, consts).AsString()
	}
	if a := body.Attributes["sensitive"]; a != nil {
		v.Sensitive = l.constant(a, cty.Bool, consts).True()
	}
	if a := body.Attributes["type"]; a != nil {
		typ, optional, diags := typeexpr.TypeConstraintWithDefaults(a.Expr)
		l.addDiags(diags)
		if v.broken = diags.HasErrors(); !v.broken {
			v.typ, v.optional, v.Type = typ, optional, typeexpr.TypeString(typ)
		}
	}
	if a := body.Attributes["default"]; a != nil {
		if v.Sensitive {
			l.src.maskExpr(a.Expr)
		}
		val, diags := a.Expr.Value(consts)
		l.addDiags(diags)
		if v.broken = v.broken || diags.HasErrors(); !v.broken {
			var err error
			if v.def, err = v.convert(val); err != nil {
				l.errorf(a.Expr.Range(), "Default of another type", "Default: %s", v.unfit(err))
				v.broken = true
			}
		}
	}
	for _, b := range body.Blocks {
		if b.Type == "validation" {
			l.validation(v, b)
		}
	}
	return v
}

func (l *loader) validation(v *variable, b *hclsyntax.Block) {
	cond, msg := b.Body.Attributes["condition"], b.Body.Attributes["error_message"]
	for _, a := range l.root.block("variable").block("validation").attrs {
		if b.Body.Attributes[a.name] == nil {
			l.errorf(b.TypeRange, "Attribute missing", "validation needs %s: %s", a.name, a.doc)
		}
	}
	if cond != nil && msg != nil {
		v.validations = append(v.validations, validation{cond.Expr, msg.Expr})
	}
}

// constant evaluates an attribute that may not depend on anything. The zero value
// of the type stands for one that cannot be had; it was reported.
func (l *loader) constant(a *hclsyntax.Attribute, typ cty.Type, ctx *hcl2.EvalContext) cty.Value {
	zero := map[cty.Type]cty.Value{cty.String: cty.StringVal(""), cty.Bool: cty.False}[typ]
	val, diags := a.Expr.Value(ctx)
	l.addDiags(diags)
	if diags.HasErrors() {
		return zero
	}
	val, _ = val.UnmarkDeep()
	val, err := convert.Convert(val, typ)
	if err != nil {
		l.errorf(a.Expr.Range(), "Value of another type", "%s is a %s.", a.Name, typ.FriendlyName())
		return zero
	}
	if val.IsNull() || !val.IsKnown() {
		return zero
	}
	return val
}

// convert makes a value one of the variable's type.
func (v *variable) convert(val cty.Value) (cty.Value, error) {
	if v.optional != nil && !val.IsNull() {
		val = v.optional.Apply(val)
	}
	return convert.Convert(val, v.typ)
}

// unfit says that a value is not of the variable's type, without what would show
// a sensitive one.
func (v *variable) unfit(err error) string {
	switch {
	case v.Sensitive:
		return fmt.Sprintf("variable %q is a %s, which the value given is not; it is sensitive and not shown.", v.Name, v.Type)
	case v.typ.IsPrimitiveType():
		return fmt.Sprintf("variable %q is a %s, which this is not.", v.Name, v.Type)
	}
	return fmt.Sprintf("variable %q is a %s: %s.", v.Name, v.Type, strings.TrimSuffix(err.Error(), "."))
}

// parse reads a value from a command line, the environment or a terminal: as it
// is for a string, as an expression for a list or a map.
func (v *variable) parse(text, origin string) (cty.Value, error) {
	if v.typ.IsPrimitiveType() || v.typ == cty.DynamicPseudoType {
		return v.convert(cty.StringVal(text))
	}
	expr, diags := hclsyntax.ParseExpression([]byte(text), origin, hcl2.InitialPos)
	if !diags.HasErrors() {
		var val cty.Value
		if val, diags = expr.Value(nil); !diags.HasErrors() {
			return v.convert(val)
		}
	}
	return cty.NilVal, fmt.Errorf("%s: %s", diags[0].Summary, strings.TrimSuffix(diags[0].Detail, "."))
}

// varFiles finds the attributes that set variables; a later file wins.
func (l *loader) varFiles(vars []*variable) {
	byName := map[string]*variable{}
	var names []string
	for _, v := range vars {
		byName[v.Name] = v
		names = append(names, v.Name)
	}
	for _, path := range l.opts.VarFiles {
		src, err := readFile(path)
		if err != nil {
			l.diags = append(l.diags, &hcl2.Diagnostic{
				Severity: hcl2.DiagError, Summary: "Variable file cannot be read", Detail: sentence(err),
			})
			continue
		}
		file, diags := hclsyntax.ParseConfig(src, path, hcl2.InitialPos)
		l.src.add(path, src, file)
		if diags.HasErrors() {
			l.src.maskValues(path)
			l.addDiags(diags)
			continue
		}
		body := file.Body.(*hclsyntax.Body)
		for _, b := range body.Blocks {
			l.errorf(b.TypeRange, "Block in a variable file", "A variable file has lines `name = value` only.")
		}
		for _, a := range attributesOf(body) {
			v := byName[a.Name]
			if v == nil {
				l.src.maskExpr(a.Expr)
				l.warnf(a.NameRange, "Variable not declared", "%s", l.undeclared(a.Name, names))
				continue
			}
			if v.Sensitive {
				l.src.maskExpr(a.Expr)
			}
			v.file = a
		}
	}
	given := make([]string, 0, len(l.opts.Vars))
	for name := range l.opts.Vars {
		given = append(given, name)
	}
	sort.Strings(given)
	for _, name := range given {
		if byName[name] == nil {
			l.diags = append(l.diags, &hcl2.Diagnostic{
				Severity: hcl2.DiagError, Summary: "Variable not declared",
				Detail: fmt.Sprintf("--var %s: %s", name, l.undeclared(name, names)),
			})
		}
	}
}

func (l *loader) undeclared(name string, names []string) string {
	if s := inventories.Nearest(name, names); s != "" {
		return fmt.Sprintf("%s declares no variable %q. Did you mean %q?", l.name, name, s)
	}
	if len(names) == 0 {
		return fmt.Sprintf("%s declares no variable %q, and no other.", l.name, name)
	}
	return fmt.Sprintf("%s declares no variable %q, only %s.", l.name, name, strings.Join(names, ", "))
}

// evalVariables gives every variable its value and puts them into scope. One
// that has none after all is unknown, which what depends on it takes quietly.
func (l *loader) evalVariables(vars []*variable) {
	scope := map[string]cty.Value{}
	for name := range l.vars {
		scope[name] = cty.DynamicVal
	}
	for _, v := range vars {
		v.value = cty.UnknownVal(v.typ.WithoutOptionalAttributesDeep())
		if !v.broken {
			l.evalVariable(v)
		}
		if v.Sensitive {
			l.src.remember(v.value)
			v.value = v.value.Mark(sensitive)
		}
		scope[v.Name] = v.value
	}
	l.ctx.Variables = map[string]cty.Value{"var": cty.ObjectVal(scope)}
}

func (l *loader) evalVariable(v *variable) {
	text, origin, given := l.given(v)
	switch {
	case given:
		l.src.rememberText(v, text)
		val, err := v.parse(text, origin)
		if err != nil {
			v.broken = true
			l.errorf(v.at, "Value of another type", "%s: %s", origin, v.unfit(err))
			return
		}
		v.value = val
	case v.file != nil:
		val, diags := v.file.Expr.Value(nil)
		l.addDiags(diags)
		if v.broken = diags.HasErrors(); v.broken {
			return
		}
		val, err := v.convert(val)
		if err != nil {
			v.broken = true
			l.errorf(v.file.Expr.Range(), "Value of another type", "Here: %s", v.unfit(err))
			return
		}
		v.value = val
	case v.def != cty.NilVal:
		v.value = v.def
	case l.opts.AllowUnknown, l.opts.WithoutSecrets && v.Sensitive:
	default:
		l.ask(v)
	}
}

// given is a value from the command line, or from the environment if no file has
// one.
func (l *loader) given(v *variable) (text, origin string, ok bool) {
	if text, ok = l.opts.Vars[v.Name]; ok {
		return text, "--var " + v.Name, true
	}
	if v.file != nil {
		return "", "", false
	}
	text, ok = l.env[EnvPrefix+v.Name]
	return text, EnvPrefix + v.Name, ok
}

var errNobody = errors.New("there is nobody to ask")

func (l *loader) ask(v *variable) {
	text, err := "", errNobody
	if l.opts.Ask != nil {
		text, err = l.opts.Ask(v.Variable)
	}
	if err != nil {
		v.broken = true
		why := ""
		if err != errNobody {
			why = " Asked for it: " + strings.TrimSuffix(err.Error(), ".") + "."
		}
		l.errorf(v.at, "Variable without a value",
			"Give %q one with --var '%s=...', with a line `%s = ...` in a file named by --var-file, or in the environment as %s%s.%s",
			v.Name, v.Name, v.Name, EnvPrefix, v.Name, why)
		return
	}
	l.src.rememberText(v, text)
	val, err := v.parse(text, v.Name)
	if err != nil {
		v.broken = true
		l.errorf(v.at, "Value of another type", "Typed in: %s", v.unfit(err))
		return
	}
	v.value = val
}

// validate checks the variables' own conditions, which may look at all of them.
func (l *loader) validate(vars []*variable) {
	for _, v := range vars {
		if v.broken {
			continue
		}
		for _, c := range v.validations {
			l.check(v, c)
		}
	}
}

func (l *loader) check(v *variable, c validation) {
	cond, diags := c.condition.Value(l.ctx)
	l.addDiags(diags)
	if diags.HasErrors() {
		return
	}
	cond, _ = cond.Unmark()
	cond, err := convert.Convert(cond, cty.Bool)
	if err != nil || cond.IsNull() {
		l.errorf(c.condition.Range(), "Condition is no bool", "The condition of a validation is true or false.")
		return
	}
	if !cond.IsKnown() || cond.True() {
		return
	}
	text := "The value does not meet the condition."
	msg, diags := c.message.Value(l.ctx)
	l.addDiags(diags)
	if m, err := convert.Convert(msg, cty.String); err == nil && !m.ContainsMarked() && m.IsKnown() && !m.IsNull() {
		text = m.AsString()
	}
	l.errorf(c.condition.Range(), "Value refused", "Variable %q: %s", v.Name, text)
}

// environ is the environment as a map; the last of two entries counts.
func environ(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, e := range env {
		if k, v, ok := strings.Cut(e, "="); ok {
			m[k] = v
		}
	}
	return m
}
