package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"fwprov/hcl"
)

func fmtCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:        "fmt",
		Usage:       "give inventories the canonical layout",
		ArgsUsage:   "FILE...",
		Description: "Names the files whose layout was another.",
		Flags:       []cli.Flag{boolFlag("check", "change nothing; exit with 1 if a file has another layout")},
		Action: func(c *cli.Context) error {
			paths, err := files(c, true)
			if err != nil {
				return err
			}
			code := exitOK
			for _, path := range paths {
				ok, err := formatFile(w, path, c.Bool("check"))
				if err != nil {
					return err
				}
				if !ok {
					code = exitError
				}
			}
			return exitWith(code)
		},
	}
}

// formatFile formats one file. It is not ok if it is no HCL, or if check finds
// that its layout is another.
func formatFile(w *world, path string, check bool) (ok bool, err error) {
	before, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("fmt: %w", err)
	}
	after, src, diags := hcl.Format(before, path)
	if diags.HasErrors() {
		return false, src.Write(w.stderr, diags, w.errStyle().on)
	}
	if bytes.Equal(before, after) {
		return true, nil
	}
	fmt.Fprintln(w.stdout, path)
	if check {
		return false, nil
	}
	if err := replace(path, after); err != nil {
		return false, fmt.Errorf("fmt: %w", err)
	}
	return true, nil
}

// replace gives a file new content in one move, keeping its mode. A symbolic
// link stays one.
func replace(path string, content []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // it is gone once renamed
	_, err = tmp.Write(content)
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Chmod(tmp.Name(), info.Mode()&fs.ModePerm)
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	return err
}
