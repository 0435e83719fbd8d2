package main

import (
	"fmt"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// versionDocument is version --json.
type versionDocument struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Modified bool   `json:"modified"` // built from a tree with uncommitted changes
	Go       string `json:"go"`
}

func versionCommand(w *world) *cli.Command {
	return &cli.Command{
		Name:      "version",
		Usage:     "print the version",
		ArgsUsage: " ",
		Flags:     []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("version takes no arguments")
			}
			info, _ := debug.ReadBuildInfo()
			doc := newVersionDocument(info)
			if c.Bool("json") {
				return writeJSON(w.stdout, doc)
			}
			commit := doc.Commit
			if doc.Modified {
				commit += ", modified"
			}
			_, err := fmt.Fprintf(w.stdout, "fwprov %s (commit %s, %s)\n", doc.Version, commit, doc.Go)
			return err
		},
	}
}

func newVersionDocument(info *debug.BuildInfo) versionDocument {
	doc := versionDocument{Version: "unknown", Commit: "unknown", Go: "unknown"}
	if info == nil {
		return doc
	}
	doc.Go = info.GoVersion
	if info.Main.Version != "" {
		doc.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			doc.Commit = s.Value
		case "vcs.modified":
			doc.Modified = s.Value == "true"
		}
	}
	return doc
}
