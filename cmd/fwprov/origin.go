package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"fwprov/provision"
)

// record is what a run leaves in the history of a pair's nodes.
func (s *session) record(ctx context.Context, p *pair) *provision.Record {
	r := &provision.Record{Source: p.Pair.Record(), Origin: origin(ctx, p.file), Tool: toolVersion()}
	for _, f := range []struct {
		name  string
		words []string
	}{{"--limit", s.o.limit}, {"--only", s.o.only}, {"--skip", s.o.skip}} {
		if len(f.words) > 0 {
			r.Partial = append(r.Partial, f.name+" "+strings.Join(f.words, ","))
		}
	}
	return r
}

// origin tells where an inventory is from. What cannot be found out is left out.
func origin(ctx context.Context, file string) provision.Origin {
	o := provision.Origin{File: file}
	if abs, err := filepath.Abs(file); err == nil {
		o.File = abs
	}
	if text, err := os.ReadFile(file); err == nil {
		o.SHA256 = provision.Hash(text)
	}
	commit, err := git(ctx, file, "rev-parse", "--verify", "HEAD")
	if err != nil {
		return o
	}
	status, err := git(ctx, file, "status", "--porcelain", "--ignored", "--", filepath.Base(file))
	if err == nil {
		o.Commit, o.Dirty = commit, status != ""
	}
	return o
}

// git asks git about the folder of a file, without waiting for locks or running
// what a repository may configure.
func git(ctx context.Context, file string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-c", "core.fsmonitor=false"}, args...)...)
	cmd.Dir = filepath.Dir(file)
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// toolVersion names this program in what it leaves behind.
func toolVersion() string {
	info, _ := debug.ReadBuildInfo()
	doc := newVersionDocument(info)
	text := doc.Version
	if doc.Commit != "unknown" && !strings.Contains(doc.Version, doc.Commit[:min(12, len(doc.Commit))]) {
		text += fmt.Sprintf(" (commit %s)", doc.Commit)
	}
	if doc.Modified && !strings.Contains(doc.Version, "dirty") {
		text += ", modified"
	}
	return text
}
