package hcl

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"filippo.io/age"
	hcl2 "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
)

// ageFile is an encrypted file that was read. Its values are secret, its errors
// are not.
type ageFile struct {
	values  map[string]cty.Value
	unknown bool // it cannot be opened, which does not matter
	err     error
}

// ageFileFunc reads one value of an encrypted file of lines name = "value". A
// relative path starts at the inventory's folder. Each file is opened once.
func (l *loader) ageFileFunc(folder string) function.Function {
	files := map[string]ageFile{}
	unknown := cty.UnknownVal(cty.String).Mark(sensitive)
	open := func(name string) function.Parameter {
		return function.Parameter{Name: name, Type: cty.String, AllowUnknown: true, AllowDynamicType: true}
	}
	return function.New(&function.Spec{
		Params: []function.Parameter{open("path"), open("name")},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if !args[0].IsKnown() || !args[1].IsKnown() {
				return unknown, nil
			}
			path, name := args[0].AsString(), args[1].AsString()
			if strings.ContainsRune(path, 0) {
				return cty.NilVal, errors.New("a path has no NUL character")
			}
			if !filepath.IsAbs(path) {
				path = filepath.Join(folder, path)
			}
			f, ok := files[path]
			if !ok {
				f = l.readAgeFile(path)
				files[path] = f
			}
			switch v, ok := f.values[name]; {
			case f.err != nil:
				return cty.NilVal, f.err
			case f.unknown:
				return unknown, nil
			case !ok:
				return cty.NilVal, fmt.Errorf("%s has no line `%s = ...`", path, name)
			default:
				l.src.remember(v)
				return v.Mark(sensitive), nil
			}
		},
	})
}

func (l *loader) readAgeFile(path string) ageFile {
	if l.opts.WithoutSecrets {
		return ageFile{unknown: true}
	}
	src, err := readFile(path)
	if err != nil {
		return ageFile{err: err}
	}
	text, err := l.opts.Age.open(path, src)
	var none *age.NoIdentityMatchError
	if l.opts.AllowUnknown && (errors.Is(err, errAsk) || errors.As(err, &none)) {
		return ageFile{unknown: true}
	}
	if err != nil {
		return ageFile{err: fmt.Errorf("%s: %w", path, err)}
	}
	values, err := parseSecrets(text)
	if err != nil {
		return ageFile{err: fmt.Errorf("%s: %w", path, err)}
	}
	return ageFile{values: values}
}

// parseSecrets reads lines name = "value". What the library says of a mistake
// would quote the text, so only its line is told.
func parseSecrets(text []byte) (map[string]cty.Value, error) {
	wrong := func(at hcl2.Range) error {
		return fmt.Errorf("its line %d is not of the form name = \"value\"", at.Start.Line)
	}
	file, diags := hclsyntax.ParseConfig(text, "", hcl2.InitialPos)
	for _, d := range diags {
		if d.Severity == hcl2.DiagError && d.Subject != nil {
			return nil, wrong(*d.Subject)
		}
	}
	body := file.Body.(*hclsyntax.Body)
	for _, b := range body.Blocks {
		return nil, wrong(b.TypeRange)
	}
	out := map[string]cty.Value{}
	for _, a := range attributesOf(body) {
		v, diags := a.Expr.Value(nil)
		if diags.HasErrors() {
			return nil, wrong(a.NameRange)
		}
		v, err := convert.Convert(v, cty.String)
		if err != nil || v.IsNull() || !v.IsKnown() {
			return nil, wrong(a.NameRange)
		}
		out[a.Name] = v
	}
	return out, nil
}
