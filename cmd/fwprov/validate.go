package main

import (
	"fmt"

	hcl2 "github.com/hashicorp/hcl/v2"
	"github.com/urfave/cli/v2"

	"fwprov/hcl"
)

func validateCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:        "validate",
		Usage:       "check inventories, without a network",
		ArgsUsage:   "FILE...",
		Description: "A variable without a value, and an encrypted file that no key opens, count as unknown: what depends on them is not checked.",
		Flags:       append([]cli.Flag{jsonFlag(), boolFlag("quiet", "print what is wrong only")}, variableFlags()...),
		Action: func(c *cli.Context) error {
			o, err := readOptions(c)
			if err != nil {
				return err
			}
			paths, err := files(c, true)
			if err != nil {
				return err
			}
			code := exitOK
			keys := w.ageKeys(c.Context, o, false)
			for _, path := range paths {
				_, src, diags := hcl.Load(path, hcl.Options{Vars: o.vars, VarFiles: o.varFiles, Env: w.environ, Age: keys, AllowUnknown: true})
				if diags.HasErrors() {
					code = exitError
				}
				if err := showValidity(w, o, path, len(paths) > 1, src, diags); err != nil {
					return err
				}
			}
			return exitWith(code)
		},
	}
}

func showValidity(w *world, o options, path string, several bool, src *hcl.Source, diags hcl2.Diagnostics) error {
	if o.json {
		doc := newValidityDocument(diags)
		if several {
			doc.Inventory = path
		}
		return writeJSON(w.stdout, doc)
	}
	if err := showDiagnostics(w, src, diags, o.quiet); err != nil {
		return err
	}
	if !diags.HasErrors() && !o.quiet {
		fmt.Fprintf(w.stdout, "%s: %s\n", path, w.outStyle().green("valid"))
	}
	return nil
}

// validityDocument is validate --json.
type validityDocument struct {
	Inventory   string               `json:"inventory,omitempty"`
	Valid       bool                 `json:"valid"`
	Diagnostics []diagnosticDocument `json:"diagnostics"`
}

// diagnosticDocument is one mistake or warning. Lines and columns count from 1;
// there is no file where nothing can be pointed at.
type diagnosticDocument struct {
	Severity  string `json:"severity"` // error or warning
	Summary   string `json:"summary"`
	Detail    string `json:"detail"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	Column    int    `json:"column,omitempty"`
	EndLine   int    `json:"end_line,omitempty"`
	EndColumn int    `json:"end_column,omitempty"`
}

func newValidityDocument(diags hcl2.Diagnostics) validityDocument {
	doc := validityDocument{Valid: !diags.HasErrors(), Diagnostics: []diagnosticDocument{}}
	for _, d := range diags {
		one := diagnosticDocument{Severity: "error", Summary: d.Summary, Detail: d.Detail}
		if d.Severity == hcl2.DiagWarning {
			one.Severity = "warning"
		}
		if s := d.Subject; s != nil {
			one.File, one.Line, one.Column = s.Filename, s.Start.Line, s.Start.Column
			one.EndLine, one.EndColumn = s.End.Line, s.End.Column
		}
		doc.Diagnostics = append(doc.Diagnostics, one)
	}
	return doc
}
