// Package lab builds the network that an inventory describes on one Linux
// machine, as a rehearsal: both nodes as machines with systemd, sshd and
// firewalld running and none of the daemons installed, the Internet gateway, a
// client beyond it, an admin host from which fwprov is run, and a host for every
// server of every service.
//
// Everything lives in network namespaces of the lab's own. The machine's own
// network is not touched, labs with different names do not see each other, and
// Down leaves nothing behind but the cached images.
//
// A lab outlives the process that built it: Open finds it again.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"fwprov/inventories"
)

// Where a lab lives if its Options do not say.
const (
	DefaultStateDir = "/run/fwprov-lab"
	DefaultCacheDir = "/var/cache/fwprov-lab"
)

// Images a node can be made from.
const (
	Debian = "debian" // apt, ifupdown, iptables-persistent
	EL     = "el"     // yum, NetworkManager, iptables-services: a stand-in for Enterprise Linux
)

// Options say which lab is meant and how it is built.
type Options struct {
	Name     string                           // lower case letters, digits and "-", at most 32
	Image    string                           // Debian or EL; only Up needs it
	Machine  string                           // Container or VM, "": Container; only Up needs it. A VM runs Debian
	StateDir string                           // "": DefaultStateDir
	CacheDir string                           // "": DefaultCacheDir; holds the images and the disks
	Keep     bool                             // leave a lab that did not come up as it is, for a look at it
	Log      func(format string, args ...any) // progress; nil: none
}

// Lab is a network that is up. Its methods may be used by many goroutines,
// except Sync and Down, which must be alone.
type Lab struct {
	opts  Options
	state state
}

// state is what another process needs to know of a lab.
type state struct {
	Name     string
	Image    string
	Machine  string
	CacheDir string
	Trunk    bool // the kernel has 802.1q
	// Accelerator is that of the virtual machines: kvm, or tcg where they are emulated.
	Accelerator string `json:",omitempty"`
	Topology    Topology
}

// ErrDown is returned by Open when there is no lab of that name.
var ErrDown = errors.New("the lab is not up")

func (o Options) complete() (Options, error) {
	if !labName.MatchString(o.Name) {
		return o, fmt.Errorf("%q cannot be the name of a lab: lower case letters, digits and -, at most 32", o.Name)
	}
	if o.StateDir == "" {
		o.StateDir = DefaultStateDir
	}
	if o.CacheDir == "" {
		o.CacheDir = DefaultCacheDir
	}
	if o.Machine == "" {
		o.Machine = Container
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	return o, nil
}

// possible reports what Up cannot build, and what it would need for it.
func (o Options) possible() error {
	switch {
	case o.Image != Debian && o.Image != EL:
		return fmt.Errorf("there is no image %q: %s or %s", o.Image, Debian, EL)
	case o.Machine != Container && o.Machine != VM:
		return fmt.Errorf("there is no machine %q: %s or %s", o.Machine, Container, VM)
	case o.Machine == VM && o.Image != Debian:
		return fmt.Errorf("a virtual machine runs image %s, not %s: the stand-in has no kernel of its own", Debian, o.Image)
	case o.Machine == VM:
		return missing(vmRequirements, exec.LookPath)
	}
	return nil
}

// Up builds the network of a pair and returns when both nodes answer over SSH.
// If it fails nothing of it stays, unless opts.Keep. The first lab of an image builds the image,
// which takes about a minute and the network; all others take seconds. Virtual
// machines take as long as they need to boot, which is minutes where they are emulated.
func Up(ctx context.Context, pair *inventories.Pair, opts Options) (*Lab, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	if err := Check(); err != nil {
		return nil, err
	}
	if err := opts.possible(); err != nil {
		return nil, err
	}
	top, err := Plan(pair)
	if err != nil {
		return nil, err
	}
	l := &Lab{opts: opts, state: state{Name: opts.Name, Image: opts.Image, Machine: opts.Machine, CacheDir: opts.CacheDir}}
	if err := l.claim(); err != nil {
		return nil, err
	}
	if err := l.build(ctx, top); err != nil {
		if opts.Keep {
			return nil, fmt.Errorf("lab %s, which is left as it is: %w", opts.Name, err)
		}
		// What was begun is taken down even if ctx is what ended it.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("lab %s: %w", opts.Name, err), l.Down(clean))
	}
	return l, nil
}

// claim makes the state folder, which is what makes a lab's name taken.
func (l *Lab) claim() error {
	if err := os.MkdirAll(l.opts.StateDir, 0o700); err != nil {
		return err
	}
	switch err := os.Mkdir(l.dir(), 0o700); {
	case errors.Is(err, os.ErrExist):
		return fmt.Errorf("lab %s is up already: take it down first", l.opts.Name)
	case err != nil:
		return err
	}
	return l.save()
}

func (l *Lab) build(ctx context.Context, top Topology) error {
	if err := extract("run", l.path("run")); err != nil {
		return err
	}
	var nodes []Host
	for _, h := range top.Hosts {
		if h.Kind == KindNode {
			nodes = append(nodes, h)
		}
	}
	l.state.Topology.SSH = top.SSH
	keys, err := l.makeKeys(nodes, top.SSH)
	if err != nil {
		return fmt.Errorf("make SSH keys: %w", err)
	}
	if _, err := (images{l.opts.CacheDir, l.opts.Log}).ensure(ctx, l.state.Image); err != nil {
		return err
	}
	if l.vm() {
		if l.state.Accelerator, err = l.accelerator(ctx); err != nil {
			return err
		}
	}
	if err := l.addSwitch(ctx); err != nil {
		return err
	}
	if err := l.extend(ctx, top, keys); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := l.WaitSSH(ctx, n.Name); err != nil {
			return err
		}
	}
	return nil
}

