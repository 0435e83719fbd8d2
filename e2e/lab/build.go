package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// addSwitch makes the namespace in which all switches live, and finds out
// whether the kernel has 802.1q.
func (l *Lab) addSwitch(ctx context.Context) error {
	ns := netns(l.opts.Name, switchHost)
	if err := run(ctx, "ip", "netns", "add", ns); err != nil {
		return err
	}
	probe := run(ctx, "ip", "-n", ns, "link", "add", "link", "lo", "name", "probe", "type", "vlan", "id", "2")
	if l.state.Trunk = probe == nil; l.state.Trunk {
		if err := run(ctx, "ip", "-n", ns, "link", "del", "probe"); err != nil {
			return err
		}
	}
	return l.save()
}

// extend builds what top has more than the lab has. keys are those of new nodes.
func (l *Lab) extend(ctx context.Context, top Topology, keys *keys) error {
	have := &l.state.Topology
	for _, b := range top.Bridges {
		if slices.Contains(have.Bridges, b) {
			continue
		}
		err := l.ipBatch(ctx, switchHost, bridgeBatch(b, l.state.Trunk))
		if err == nil && b.VLAN != 0 && l.vm() && !l.state.Trunk {
			err = l.addSorter(ctx, b)
		}
		if err != nil {
			return fmt.Errorf("switch %s: %w", b.Name, err)
		}
		have.Bridges = append(have.Bridges, b)
	}
	fresh := newListens(have.Hosts, top.Hosts)
	for _, want := range top.Hosts {
		i := slices.IndexFunc(have.Hosts, func(h Host) bool { return h.Name == want.Name })
		var err error
		if i < 0 {
			have.Hosts = append(have.Hosts, want)
			err = l.addHost(ctx, want, keys)
		} else {
			err = l.extendHost(ctx, &have.Hosts[i], want)
		}
		if err != nil {
			return fmt.Errorf("host %s: %w", want.Name, err)
		}
	}
	have.Notes = top.Notes
	if err := l.save(); err != nil {
		return err
	}
	for _, f := range fresh {
		if err := l.waitServer(ctx, f.host, f.listen); err != nil {
			return err
		}
	}
	return nil
}

// endpoint is one port of one host.
type endpoint struct {
	host   Host
	listen Listen
}

// newListens are the ports that want has more than have.
func newListens(have, want []Host) []endpoint {
	var out []endpoint
	for _, w := range want {
		i := slices.IndexFunc(have, func(h Host) bool { return h.Name == w.Name })
		for _, listen := range w.Listens {
			if i < 0 || !slices.Contains(have[i].Listens, listen) {
				out = append(out, endpoint{w, listen})
			}
		}
	}
	return out
}

