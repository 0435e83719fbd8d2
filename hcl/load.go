// Package hcl is how a firewall pair is written: it turns an inventory in HCL
// into an inventories.Pair, and every mistake in it into a diagnostic with file,
// line and what to do.
//
// Load reads a file, Parse a text. Both return the Source beside the pair; it
// prints diagnostics, and whatever is secret in the text is masked in it. A
// value marked sensitive is never part of a diagnostic, and only an attribute
// that is an inventories.Secret takes one.
//
// The language is a table (language.go) that decoding, "did you mean" and the
// reference docs/inventory.md share. The rules a pair obeys are not here but in
// package inventories: a Problem names a path, which is translated to the place
// where that was written.
package hcl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	hcl2 "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"fwprov/inventories"
)

// Options say where the values of variables come from. The zero Options have
// defaults only.
type Options struct {
	Vars     Values      // --var name=value; goes before all else
	VarFiles []string    // --var-file, attributes as `name = value`; a later file goes before an earlier one
	Env      Environment // as os.Environ gives it: FWPROV_VAR_name, and function env

	// Ask is called for each variable that has no value, in the order of the
	// inventory; nil where there is nobody to ask. An error of it becomes part of
	// the diagnostic.
	Ask func(Variable) (string, error)

	// Age are the keys of function age_file; nil: none.
	Age *AgeKeys

	// AllowUnknown lets a variable have no value, and an encrypted file that no
	// key in Age opens, or no passphrase. What depends on it is then
	// zero in the pair, and the rules about it are skipped. A pair loaded so is
	// good for looking at, not for applying.
	AllowUnknown bool

	// WithoutSecrets is AllowUnknown for sensitive variables and encrypted files
	// only: they are not asked for and not opened. The secrets of the pair are
	// zero; all else is there.
	WithoutSecrets bool
}

// Values are texts by name. Some may be sensitive, so none is ever printed.
type Values map[string]string

// Format writes inventories.Masked for every verb.
func (Values) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(inventories.Masked)) }

// Environment are lines NAME=value, never printed for the same reason.
type Environment []string

// Format writes inventories.Masked for every verb.
func (Environment) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(inventories.Masked)) }

// maxSize of an inventory, in bytes; 250 VLANs written out are 20 kB.
const maxSize = 4 << 20

// Load reads the inventory in file path. The pair is nil if a diagnostic is an
// error; warnings come with a pair. The Source is never nil.
func Load(path string, opts Options) (*inventories.Pair, *Source, hcl2.Diagnostics) {
	src, err := readFile(path)
	if err != nil {
		return nil, newSource(), hcl2.Diagnostics{{
			Severity: hcl2.DiagError,
			Summary:  "Inventory cannot be read",
			Detail:   sentence(err),
		}}
	}
	return Parse(src, path, opts)
}

// Parse reads the inventory in src. Name stands in diagnostics, and its folder is
// where function file looks.
func Parse(src []byte, name string, opts Options) (*inventories.Pair, *Source, hcl2.Diagnostics) {
	l := newLoader(name, opts)
	file, diags := hclsyntax.ParseConfig(src, name, hcl2.InitialPos)
	l.src.add(name, src, file)
	body := file.Body.(*hclsyntax.Body)
	if diags.HasErrors() {
		l.src.maskBroken(name)
		return nil, l.src, sorted(strip(diags), name)
	}
	l.src.maskLiterals(body)

	l.checkBody(l.root, body, hcl2.Range{}, "")
	vars := l.variables(body)
	for _, v := range vars {
		l.src.Variables = append(l.src.Variables, v.Variable)
	}
	l.varFiles(vars)
	l.references(body, vars)
	l.evalVariables(vars)
	l.evalLocals(body)
	l.validate(vars)

	top := l.decode(l.root, body)
	pair := l.build(top)
	l.apply(pair.Problems())

	out := sorted(l.merge(), name)
	if out.HasErrors() {
		return nil, l.src, out
	}
	return pair, l.src, out
}

// loader is one reading of one inventory.
type loader struct {
	opts  Options
	env   map[string]string
	root  *blockType
	src   *Source
	name  string
	ctx   *hcl2.EvalContext
	diags hcl2.Diagnostics

	ranges  map[string]hcl2.Range // path to where it was written
	placed  map[hcl2.Range]string // the other way round
	void    map[string]bool       // paths without a value that could be used: reported already, or unknown
	partial map[string]bool       // collections of blocks of which some are missing for that reason

	each      map[hcl2.Range]string // for_each and labels of dynamic blocks, to the path of what they make
	meant     map[item]bool         // attributes that were written under a wrong name
	headers   map[hcl2.Range]bool   // where checkBody has found a wrong number of labels
	generated map[hcl2.Range]bool   // ranges that several blocks share
	vars      map[string]bool       // names in var.
	locals    map[string]bool       // names in local.
}

func newLoader(name string, opts Options) *loader {
	l := &loader{
		opts: opts, root: language(), src: newSource(), name: name,
		env: environ(opts.Env), ranges: map[string]hcl2.Range{},
		placed: map[hcl2.Range]string{},
		void:   map[string]bool{}, partial: map[string]bool{},
		each: map[hcl2.Range]string{}, headers: map[hcl2.Range]bool{},
		generated: map[hcl2.Range]bool{}, meant: map[item]bool{},
	}
	l.ctx = &hcl2.EvalContext{Functions: l.functions(filepath.Dir(name))}
	return l
}

// errorf adds an error at a place.
func (l *loader) errorf(at hcl2.Range, summary, format string, args ...any) {
	l.diags = append(l.diags, &hcl2.Diagnostic{
		Severity: hcl2.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: &at,
	})
}

func (l *loader) warnf(at hcl2.Range, summary, format string, args ...any) {
	l.diags = append(l.diags, &hcl2.Diagnostic{
		Severity: hcl2.DiagWarning, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: &at,
	})
}

// readFile reads a regular file of bounded size: a device or a pipe given by
// mistake must not hang the run.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, plainError(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if info.Size() > maxSize {
		return nil, fmt.Errorf("%s has %d bytes; at most %d are read", path, info.Size(), maxSize)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, plainError(path, err)
	}
	return b, nil
}

// plainError says "there is no x" instead of "stat x: no such file".
func plainError(path string, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no file %s", path)
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", path, pe.Err)
	}
	return err
}