// Sync adds to a running lab what an edited inventory has more than before:
// VLANs, servers, ports. What left the inventory stays.
func (l *Lab) Sync(ctx context.Context, pair *inventories.Pair) error {
	top, err := Plan(pair)
	if err != nil {
		return err
	}
	if err := l.extend(ctx, top, nil); err != nil {
		return fmt.Errorf("lab %s: %w", l.opts.Name, err)
	}
	return nil
}

// Open finds a lab that Up has built, in this process or another.
func Open(opts Options) (*Lab, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	l := &Lab{opts: opts}
	data, err := os.ReadFile(l.path("lab.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("lab %s: %w", opts.Name, ErrDown)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &l.state); err != nil {
		return nil, fmt.Errorf("%s: %w", l.path("lab.json"), err)
	}
	l.opts.CacheDir, l.opts.Image, l.opts.Machine = l.state.CacheDir, l.state.Image, l.state.Machine
	return l, nil
}

func (l *Lab) save() error {
	data, err := json.MarshalIndent(l.state, "", "\t")
	if err != nil {
		return err
	}
	tmp := l.path("lab.json.tmp")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, l.path("lab.json"))
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.opts.Name }

// Home is the home directory fwprov has on the admin host: its .ssh holds the
// key, known_hosts and config that reach both nodes.
func (l *Lab) Home() string { return l.path("home") }

// Topology is the network as it was built.
func (l *Lab) Topology() Topology { return l.state.Topology }

// dir is the lab's state folder.
func (l *Lab) dir() string { return filepath.Join(l.opts.StateDir, l.opts.Name) }

func (l *Lab) path(elem ...string) string {
	return filepath.Join(append([]string{l.dir()}, elem...)...)
}

// disk is where a machine keeps its disk.
func (l *Lab) disk(host string) string {
	return filepath.Join(l.opts.CacheDir, "disks", l.opts.Name, host)
}

// Host returns the host of that name.
func (l *Lab) Host(name string) (Host, error) {
	for _, h := range l.state.Topology.Hosts {
		if h.Name == name {
			return h, nil
		}
	}
	return Host{}, fmt.Errorf("lab %s has no host %q", l.opts.Name, name)
}

// node returns the node of that name.
func (l *Lab) node(name string) (Host, error) {
	h, err := l.Host(name)
	if err == nil && h.Kind != KindNode {
		err = fmt.Errorf("lab %s: %s is not a node", l.opts.Name, name)
	}
	return h, err
}