// waitServer waits until a server takes connections.
func (l *Lab) waitServer(ctx context.Context, h Host, listen Listen) error {
	addr := fmt.Sprintf("%s:%d", address(h), listen.Port)
	what := fmt.Sprintf("%s: waiting for the %s server on %s", h.Name, listen.Protocol, addr)
	return l.until(ctx, what, func() bool {
		conn, err := l.Dial(ctx, h.Name, "tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// addHost builds a host and starts what runs on it.
func (l *Lab) addHost(ctx context.Context, h Host, keys *keys) error {
	if h.Kind == KindNode {
		if err := l.makeNode(ctx, h, keys); err != nil {
			return err
		}
		return l.startNode(ctx, h.Name)
	}
	if err := run(ctx, "ip", "netns", "add", netns(l.opts.Name, h.Name)); err != nil {
		return err
	}
	if err := l.ipBatch(ctx, switchHost, plugBatch(l.opts.Name, h, h.Links)); err != nil {
		return err
	}
	if err := l.ipBatch(ctx, h.Name, setupBatch(h)); err != nil {
		return err
	}
	if h.Forward {
		if err := run(ctx, "nsenter", "--net="+netnsPath(l.opts.Name, h.Name), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"); err != nil {
			return err
		}
	}
	return l.serve(ctx, h, h.Listens)
}

// extendHost adds cables and ports to a host that is there.
func (l *Lab) extendHost(ctx context.Context, have *Host, want Host) error {
	var links []Link
	for _, w := range want.Links {
		if !slices.ContainsFunc(have.Links, func(h Link) bool { return h.Interface == w.Interface }) {
			links = append(links, w)
		}
	}
	have.Links = append(have.Links, links...)
	if cables := l.cables(Host{Links: links}); len(cables) > 0 && have.Kind == KindNode {
		if err := l.plugNode(ctx, *have, cables); err != nil {
			return err
		}
	}
	var listens []Listen
	for _, w := range want.Listens {
		if !slices.Contains(have.Listens, w) {
			listens = append(listens, w)
		}
	}
	have.Listens = append(have.Listens, listens...)
	return l.serve(ctx, *have, listens)
}

// serve starts the servers of a host.
func (l *Lab) serve(ctx context.Context, h Host, listens []Listen) error {
	for _, listen := range listens {
		service := fmt.Sprintf("%s.%d", h.Name, listen.Port)
		var err error
		if listen.Protocol == "smtp" {
			err = l.startMail(ctx, h, service, listen.Port)
		} else {
			err = l.startServer(ctx, h, service, listen)
		}
		if err != nil {
			return fmt.Errorf("%s server on port %d: %w", listen.Protocol, listen.Port, err)
		}
	}
	return nil
}

func (l *Lab) startServer(ctx context.Context, h Host, service string, listen Listen) error {
	dir := l.path("machines", service)
	if err := l.writeEnv(dir, h.Name, "", "host."+service); err != nil {
		return err
	}
	return background(ctx, filepath.Join(dir, "log"), "nsenter", "--net="+netnsPath(l.opts.Name, h.Name),
		"sh", l.path("run", "start.sh"), dir,
		"perl", l.path("run", "serve.pl"), h.Name, listen.Protocol, fmt.Sprint(listen.Port))
}

// startMail starts a Postfix of its own on a host, on a disk of its own.
func (l *Lab) startMail(ctx context.Context, h Host, service string, port int) error {
	tree, err := images{l.opts.CacheDir, l.opts.Log}.ensure(ctx, "mail")
	if err != nil {
		return err
	}
	dir := l.path("machines", service)
	if err := l.writeEnv(dir, h.Name, tree, "host."+service); err != nil {
		return err
	}
	received := l.path("mail", h.Name)
	if err := os.MkdirAll(received, 0o755); err != nil {
		return err
	}
	if err := os.Chown(received, mailUID, mailUID); err != nil {
		return err
	}
	start := fmt.Sprintf("postconf -e myhostname=%s && postconf -M# smtp/inet && postconf -M %d/inet='%[2]d inet n - n - - smtpd' && exec postfix start-fg", quote(h.Name), port)
	args := []string{"--as-pid2", "--machine=" + h.Name, "--bind=" + received + ":/var/spool/received", "sh", "-c", start}
	if err := writeLines(filepath.Join(dir, "args"), args); err != nil {
		return err
	}
	if err := os.MkdirAll(l.disk(service), 0o755); err != nil {
		return err
	}
	return background(ctx, filepath.Join(dir, "log"), "unshare", "--mount", "sh", l.path("run", "boot.sh"), dir)
}

// mailUID owns what a mail exchanger received.
const mailUID = 1000

// Mail returns what a mail exchanger received so far, as an mbox: empty if
// nothing came yet.
func (l *Lab) Mail(host string) ([]byte, error) {
	data, err := os.ReadFile(l.path("mail", host, "all"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	return data, err
}

// writeEnv writes what the scripts in run/ need to know of a machine or a
// server. The last part of dir is the name of its disk.
func (l *Lab) writeEnv(dir, host, image, group string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	groups, err := l.cgroups()
	if err != nil {
		return err
	}
	env := []string{
		"NS=" + quote(netns(l.opts.Name, host)),
		"SWITCH=" + quote(netns(l.opts.Name, switchHost)),
		"IMAGE=" + quote(image),
		"DISK=" + quote(l.disk(filepath.Base(dir))),
		"CGROUPS=" + quote(strings.Join(groups, " ")),
		"GROUP=" + quote(group),
		"MACHINE=" + quote(l.state.Machine),
	}
	return writeLines(filepath.Join(dir, "env"), env)
}

// ipBatch runs commands of ip in the namespace of a host.
func (l *Lab) ipBatch(ctx context.Context, host, batch string) error {
	if batch == "" {
		return nil
	}
	return runInput(ctx, batch, "ip", "-n", netns(l.opts.Name, host), "-batch", "-")
}

func writeLines(path string, lines []string) error {
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func netnsPath(lab, host string) string { return "/run/netns/" + netns(lab, host) }
