package hcl

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	hcl2 "github.com/hashicorp/hcl/v2"

	"fwprov/inventories"
)

// build makes the pair, with every default filled in. What was not written, is
// not known or was refused stays zero.
func (l *loader) build(top *block) *inventories.Pair {
	p := &inventories.Pair{}
	cluster := top.one("cluster")
	p.Name = cluster.label
	p.Domain = cluster.str("domain", "")
	p.SSH = buildSSH(top.one("ssh"))

	outside := top.one("outside")
	p.Outside = inventories.Outside{
		Interface: outside.str("interface", ""), Network: outside.network("network"),
		Gateway: outside.addr("gateway", netip.Addr{}), VIP: outside.addr("vip", netip.Addr{}),
	}
	sync := top.one("sync")
	p.Sync = inventories.Sync{Interface: sync.str("interface", ""), Network: sync.network("network")}
	inside := top.one("inside")
	p.Inside = inventories.Inside{
		Interface: inside.str("interface", ""), Network: inside.network("network"),
		VIPHost: inside.number("vip_host", 254),
	}
	for i, b := range top.all("node") {
		p.Nodes = append(p.Nodes, buildNode(b, i))
	}
	p.VRRP = buildVRRP(top.one("vrrp"))
	sync = top.one("state_sync")
	p.StateSync = inventories.StateSync{
		Mode:      sync.str("mode", inventories.ModeFTFW),
		Transport: sync.str("transport", inventories.TransportUnicast),
	}
	for _, b := range top.all("vlan") {
		p.VLANs = append(p.VLANs, buildVLAN(b, p))
	}
	for _, b := range top.all("service") {
		p.Services = append(p.Services, buildService(b, p))
	}
	for _, b := range top.all("allow") {
		p.Allows = append(p.Allows, buildAllow(b))
	}
	return p
}

func buildSSH(b *block) inventories.SSH {
	return inventories.SSH{
		User: b.str("user", ""), Port: b.written("port"), IdentityFile: b.str("identity_file", ""),
		KnownHosts: b.str("known_hosts", ""), ProxyJump: b.str("proxy_jump", ""),
		Sudo: b.bool("sudo"), AllowFrom: b.networks("allow_from"),
	}
}

// written is a number that counts from 1, and 0 where it was not written.
func (b *block) written(name string) int {
	n := b.number(name, 0)
	if v, ok := b.get(name); ok && n < 1 && !b.l.isVoid(join(b.path, name)) {
		b.bad(join(b.path, name), v.at, "Number out of range", "%s is at least 1.", name)
		return 0
	}
	return n
}

func buildNode(b *block, i int) inventories.Node {
	n := inventories.Node{
		Name: b.label, Outside: b.addr("outside", netip.Addr{}), Sync: b.addr("sync", netip.Addr{}),
		VLANHost: b.written("vlan_host"), Priority: b.number("priority", max(150-50*i, 1)),
	}
	def := ""
	if n.Outside.IsValid() {
		def = n.Outside.String()
	}
	n.SSHHost = b.str("ssh_host", def)
	return n
}

func buildVRRP(b *block) inventories.VRRP {
	v := inventories.VRRP{
		Version:       b.number("version", 3),
		Form:          inventories.VRRPForm(b.str("instances", string(inventories.Single))),
		Password:      b.secret("password"),
		Profile:       b.str("profile", ""),
		FirstRouterID: b.number("first_router_id", 1),
	}
	paths := []string{inventories.HeartbeatSync, inventories.HeartbeatOutside}
	if v.Form == inventories.PerVLAN {
		paths = paths[:1]
	}
	v.Heartbeats = b.names("heartbeat", paths...)
	syncEvery, outsideEvery := 300*time.Millisecond, 100*time.Millisecond
	if v.Profile == "vm" {
		syncEvery, outsideEvery = time.Second, 300*time.Millisecond
	}
	if v.Version == 2 {
		syncEvery, outsideEvery = time.Second, time.Second
	}
	v.AdvertInterval = b.duration("advert_interval", syncEvery)
	v.OutsideAdvertInterval = b.duration("outside_advert_interval", outsideEvery)
	if a, ok := b.get("outside_advert_interval"); ok && len(v.Heartbeats) > 0 && !slices.Contains(v.Heartbeats, inventories.HeartbeatOutside) {
		b.l.warnf(a.at, "Attribute without effect", "outside_advert_interval counts only where heartbeat has \"outside\".")
	}
	return v
}

