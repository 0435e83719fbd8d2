package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"fwprov/inventories"
)

func initCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "write a commented inventory to start from",
		ArgsUsage: "[DIR]",
		Flags:     []cli.Flag{boolFlag("minimal", "the least that describes a pair, instead of every block")},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return fmt.Errorf("init takes one folder, not %d", c.NArg())
			}
			name, text := filepath.Join(c.Args().First(), "inventory.hcl"), inventories.Guide
			if c.Bool("minimal") {
				text = inventories.Minimal
			}
			if err := writeNew(name, text); err != nil {
				return err
			}
			_, err := fmt.Fprintf(w.stdout, "%s is written. Make it yours, then:\n  fwprov validate %[1]s\n  fwprov plan %[1]s\n", name)
			return err
		},
	}
}

// writeNew writes a file that is not there yet, and its folder.
func writeNew(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already; it was left as it is", name)
	}
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if _, err := f.Write(text); err != nil {
		f.Close()
		return fmt.Errorf("init: %w", err)
	}
	return f.Close()
}
