package lab

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// recipes build the images: NAME.sh fills a tree, in which the image it is made
// from is already unpacked. run/ is what keeps machines and servers running.
//
//go:embed image run
var embedded embed.FS

// imageParents says what an image is built upon: a copy of the first, with the
// others laid over it.
var imageParents = map[string][]string{
	"base": nil, "debian": {"base"}, "el": {"base"}, "mail": {"base"},
	"kernel": {"base"}, "vm": {"debian", "kernel"},
}

// images builds and keeps the trees that machines start from.
type images struct {
	dir string // the cache
	log func(format string, args ...any)
}

// ensure returns the folder of an image's tree, building or unpacking it if
// need be. Labs that start at the same time build it once.
func (c images) ensure(ctx context.Context, name string) (string, error) {
	key, err := imageKey(name)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, filepath.Join(c.dir, name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()

	tree := filepath.Join(c.dir, name+"-"+key)
	if _, err := os.Stat(tree); err == nil {
		return tree, nil
	}
	ball := tree + ".tar.zst"
	if _, err := os.Stat(ball); err == nil {
		return tree, c.unpack(ctx, ball, tree)
	}
	if err := c.build(ctx, name, tree, ball); err != nil {
		return "", fmt.Errorf("build image %s: %w", name, err)
	}
	return tree, nil
}

// build runs the recipe of an image. Tree and tarball appear complete or not at all.
func (c images) build(ctx context.Context, name, tree, ball string) error {
	var parents []string
	for _, p := range imageParents[name] {
		tree, err := c.ensure(ctx, p)
		if err != nil {
			return err
		}
		parents = append(parents, tree)
	}
	c.log("building image %s", name)
	work, err := os.MkdirTemp(c.dir, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	root, recipe := filepath.Join(work, "root"), filepath.Join(work, "recipe")
	for i, p := range parents {
		if i > 0 {
			p += "/."
		}
		if err := run(ctx, "cp", "-a", "--reflink=auto", p, root); err != nil {
			return err
		}
	}
	if err := extract("image", recipe); err != nil {
		return err
	}
	// The recipe's mounts are its own. systemd-nspawn wants a tmpfs in /run.
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "sh", "-ec",
		`mkdir -p /run/systemd/nspawn; mount -t tmpfs tmpfs /run/systemd/nspawn; exec sh "$RECIPE/$NAME.sh"`)
	cmd.Env = append(os.Environ(), "ROOT="+root, "RECIPE="+recipe, "NAME="+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, lastLines(out, 30))
	}
	if err := os.Chmod(root, 0o755); err != nil {
		return err
	}
	if err := run(ctx, "tar", "--zstd", "-cf", filepath.Join(work, "ball"), "-C", root, "."); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(work, "ball"), ball); err != nil {
		return err
	}
	return os.Rename(root, tree)
}

func (c images) unpack(ctx context.Context, ball, tree string) error {
	c.log("unpacking %s", filepath.Base(ball))
	work, err := os.MkdirTemp(c.dir, "unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	if err := run(ctx, "tar", "--zstd", "--numeric-owner", "-xpf", ball, "-C", work); err != nil {
		return err
	}
	return os.Rename(work, tree)
}

// imageKey changes with the recipe of an image and of those it is built upon.
func imageKey(name string) (string, error) {
	parents, ok := imageParents[name]
	if !ok {
		return "", fmt.Errorf("there is no image %q", name)
	}
	h := sha256.New()
	for _, parent := range parents {
		key, err := imageKey(parent)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, key)
	}
	err := fs.WalkDir(embedded, "image", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !belongsTo(path, name) {
			return err
		}
		data, err := embedded.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(data), data)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:12], err
}

// belongsTo reports whether a file is part of the recipe of an image.
func belongsTo(path, image string) bool {
	return path == "image/common.sh" || path == "image/"+image+".sh" || strings.HasPrefix(path, "image/"+image+"/")
}

// extract writes a folder of the embedded files to dir.
func extract(from, dir string) error {
	sub, err := fs.Sub(embedded, from)
	if err != nil {
		return err
	}
	return os.CopyFS(dir, sub)
}

// lockFile waits until it holds the lock on a file.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if err := pause(ctx); err != nil {
			f.Close()
			return nil, fmt.Errorf("waiting for the lock %s: %w", path, err)
		}
	}
}
