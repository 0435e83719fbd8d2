package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	hcl2 "github.com/hashicorp/hcl/v2"
	"golang.org/x/sync/errgroup"

	"fwprov/hcl"
	"fwprov/inventories"
	"fwprov/provision"
)

// loaded is an inventory as it was read.
type loaded struct {
	pair      *inventories.Pair // nil if there is a mistake in it
	variables []hcl.Variable
	src       *hcl.Source // only where there is something to show
	diags     hcl2.Diagnostics
	asks      bool // somebody has to be asked about it
}

// load reads inventories and shows what is wrong with them, all of them at once.
func load(ctx context.Context, w *world, o options, paths []string) ([]*pair, error) {
	keys := w.ageKeys(ctx, o, true)
	read := func(path string, ask bool) loaded {
		var one loaded
		opts := hclOptions(ctx, w, o, path, len(paths) > 1)
		opts.Age, opts.WithoutSecrets = keys, o.withoutSecrets
		if opts.Ask != nil && !ask {
			opts.Ask = func(hcl.Variable) (string, error) {
				one.asks = true
				return "", errAsksLater
			}
		}
		p, src, diags := hcl.Load(path, opts)
		one.pair, one.variables, one.diags = p, src.Variables, diags
		if len(diags) > 0 {
			one.src = src
		}
		return one
	}
	all := make([]loaded, len(paths))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, path := range paths {
		g.Go(func() error {
			if ctx.Err() == nil {
				all[i] = read(path, false)
			}
			return nil
		})
	}
	_ = g.Wait()
	var pairs []*pair
	failed := false
	for i, path := range paths {
		one := all[i]
		if one.asks && ctx.Err() == nil {
			one = read(path, true) // one question after the other
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := showDiagnostics(w, one.src, one.diags, o.quiet); err != nil {
			return nil, err
		}
		if one.pair == nil {
			failed = true
			continue
		}
		pairs = append(pairs, &pair{Pair: one.pair, file: path, nodes: one.pair.Nodes, variables: one.variables})
	}
	if failed {
		return nil, exit(exitError)
	}
	if len(paths) > 1 {
		name(pairs)
	}
	return pairs, nil
}

// errAsksLater puts a question off.
var errAsksLater = errors.New("it is asked for later")

// name labels several pairs: by their clusters' names or, where two have the same,
// by their files.
func name(pairs []*pair) {
	named := map[string]int{}
	for _, p := range pairs {
		named[p.Name]++
	}
	for _, p := range pairs {
		p.inventory, p.label = p.file, p.Name
		if named[p.Name] > 1 {
			p.label = p.file
		}
	}
}

// showDiagnostics prints what is wrong with an inventory, without the warnings
// if quiet.
func showDiagnostics(w *world, src *hcl.Source, diags hcl2.Diagnostics, quiet bool) error {
	if quiet {
		diags = slices.DeleteFunc(slices.Clone(diags), func(d *hcl2.Diagnostic) bool { return d.Severity == hcl2.DiagWarning })
	}
	if len(diags) == 0 {
		return nil
	}
	err := src.Write(w.stderr, diags, w.errStyle().on)
	fmt.Fprintln(w.stderr)
	return err
}

func hclOptions(ctx context.Context, w *world, o options, path string, several bool) hcl.Options {
	opts := hcl.Options{Vars: o.vars, VarFiles: o.varFiles, Env: w.environ}
	if w.canAsk() {
		opts.Ask = func(v hcl.Variable) (string, error) {
			question := v.Name
			if several {
				question = path + ": " + question
			}
			if v.Description != "" {
				question += " (" + strings.TrimSuffix(provision.Printable(v.Description), ".") + ")"
			}
			return w.ask(ctx, question+": ", v.Sensitive)
		}
	}
	return opts
}
