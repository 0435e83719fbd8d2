package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"fwprov/provision"
	"fwprov/steps"
)

func renderCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:      "render",
		Usage:     "write the files each node would get, without a network",
		ArgsUsage: "FILE",
		Description: "The files become DIR/NODE/etc/... They depend on what runs on the node, which is assumed here:\n" +
			"--assume names a distribution with the versions it ships.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "the folder to write to: `DIR`"},
			&cli.StringFlag{Name: "assume", Value: "debian12", Usage: "what runs on the nodes, a `SYSTEM`: " + list(steps.Systems())},
			boolFlag("show-secrets", "write secrets too, instead of masking them"),
			boolFlag("force", "replace what DIR has of these nodes"),
			jsonFlag(),
			boolFlag("quiet", "do not list the files"),
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
			if c.String("output") == "" {
				return fmt.Errorf("where to? %s %s -o DIR", c.Command.HelpName, paths[0])
			}
			pairs, err := load(c.Context, w, o, paths)
			if err != nil {
				return err
			}
			facts, ok := steps.Assume(c.String("assume"), pairs[0].Pair)
			if !ok {
				return fmt.Errorf("--assume %s: known are %s", c.String("assume"), list(steps.Systems()))
			}
			rendered := render(pairs[0], facts, c.Bool("show-secrets"))
			if err := writeRendered(c.String("output"), rendered, c.Bool("force")); err != nil {
				return err
			}
			return showRendered(w, o, c.String("output"), rendered)
		},
	}
}

// renderedFile is a file as one node would get it.
type renderedFile struct {
	node    string
	path    string // on the node
	content []byte
	mode    fs.FileMode
}

// render returns the files of all nodes with what is assumed of them, in the
// order of the nodes and steps.
func render(p *pair, assumed provision.Facts, secrets bool) []renderedFile {
	var out []renderedFile
	for _, n := range p.Nodes {
		facts := assumed.With(provision.Facts{provision.Key("os", "hostname"): p.FQDN(n)})
		for _, s := range steps.For(p.Pair, n) {
			r, ok := s.(provision.Renderer)
			if !ok {
				continue
			}
			for _, f := range r.Files(facts) {
				content := f.Content
				if f.Shown != nil && !secrets {
					content = f.Shown
				}
				out = append(out, renderedFile{n.Name, f.Path, content, f.Perm()})
			}
		}
	}
	return out
}

// writeRendered writes files below dir. Folders of the nodes that are there
// already are replaced with force, and refused without: files of an earlier
// inventory must not pass for ones of this.
func writeRendered(dir string, rendered []renderedFile, force bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("render: %w", err)
	}
	defer root.Close()
	fresh := map[string]bool{}
	for _, f := range rendered {
		if !fresh[f.node] {
			fresh[f.node] = true
			if err := makeRoom(root, f.node, force); err != nil {
				return err
			}
		}
		name := path.Join(f.node, strings.TrimPrefix(f.path, "/"))
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return fmt.Errorf("render: %w", err)
		}
		if err := root.WriteFile(name, f.content, f.mode); err != nil {
			return fmt.Errorf("render: %w", err)
		}
		if err := root.Chmod(name, f.mode); err != nil {
			return fmt.Errorf("render: %w", err)
		}
	}
	return nil
}

func makeRoom(root *os.Root, node string, force bool) error {
	_, err := root.Lstat(node)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("render: %w", err)
	case !force:
		return fmt.Errorf("%s is there already: --force replaces it", filepath.Join(root.Name(), node))
	}
	if err := root.RemoveAll(node); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	return nil
}

// renderDocument is render --json.
type renderDocument struct {
	Files []renderedDocument `json:"files"`
}

type renderedDocument struct {
	Node string `json:"node"`
	Path string `json:"path"` // on the node
	File string `json:"file"` // where it was written
	Mode string `json:"mode"` // octal
}

func showRendered(w *world, o options, dir string, rendered []renderedFile) error {
	doc := renderDocument{Files: []renderedDocument{}}
	for _, f := range rendered {
		file := filepath.Join(dir, f.node, filepath.FromSlash(f.path))
		doc.Files = append(doc.Files, renderedDocument{f.node, f.path, file, fmt.Sprintf("%04o", f.mode)})
		if !o.json && !o.quiet {
			fmt.Fprintln(w.stdout, file)
		}
	}
	if o.json {
		return writeJSON(w.stdout, doc)
	}
	return nil
}