func buildVLAN(b *block, p *inventories.Pair) inventories.VLAN {
	v := inventories.VLAN{
		Name: b.label, ID: b.number("id", 0), Network: b.network("network"), Addresses: b.hosts("addresses"),
	}
	if p.Inside.Interface != "" && v.ID > 0 {
		v.Interface = fmt.Sprintf("%s.%d", p.Inside.Interface, v.ID)
	}
	if !b.has("network") {
		v.Network, _ = inventories.VLANNetwork(p.Inside.Network, v.ID)
		b.derived("network", "inside.network", join(b.path, "id"))
	}
	if !b.has("vip") {
		b.derived("vip", "inside.vip_host", join(b.path, "network"))
	}
	vip, _ := inventories.HostAddr(v.Network, p.Inside.VIPHost)
	v.VIP = b.addr("vip", vip)
	if !b.l.isVoid(join(b.path, "addresses")) {
		for _, n := range p.Nodes {
			if _, ok := v.Addresses[n.Name]; ok {
				continue
			}
			b.derived(join("addresses", n.Name), "node."+n.Name+".vlan_host", join(b.path, "network"))
			if a, ok := inventories.HostAddr(v.Network, n.VLANHost); ok {
				v.Addresses[n.Name] = a
			}
		}
	}
	a, written := b.get("vrid")
	switch {
	case p.VRRP.Form == inventories.PerVLAN && b.has("vrid"):
		v.VRID = b.written("vrid")
	case p.VRRP.Form == inventories.PerVLAN && v.ID >= 2 && v.ID <= 255:
		v.VRID = v.ID
		fallthrough
	case p.VRRP.Form == inventories.PerVLAN:
		b.derived("vrid", "vrrp.instances", join(b.path, "id"))
	case p.VRRP.Form == inventories.Single && written:
		b.l.warnf(a.at, "Attribute without effect", "vrid counts only with instances = \"per_vlan\".")
	}
	return v
}

// derived says what an attribute that was not written was made from. If that is
// void, so is this; a mistake in it is shown at the last of them that was written.
func (b *block) derived(name string, from ...string) {
	path := join(b.path, name)
	for _, f := range from {
		if b.l.isVoid(f) {
			b.l.void[path] = true
		}
		if at, ok := b.l.ranges[f]; ok && strings.HasPrefix(f, b.path) {
			b.l.ranges[path] = at
		}
	}
}

func buildService(b *block, p *inventories.Pair) inventories.Service {
	if !b.has("address") {
		b.derived("address", "outside.vip")
	}
	s := inventories.Service{
		Name: b.label, Address: b.addr("address", p.Outside.VIP), Port: b.number("port", 0),
		Mode: b.str("mode", "tcp"), Transparent: b.bool("transparent"),
		Balance: b.str("balance", "roundrobin"), Sticky: b.duration("sticky", 0),
		From: b.names("from", inventories.ZoneOutside),
	}
	silent := 5 * time.Minute
	if s.Mode == "http" {
		silent = time.Minute
	}
	t := b.one("timeouts")
	s.Timeouts = inventories.Timeouts{
		Connect: t.duration("connect", 5*time.Second),
		Client:  t.duration("client", silent), Server: t.duration("server", silent),
	}
	if all := b.all("check"); len(all) > 0 {
		s.Check = buildCheck(all[0], s.Mode)
	}
	for _, c := range b.all("server") {
		server := inventories.Server{Name: c.label, Address: c.addr("address", netip.Addr{}), Port: c.number("port", s.Port)}
		if !c.has("port") {
			c.derived("port", join(b.path, "port"))
		}
		s.Servers = append(s.Servers, server)
	}
	return s
}

func buildCheck(b *block, mode string) *inventories.Check {
	def, path := "tcp", ""
	if mode == "http" {
		def = "http"
	}
	c := &inventories.Check{
		Type: b.str("type", def), Interval: b.duration("interval", 2*time.Second),
		Rise: b.number("rise", 2), Fall: b.number("fall", 3),
	}
	if c.Type == "http" {
		path = "/"
	}
	c.Path = b.str("path", path)
	c.FastInterval = b.duration("fast_interval", min(time.Second, c.Interval))
	return c
}

func buildAllow(b *block) inventories.Allow {
	return inventories.Allow{
		Name: b.label, From: b.str("from", ""), To: b.str("to", ""),
		Sources: b.networks("sources"), Destinations: b.networks("destinations"),
		TCP: b.ports("tcp"), UDP: b.ports("udp"), ICMP: b.bool("icmp"), Log: b.bool("log"),
	}
}

// apply turns what the rules found into diagnostics, without what follows from a
// mistake that was reported already.
func (l *loader) apply(problems []inventories.Problem) {
	for _, p := range problems {
		if l.follows(p) {
			continue
		}
		if p.Warning {
			l.warnf(l.locate(p.Path), p.Summary, "%s", p.Detail)
		} else {
			l.errorf(l.locate(p.Path), p.Summary, "%s", p.Detail)
		}
	}
}

func (l *loader) follows(p inventories.Problem) bool {
	for _, path := range append([]string{p.Path}, p.Depends...) {
		if l.isVoid(path) || l.partial[path[strings.LastIndexByte(path, '.')+1:]] {
			return true
		}
	}
	return false
}

// isVoid reports whether there is no value at a path, or none at one of its
// parents.
func (l *loader) isVoid(path string) bool {
	for ; path != ""; path = parent(path) {
		if l.void[path] {
			return true
		}
	}
	return false
}

// locate is where a path was written, or the nearest parent that was.
func (l *loader) locate(path string) hcl2.Range {
	for ; path != ""; path = parent(path) {
		if at, ok := l.ranges[path]; ok {
			return at
		}
	}
	if at, ok := l.ranges["cluster"]; ok {
		return at
	}
	return hcl2.Range{Filename: l.name, Start: hcl2.InitialPos, End: hcl2.InitialPos}
}

func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}
