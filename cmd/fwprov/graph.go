package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"fwprov/cmd/fwprov/diagram"
	"fwprov/hcl"
)

func graphCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:      "graph",
		Usage:     "draw the topology as SVG, DOT or Mermaid, without a network",
		ArgsUsage: "FILE",
		Description: "The picture shows the gateway, both nodes, VIPs, VLANs, services and servers, and no secret.\n" +
			"A variable without a value counts as unknown: what depends on it is drawn as ?, or left out.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "format", Value: "svg", Usage: "`FORMAT`: svg, dot (Graphviz) or mermaid (Markdown)"},
			&cli.StringFlag{Name: "out", DefaultText: "standard output", Usage: "write to this `FILE`"},
			boolFlag("quiet", "print errors only"),
		}, variableFlags()),
		Action: func(c *cli.Context) error {
			o, err := readOptions(c)
			if err != nil {
				return err
			}
			paths, err := files(c, false)
			if err != nil {
				return err
			}
			draw, err := drawer(c.String("format"))
			if err != nil {
				return err
			}
			if sameFile(paths[0], c.String("out")) {
				return fmt.Errorf("--out %s: this is the inventory, which would be lost", c.String("out"))
			}
			p, src, diags := hcl.Load(paths[0], hcl.Options{
				Vars: o.vars, VarFiles: o.varFiles, Env: w.environ, Age: w.ageKeys(c.Context, o, false), AllowUnknown: true,
			})
			if err := showDiagnostics(w, src, diags, o.quiet); err != nil {
				return err
			}
			if p == nil {
				return exit(exitError)
			}
			return deliver(w, c.String("out"), draw(diagram.Of(p)))
		},
	}
}

// drawer is what writes a topology in a format.
func drawer(format string) (func(*diagram.Topology) string, error) {
	switch format {
	case "svg":
		return (*diagram.Topology).SVG, nil
	case "dot":
		return (*diagram.Topology).DOT, nil
	case "mermaid":
		return (*diagram.Topology).Mermaid, nil
	}
	return nil, fmt.Errorf("--format %s: known are svg, dot and mermaid", format)
}

// deliver writes text to a file, or to standard output if it has no name.
func deliver(w *world, file, text string) error {
	if file == "" {
		_, err := io.WriteString(w.stdout, text)
		return err
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("graph: %w", err)
	}
	return nil
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}
